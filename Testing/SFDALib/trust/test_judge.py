"""The judge: decisions on signals by hand, that no worse sign improves, and their sentences."""

from __future__ import annotations

import ast
import math
from dataclasses import replace
from typing import Any

import pytest
from paths import ROOT
from signals_by_hand import GOOD, WORSE, box, evidence

from SFDALib.trust.features import FEATURES, features
from SFDALib.trust.findings import Finding
from SFDALib.trust.judge import Coefficients, judge, shipped
from SFDALib.trust.levels import LEVELS
from SFDALib.trust.quality import QualityModel
from SFDALib.trust.signals import Signals, measure
from SFDALib.trust.structures import compared
from SFDALib.trust.verdict import Verdict

BY_HAND = Coefficients(
    bias=0.0,
    weights={"growth": 2.0},
    centres={"growth": 1.0},
    scales={"growth": 0.5},
    adopt=0.2,
    keep=0.5,
)
SURE = replace(BY_HAND, bias=-50.0)  # every result is better
# logit of the Dice: 2 less the size error; the interval from 1 below to 1 above
DICE = QualityModel(
    bias=2.0,
    weights={"size error": 1.0},
    centres={"size error": 0.0},
    scales={"size error": 1.0},
    below=1.0,
    above=1.0,
    coverage=0.8,
)
LARGE = Finding("too large", "Brain", "Brain is too large (20 ml, plausible 4 to 16 ml)")


def by_hand(signals: Signals, *found: tuple[Finding, ...], sure: bool = True) -> Verdict:
    return judge(signals, *found, coefficients=SURE if sure else BY_HAND, qualities=DICE)


@pytest.mark.parametrize(
    ("growth", "harm", "decision", "delivered"),
    [
        (0.5, 0.1192, "better", "result"),
        (0.9, 0.4013, "look", "source"),
        (1, 0.5, "keep", "source"),
    ],
)
def test_the_probability_of_harm_decides(
    growth: float, harm: float, decision: str, delivered: str
) -> None:
    inside = replace(GOOD, outside_source=0.0)
    verdict = by_hand(
        replace(inside, growth=growth), sure=False
    )  # logistic of 2 (growth - 1) / 0.5
    assert verdict.harm == pytest.approx(harm, abs=1e-4)
    assert (verdict.decision, verdict.delivered) == (decision, delivered)
    assert verdict.reasons[0].endswith(f"is {100 * harm:.0f} %")


@pytest.mark.parametrize(("growth", "told"), [(0.0, "below 1 %"), (2.5, "above 99 %")])
def test_no_chance_is_told_as_none_or_as_certainty(growth: float, told: str) -> None:
    steep = replace(BY_HAND, weights={"growth": 5.0})  # clipped at two scales: logistic of +-10
    verdict = judge(replace(GOOD, growth=growth), coefficients=steep, qualities=DICE)
    assert verdict.reasons[0].endswith(f"is {told}")


def test_features_are_clipped_at_two_standard_deviations() -> None:
    # two scales from the centre are 1 + 2 * 0.5: logistic of 2 * 2
    assert by_hand(replace(GOOD, growth=3.0), sure=False).harm == pytest.approx(0.9820, abs=1e-4)
    assert BY_HAND.harm(replace(GOOD, growth=30.0)) == BY_HAND.harm(replace(GOOD, growth=2.0))


def test_reasons_name_the_number_behind_them() -> None:
    reason = by_hand(replace(GOOD, growth=math.log(5)), sure=False).reasons[-1]
    assert "grew most did so by a factor of 5" in reason


@pytest.mark.parametrize("signal", WORSE)
def test_a_worse_sign_never_makes_harm_less_likely(signal: str) -> None:
    worse = replace(GOOD, **{signal: WORSE[signal]})
    assert shipped().harm(worse) >= shipped().harm(GOOD)
    pairs = [(features(worse)[name], features(GOOD)[name]) for name in FEATURES]
    assert all(now >= was for now, was in pairs) and any(now > was for now, was in pairs)


