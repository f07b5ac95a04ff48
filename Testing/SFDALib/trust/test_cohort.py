"""The verdict on a cohort: what the means over the images must show, and by how much."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from paths import ROOT
from signals_by_hand import GOOD

from SFDALib.trust.cohort import ADVICE, LEAST_IMAGES, CohortVerdict, judge_cohort
from SFDALib.trust.signals import Signals

# A little better in each feature: size error 0.5 to 0.4, stability 0.8 to 0.85, entropy 0.3 to 0.2.
IMAGE = replace(
    GOOD,
    entropy_source=0.3,
    entropy_result=0.2,
    stability_source=0.8,
    stability_result=0.85,
    size_error_source=0.5,
    size_error_result=0.4,
    outside_source=None,
    outside_result=None,
)


def cohort(count: int = 10, spread: float = 0.01, **changed: Any) -> list[Signals]:
    """Images that differ in the size of the result by ``spread`` up or down."""
    one = replace(IMAGE, **changed)
    if one.size_error_result is None:
        return [one] * count
    signs = [(-1) ** index for index in range(count)]
    return [replace(one, size_error_result=one.size_error_result + spread * s) for s in signs]


def decision(signals: Sequence[Signals]) -> str:
    return judge_cohort(signals).decision


def test_results_that_are_better_in_each_mean_are_better() -> None:
    verdict = judge_cohort(cohort())
    assert verdict.decision == "better" and verdict.images == 10
    assert verdict.reasons[0] == (
        "the sizes are nearer to the expected ones (better in 10 of 10 images; mean change -0.100,"
        " standard error 0.003)"
    )


def test_the_mean_and_its_standard_error_are_those_of_the_images() -> None:
    found = judge_cohort(cohort(count=10, spread=0.03)).means["size less expected"]
    assert found.value == pytest.approx(-0.1)
    # deviations of 0.03 each: sqrt(10 * 0.03^2 / 9) / sqrt(10)
    assert found.error == pytest.approx(0.03 / 3)


@pytest.mark.parametrize(
    "changed",
    [
        {"size_error_result": 0.6},  # 0.1 farther from the expected sizes
        {"stability_result": 0.78},  # 0.02 less stable
        {"entropy_result": 0.31},
    ],
)
def test_one_mean_that_is_worse_is_enough_to_keep_the_source_models(changed: dict) -> None:
    assert decision(cohort(**changed)) == "keep"


def test_a_gain_in_entropy_alone_is_not_enough() -> None:
    same = {"size_error_result": 0.52, "stability_result": 0.795}
    assert decision(cohort(**same)) == "keep"
    assert decision(cohort(**same | {"stability_result": 0.81})) == "better"
    assert decision(cohort(**same | {"size_error_result": 0.45})) == "better"


def test_the_same_mean_with_more_noise_is_not_enough() -> None:
    assert decision(cohort(spread=0.3)) == "better"  # -0.1, standard error 0.1 times 1 / 1
    assert decision(cohort(spread=0.5)) == "keep"


def test_more_images_make_the_same_noise_harmless() -> None:
    assert decision(cohort(count=40, spread=0.5)) == "better"


@pytest.mark.parametrize(("images", "expected"), [(1, "keep"), (0, "better")])
def test_a_structure_that_vanished_in_more_than_one_of_twenty_images_is_too_much(
    images: int, expected: str
) -> None:
    gone = replace(IMAGE, shrinkage=math.log(5))
    verdict = judge_cohort([*cohort(count=10 - images), *[gone] * images])
    assert verdict.decision == expected
    assert (f"in {images} of 10 images a structure vanished" in verdict.reasons) == bool(images)


@pytest.mark.parametrize("count", [1, 7])
def test_few_images_are_not_judged_together(count: int) -> None:
    verdict = judge_cohort(cohort(count=count))
    assert verdict.decision == "look"
    assert verdict.reasons == (
        f"found {count} image(s), expected at least {LEAST_IMAGES} to judge them together",
    )


def test_what_was_not_measured_is_named_and_not_taken_for_good() -> None:
    verdict = judge_cohort(cohort(size_error_source=None, size_error_result=None))
    assert verdict.decision == "look"
    assert verdict.reasons == ("not measured on at least 8 images: size less expected",)


def test_results_that_are_the_source_models_own_are_no_better() -> None:
    verdict = judge_cohort(cohort(agreement=1.0))
    assert verdict.decision == "keep" and not verdict.means


def test_every_verdict_has_a_sentence_that_says_what_to_do() -> None:
    for (decision_, delivered), advice in ADVICE.items():
        sentence = CohortVerdict(decision_, 24, ()).sentence(delivered)
        assert "24 image" in sentence and sentence.endswith(f": {advice}.")


def test_the_verdict_can_be_written_as_json() -> None:
    plain = judge_cohort(cohort()).to_dict("result")
    assert json.loads(json.dumps(plain)) == plain
    assert plain["means"]["entropy rise"]["mean"] < 0


def test_it_stands_on_the_standard_library_alone() -> None:
    tree = ast.parse((ROOT / "SFDALib/trust/cohort.py").read_text(encoding="utf-8"))
    modules = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
    allowed = ("__future__", "collections", "dataclasses", "statistics", "typing", "SFDALib")
    assert all(module.startswith(allowed) for module in modules)
