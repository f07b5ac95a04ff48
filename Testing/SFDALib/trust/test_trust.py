"""The judge: signals by hand, verdicts that no worsening sign improves, and what the gate does."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from paths import ROOT
from phantoms import Phantom
from torch import Tensor

from SFDALib.__main__ import main
from SFDALib.bundle.description import Label
from SFDALib.evaluation.agreement import label_dice
from SFDALib.jobs import judgement
from SFDALib.jobs.request import Job
from SFDALib.trust.features import FEATURES, features
from SFDALib.trust.judge import Coefficients, Verdict, judge, shipped
from SFDALib.trust.signals import Evidence, Signals, measure, weight_distance

LABEL = Label(1, "Brain", (1, 2, 3), size_ml=(4.0, 16.0), mean_ml=8.0, slice_area_mm2=8.0)
GOOD = Signals(
    entropy_source=0.4,
    entropy_result=0.1,
    stability_source=0.6,
    stability_result=0.95,
    size_error_source=1.0,
    size_error_result=0.1,
    outside_source=0.5,
    outside_result=0.0,
    largest_source=0.6,
    largest_result=1.0,
    components_source=7,
    components_result=1,
    edge_source=0.9,
    edge_result=1.6,
    agreement=0.8,
    shrinkage=0.0,
    growth=0.3,
    weight_distance=0.001,
    collapsed=False,
    draw_agreement=0.9,
    draw_spread=0.1,
    others=0.9,
)
WORSE = {
    "entropy_result": 1.0,
    "stability_result": 0.2,
    "size_error_result": 2.0,
    "outside_result": 1.5,
    "largest_result": 0.2,
    "edge_result": 0.3,
    "agreement": 0.1,
    "shrinkage": 1.2,
    "growth": 3.0,
    "weight_distance": 0.5,
    "collapsed": True,
    "draw_agreement": 0.2,
    "draw_spread": 0.4,
    "others": 0.2,
}


def probabilities(mask: np.ndarray, sure: float = 1.0) -> Tensor:
    """Binary class probabilities (2, k, j, i): ``sure`` inside the mask, 0 outside."""
    foreground = torch.from_numpy(mask.astype(np.float32)) * sure
    return torch.stack([1 - foreground, foreground])


def box(columns: slice, shape: tuple[int, int, int] = (2, 4, 8)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[:, 1:3, columns] = True
    return mask


def evidence(source: np.ndarray, result: np.ndarray, **more: Any) -> Evidence:
    image = np.zeros((1, *source.shape), dtype=np.float32)
    given = {"labels": (LABEL,), "voxel_ml": 1.0, "area_mm2": 1.0} | more
    return Evidence(image, probabilities(source), probabilities(result), **given)


# --- Signals -----------------------------------------------------------------------------------


def test_entropy_counts_where_either_shows_a_class() -> None:
    mask = box(slice(0, 2))
    unsure = replace(evidence(mask, mask), result=probabilities(mask, 0.9))
    found = measure(unsure)
    assert found.entropy_result == pytest.approx(0.4689956, abs=1e-6)  # H(0.9) in bits


def test_sizes_are_compared_with_the_source_the_expected_and_the_plausible() -> None:
    found = measure(evidence(box(slice(0, 2)), box(slice(0, 8))))  # 8 and 32 ml
    assert (found.growth, found.shrinkage) == (pytest.approx(math.log(4)), 0)
    assert (found.size_error_source, found.size_error_result) == (0, pytest.approx(math.log(4)))
    assert (found.outside_source, found.outside_result) == (0, pytest.approx(math.log(2)))
    assert found.agreement == pytest.approx(2 * 8 / (8 + 32))


def test_a_single_slice_is_measured_by_its_area_and_has_no_volume() -> None:
    source, result = box(slice(0, 4))[:1], box(slice(0, 2))[:1]  # 8 and 4 mm²
    found = measure(evidence(source, result))
    assert (found.size_error_source, found.size_error_result) == (0, pytest.approx(math.log(2)))
    assert found.outside_result is None


def test_the_worst_class_decides_how_much_shrank() -> None:
    classes = (LABEL, replace(LABEL, value=2, name="Lesion"))
    source = torch.zeros(3, 1, 1, 12)
    result = torch.zeros(3, 1, 1, 12)
    for tensor, counts in ((source, (4, 6, 2)), (result, (3, 8, 1))):
        labels = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
        tensor.scatter_(0, labels.reshape(1, 1, 1, 12), 1.0)
    given = evidence(np.zeros((1, 1, 12)), np.zeros((1, 1, 12)), labels=classes)
    found = measure(replace(given, source=source, result=result))
    assert found.shrinkage == pytest.approx(math.log(2))  # of the lesion, 2 to 1
    assert found.growth == pytest.approx(math.log(8 / 6))  # of the brain


def test_components_are_counted_and_the_largest_one_shared() -> None:
    mask = np.zeros((1, 1, 8), dtype=bool)
    mask[..., :3] = mask[..., 6] = True
    found = measure(evidence(np.zeros_like(mask), mask))
    assert (found.components_source, found.largest_source) == (0, None)
    assert (found.components_result, found.largest_result) == (2, 0.75)


def test_a_segmenter_that_ignores_the_image_is_unstable_under_a_flip() -> None:
    left = box(slice(0, 4))
    ignorant = measure(evidence(left, left, source_again=lambda image: probabilities(left)))
    assert ignorant.stability_source == 0.5  # none of the flip, all of the duller view
    assert ignorant.stability_result is None

    def see(image: np.ndarray) -> Tensor:
        return probabilities(image[0] > 0)

    seen = replace(evidence(left, left, result_again=see), image=left[None].astype(np.float32))
    assert measure(seen).stability_result < 1  # around the mean, the background is above 0
    seen = replace(seen, result_again=lambda image: probabilities(image[0] > 0.5))
    assert measure(seen).stability_result == 1


def test_a_border_on_an_edge_of_the_image_agrees_with_it() -> None:
    image = np.zeros((1, 1, 16, 32), dtype=np.float32)
    image[..., 16:] = 1
    on, beside = np.zeros((2, 1, 16, 32), dtype=bool)
    on[..., 16:] = True
    beside[..., 18:] = True
    found = measure(replace(evidence(beside, on), image=image))
    # the step's gradient is 0.5 in two columns; the border is those two, the band these and 3 more
    # on either side: 0.5 over 2 * 0.5 / 8
    assert found.edge_result == pytest.approx(4.0)
    assert found.edge_source == pytest.approx(0.0)


def test_the_distance_of_weights_is_relative() -> None:
    source = {"a": torch.ones(4), "count": torch.tensor(3)}
    moved = {"a": torch.full((4,), 1.5), "count": torch.tensor(9)}
    assert weight_distance(moved, source) == pytest.approx(0.5)
    assert weight_distance(source, source) == 0


def test_two_empty_segmentations_agree() -> None:
    nothing = box(slice(0, 0))
    found = measure(evidence(nothing, nothing))
    assert found.agreement == 1
    assert (found.growth, found.shrinkage, found.edge_source) == (0, 0, None)


def test_draws_are_held_against_one_another() -> None:
    masks = [box(slice(0, n)).astype(np.uint8) for n in (2, 4, 8)]
    given = evidence(masks[0], masks[0], draws=masks, draw_scores=(0.5, 0.2, 0.3))
    found = measure(given)
    dice = (2 * 2 / (2 + 4), 2 * 2 / (2 + 8), 2 * 4 / (4 + 8))
    assert found.draw_agreement == pytest.approx(sum(dice) / 3)
    assert found.draw_spread == pytest.approx(0.3)


@pytest.mark.parametrize("draws", [0, 1])
def test_less_than_two_draws_tell_nothing(draws: int) -> None:
    mask = box(slice(0, 2))
    given = evidence(mask, mask, draws=[mask] * draws, draw_scores=[0.5] * draws)
    assert (measure(given).draw_agreement, measure(given).draw_spread) == (None, None)


# --- The verdict -------------------------------------------------------------------------------

BY_HAND = Coefficients(
    bias=0.0,
    weights={"growth": 2.0},
    centres={"growth": 1.0},
    scales={"growth": 0.5},
    adopt=0.2,
    keep=0.5,
)


@pytest.mark.parametrize(
    ("growth", "harm", "decision", "delivered"),
    [(0.5, 0.1192, "adopt", "result"), (0.9, 0.4013, "look", "source"), (1, 0.5, "keep", "source")],
)
def test_the_probability_of_harm_decides(
    growth: float, harm: float, decision: str, delivered: str
) -> None:
    verdict = judge(replace(GOOD, growth=growth), BY_HAND)  # logistic of 2 (growth - 1) / 0.5
    assert verdict.harm == pytest.approx(harm, abs=1e-4)
    assert (verdict.decision, verdict.delivered) == (decision, delivered)
    assert f"{harm:.0%}" in verdict.reasons[0]


def test_beyond_what_was_seen_a_feature_speaks_no_louder() -> None:
    # two scales from the centre are 1 + 2 * 0.5: logistic of 2 * 2
    assert judge(replace(GOOD, growth=3.0), BY_HAND).harm == pytest.approx(0.9820, abs=1e-4)
    assert BY_HAND.harm(replace(GOOD, growth=30.0)) == BY_HAND.harm(replace(GOOD, growth=2.0))


def test_reasons_name_the_number_behind_them() -> None:
    (_, reason) = judge(replace(GOOD, growth=math.log(5)), BY_HAND).reasons
    assert "grew most did so by a factor of 5" in reason


@pytest.mark.parametrize("signal", WORSE)
def test_a_worse_sign_never_makes_harm_less_likely(signal: str) -> None:
    worse = replace(GOOD, **{signal: WORSE[signal]})
    assert shipped().harm(worse) >= shipped().harm(GOOD)
    pairs = [(features(worse)[name], features(GOOD)[name]) for name in FEATURES]
    assert all(now >= was for now, was in pairs) and any(now > was for now, was in pairs)


def test_a_mask_that_vanished_is_never_adopted() -> None:
    trusting = replace(BY_HAND, bias=-50.0)
    verdict = judge(replace(GOOD, shrinkage=math.log(100)), trusting)
    assert (verdict.decision, verdict.delivered) == ("keep", "source")
    assert "100-fold" in verdict.reasons[0]
    emptied = measure(evidence(box(slice(0, 4)), box(slice(0, 0))))
    assert judge(emptied, trusting).decision == "keep"


def test_without_a_plausible_volume_nothing_is_adopted() -> None:
    single = replace(GOOD, outside_source=None, outside_result=None)
    verdict = judge(single, replace(BY_HAND, bias=-50.0))
    assert (verdict.decision, verdict.delivered) == ("look", "source")
    assert "no volume" in verdict.reasons[0]


def test_a_result_with_every_bad_sign_is_not_adopted() -> None:
    assert judge(replace(GOOD, **WORSE)).decision != "adopt"


def test_a_result_that_changed_nothing_is_adopted() -> None:
    verdict = judge(replace(GOOD, agreement=1.0, growth=0.0))
    assert verdict.decision == "adopt"


def test_what_was_not_measured_counts_for_nothing() -> None:
    pairs = ("entropy", "stability", "size_error", "outside", "largest", "edge")
    missing = {f"{name}_{of}": None for name in pairs for of in ("source", "result")}
    alone = {"draw_agreement": None, "draw_spread": None, "others": None}
    bare = replace(GOOD, **missing, **alone, weight_distance=None)
    left = {"change", "shrinkage", "growth", "collapse"}
    assert set(shipped().parts(bare)) == left
    assert {name for name, value in features(bare).items() if value is not None} == left


def test_labels_alone_have_no_entropy() -> None:
    mask = box(slice(0, 2))
    assert measure(evidence(mask, mask)).entropy_result is None


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


# --- The gate ----------------------------------------------------------------------------------


def run(phantom: Phantom, output: Path, *words: str, method: str = "adami") -> Path:
    request = ["--bundle", phantom.bundle, "--input", phantom.image, "--method", method]
    request += ["--output", output, "--device", "cpu"]
    if method == "adami":
        request += ["--option", "epochs=1", "--option", "learning_rate=1e-3"]
    assert main(["run", *map(str, request), *words]) == 0
    return output


def labels_of(folder: Path, name: str) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"{name}.seg.nrrd")))


def report_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text())


def say(decision: str) -> Callable[[Signals], Verdict]:
    return lambda signals: Verdict(decision, 0.4, ("as the test wants it",))


@pytest.mark.parametrize(
    ("decision", "gate", "delivered"),
    [
        ("adopt", "on", "result"),
        ("look", "on", "source"),
        ("keep", "on", "source"),
        ("keep", "off", "result"),
    ],
)
def test_the_gate_changes_only_what_is_delivered(
    phantom: Callable[..., Phantom],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    decision: str,
    gate: str,
    delivered: str,
) -> None:
    monkeypatch.setattr(judgement, "judge", say(decision))
    out = run(phantom(), tmp_path / "out", "--gate", gate)
    source, result = (labels_of(out, f"{name}_segmentation") for name in ("source", "adapted"))
    assert (source != result).any()
    assert (labels_of(out, "segmentation") == {"source": source, "result": result}[delivered]).all()
    trust = report_of(out)["trust"]
    assert (trust["decision"], trust["delivered"]) == (decision, delivered)
    tags = sitk.ReadImage(str(out / "segmentation.seg.nrrd")).GetMetaData("Segment0_Tags")
    made_by = {"source": "No adaptation", "result": report_of(out)["title"]}[delivered]
    assert f"DICOM.SegmentAlgorithmName:{made_by} (" in tags
    assert trust["reasons"] == ["as the test wants it"]
    assert trust["signals"]["agreement"] == pytest.approx(label_dice(source, result), abs=0.1)
    assert any("as the test wants it" in note for note in report_of(out)["notes"])


def test_samples_of_heal_are_among_the_signals(
    phantom: Callable[..., Phantom], tmp_path: Path
) -> None:
    words = ("--option", "samples=3", "--option", "steps=2", "--option", "tau2=10")
    out = run(phantom(), tmp_path / "out", *words, method="heal")
    report = report_of(out)
    scores = [sample["score"] for sample in report["details"]["samples"]]
    found = report["trust"]["signals"]
    assert found["draw_spread"] == pytest.approx(max(scores) - min(scores))
    assert 0 <= found["draw_agreement"] <= 1
    assert report_of(run(phantom(), tmp_path / "adami"))["trust"]["signals"]["draw_spread"] is None


def trust(decision: str, harm: float, agreement: float = 0.5) -> dict[str, Any]:
    return {"decision": decision, "harm": harm, "signals": {"agreement": agreement}}


def test_the_choice_is_the_adopted_result_that_harms_least() -> None:
    trusts = {
        "none": None,
        "heal": trust("adopt", 0.2),
        "tent": trust("adopt", 0.1),
        "adami": trust("look", 0.05),
        "adaent": trust("adopt", 0.0, agreement=1.0),  # the source's own
    }
    assert judgement.choice(trusts) == "tent"
    assert judgement.choice({name: trusts[name] for name in ("none", "adami", "adaent")}) is None


def test_doing_nothing_is_not_judged(phantom: Callable[..., Phantom], tmp_path: Path) -> None:
    out = run(phantom(), tmp_path / "out", method="none")
    assert report_of(out)["trust"] is None
    assert not (out / "adapted_segmentation.seg.nrrd").exists()


def test_a_cohort_follows_the_gate_image_by_image(
    phantom: Callable[..., Phantom], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judgement, "judge", say("keep"))
    made = phantom()
    request = ["--bundle", made.bundle, "--input", made.image, "--method", "adami"]
    request += ["--output", tmp_path / "out", "--option", "epochs=1", "--device", "cpu"]
    assert main(["cohort", *map(str, request)]) == 0
    (row,) = json.loads((tmp_path / "out/cohort.json").read_text())["images"]
    assert row["trust"] == {"decision": "keep", "delivered": "source"}
    folder = tmp_path / "out" / row["folder"]
    delivered, source = labels_of(folder, "segmentation"), labels_of(folder, "source_segmentation")
    assert (delivered == source).all()


def test_the_gate_is_a_field_of_the_job(tmp_path: Path) -> None:
    fields = {"bundle": "b", "input": "i.nrrd", "method": "none", "output": "o"}
    assert Job(**fields).gate == "on"
    (tmp_path / "job.json").write_text(json.dumps({**fields, "gate": "off"}))
    assert Job.from_file(tmp_path / "job.json").checked().gate == "off"


def test_a_gate_that_is_neither_on_nor_off_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fields = {"bundle": "b", "input": "i.nrrd", "method": "none", "output": "o", "gate": "ajar"}
    (tmp_path / "job.json").write_text(json.dumps(fields))
    assert main(["run", "--job", str(tmp_path / "job.json")]) == 2
    assert 'found "ajar", expected on or off' in caplog.messages[-1]