@pytest.mark.parametrize("signal", WORSE)
def test_a_worse_sign_never_lifts_the_verdict(signal: str) -> None:
    order = list(LEVELS)
    now, was = judge(replace(GOOD, **{signal: WORSE[signal]})), judge(GOOD)
    assert order.index(now.decision) >= order.index(was.decision)


# --- The levels ----------------------------------------------------------------------------------

EXPECTED = (  # changes of GOOD, what is found in the source's and in the result, decision, words
    ({}, (), (), "better", "Better and plausible (predicted Dice 0.87, range 0.71 to 0.95)"),
    ({}, (), (LARGE,), "look", "Probably better, but Brain is too large"),
    ({"outside_result": 0.01}, (), (), "look", "but a volume is outside its plausible range"),
    ({"outside_result": 0.01, "size_error_result": 1.7}, (), (), "look", "a volume is outside"),
    ({"shape_result": 1.1}, (), (), "look", "but a structure has an unusual shape"),
    ({"shape_source": 1.6, "shape_result": 1.6}, (), (), "both-wrong", "an unusual shape"),
    ({"outside_result": None}, (), (), "look", "as without a volume and its plausible"),
    ({"agreement": 1.0, "outside_source": 0.0}, (), (), "keep", "The adaptation changed nothing"),
    (
        {"shrinkage": math.log(5), "outside_source": 0.0},
        (),
        (),
        "keep",
        "a structure shrank 5-fold",
    ),
    (
        {"shrinkage": math.log(5)},
        (LARGE,),
        (),
        "look",
        "but in the source model's segmentation Brain is too large",
    ),
    (
        {"size_error_source": 3.0, "size_error_result": 3.0, "dice_home": 0.3},
        (),
        (),
        "both-wrong",
        "0.21, range 0.09",
    ),
    (
        {"outside_source": math.log(2), "outside_result": math.log(2)},
        (),
        (),
        "both-wrong",
        "a volume",
    ),
)


@pytest.mark.parametrize(("changes", "in_source", "in_result", "decision", "words"), EXPECTED)
def test_what_is_better_but_not_plausible_is_to_be_looked_at(
    changes: dict[str, Any],
    in_source: tuple[Finding, ...],
    in_result: tuple[Finding, ...],
    decision: str,
    words: str,
) -> None:
    verdict = by_hand(replace(GOOD, **changes), in_source, in_result)
    told = verdict.sentence(verdict.delivered)
    assert (verdict.decision, words in told) == (decision, True), told
    assert LEVELS[verdict.decision].advice[verdict.delivered] in told
    assert verdict.delivered == ("result" if decision == "better" else "source")


def test_nothing_with_a_volume_outside_its_range_is_delivered_however_sure_the_judge_is() -> None:
    source, result = box(slice(0, 2)), box(slice(0, 5))  # 8 and 20 ml of 4 to 16 ml
    given = evidence(source, result)
    found = compared(given.in_source.structures, given.in_result.structures)
    for verdict in (
        by_hand(measure(given), *found),
        by_hand(replace(GOOD, outside_result=1e-6)),
        judge(replace(GOOD, outside_result=1e-6)),
    ):
        assert (verdict.decision, verdict.delivered) == ("look", "source")


PIECES = Finding("in pieces", "Brain", "Brain is in pieces (the largest of 3 has 60 %)")


@pytest.mark.parametrize(
    ("changes", "found", "words"),
    [
        ({"size_error_result": 1.7}, (), "the predicted Dice is 0.57, range 0.33 to 0.79"),
        ({}, (PIECES,), "Brain is in pieces"),
    ],
)
def test_what_is_better_with_a_plausible_volume_is_delivered_to_be_looked_at(
    changes: dict[str, Any], found: tuple[Finding, ...], words: str
) -> None:
    verdict = by_hand(replace(GOOD, **changes), (), found)
    assert (verdict.decision, verdict.delivered) == ("look", "result")
    told = verdict.sentence("result")
    assert words in told and "compare it with the source model's first" in told
    assert verdict.to_dict(GOOD, "result")["adopted"]
    outside = by_hand(replace(GOOD, **changes), (), (*found, LARGE))
    assert (outside.decision, outside.delivered) == ("look", "source")


def test_two_segmentations_that_are_the_same_are_not_to_be_compared() -> None:
    verdict = by_hand(replace(GOOD, agreement=1.0), (LARGE,), (LARGE,))
    assert (verdict.decision, verdict.delivered) == ("look", "source")
    told = "The adaptation changed nothing, and Brain is too large: look at it before you use it."
    assert verdict.sentence("source") == verdict.sentence("result") == told


def test_one_unusual_shape_of_several_is_told_and_does_not_keep_a_result_back() -> None:
    unusual = Finding("unusual shape", "Brain", "Brain has an unusual shape (length 9 mm ...)")
    verdict = by_hand(replace(GOOD, shape_result=0.9), (), (unusual,))
    assert (verdict.decision, verdict.delivered) == ("look", "result")
    assert "but Brain has an unusual shape" in verdict.sentence("result")
    assert by_hand(replace(GOOD, shape_result=1.1), (), (unusual,)).delivered == "source"
    assert by_hand(replace(GOOD, shape_result=None)).delivered == "result", "it has no shapes"


def test_a_mask_that_vanished_is_never_delivered() -> None:
    verdict = by_hand(replace(GOOD, shrinkage=math.log(100), outside_source=0.0))
    assert (verdict.decision, verdict.delivered) == ("keep", "source")
    assert "100-fold" in verdict.cause
    emptied = measure(evidence(box(slice(0, 4)), box(slice(0, 0))))
    assert by_hand(emptied).delivered == "source"


def test_without_a_plausible_volume_nothing_is_delivered_and_no_dice_is_predicted() -> None:
    single = replace(GOOD, outside_source=None, outside_result=None)
    verdict = by_hand(single)
    assert (verdict.decision, verdict.delivered) == ("look", "source")
    assert verdict.source.quality is verdict.result.quality is None


def test_why_says_how_a_model_without_sizes_gets_them() -> None:
    single = replace(GOOD, outside_source=None, outside_result=None)
    unknown = replace(single, size_error_source=None, size_error_result=None)
    advised = [
        [reason for reason in by_hand(signals).reasons if "import-model --labels" in reason]
        for signals in (GOOD, single, unknown)
    ]
    assert [len(reasons) for reasons in advised] == [0, 0, 1]


def test_a_result_with_every_bad_sign_is_not_delivered() -> None:
    assert judge(replace(GOOD, **WORSE)).delivered == "source"


def test_what_is_delivered_without_the_gate_is_told_as_it_is() -> None:
    verdict = by_hand(GOOD, (), (LARGE,))
    assert "the source model's is delivered" in verdict.sentence("source")
    assert "delivered" not in verdict.sentence("result")
    facts = verdict.to_dict(GOOD, "result")
    assert facts["sentence"] == verdict.sentence("result")
    assert facts["findings"] == [
        {"kind": "too large", "structure": "Brain", "text": LARGE.text},
    ]


def test_what_was_not_measured_counts_for_nothing() -> None:
    pairs = ("entropy", "stability", "size_error", "outside", "shape", "largest", "edge")
    missing = {f"{name}_{of}": None for name in pairs for of in ("source", "result")}
    alone = {"draw_agreement": None, "draw_spread": None, "others": None}
    bare = replace(GOOD, **missing, **alone, weight_distance=None)
    left = {"change", "shrinkage", "growth", "collapse"}
    assert set(shipped().parts(bare)) == left
    assert {name for name, value in features(bare).items() if value is not None} == left


def test_the_shipped_coefficients_fit_the_features_and_have_no_wrong_sign() -> None:
    fitted = shipped()
    assert set(fitted.weights) == set(fitted.centres) == set(fitted.scales) == set(FEATURES)
    assert min(fitted.weights.values()) >= 0 < max(fitted.weights.values())
    assert 0 < fitted.adopt <= fitted.keep < 1


def test_the_judge_does_not_know_the_methods() -> None:
    for source in (ROOT / "SFDALib/trust").glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                rooms = {"registry", "adaptation", "heal", "jobs", "method", "outcome"}
                assert not rooms & set((node.module or "").split(".")), source
