"""The predicted Dice: the formula by hand, and that no worse sign lifts it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from signals_by_hand import GOOD, WORSE

from SFDALib.trust.features import USUAL, features
from SFDALib.trust.quality import INDICATORS, QualityModel, indicators, shipped_quality

BY_HAND = QualityModel(
    bias=1.0,
    weights={"size error": 0.5, "instability": 0.25},
    centres={"size error": 0.2, "instability": -3.0},
    scales={"size error": 0.1, "instability": 2.0},
    below=0.5,
    above=0.25,
    coverage=0.8,
)


def logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_the_dice_follows_the_formula() -> None:
    # z of the size error 0.1: -1; of the stability 0.95: (log(0.05 / 0.95) + 3) / 2
    logit = 1 + 0.5 - 0.25 * (math.log(0.05 / 0.95) + 3) / 2
    found = BY_HAND.predict(GOOD, "result")
    assert found is not None
    expected = [logistic(value) for value in (logit, logit - 0.5, logit + 0.25)]
    assert [found.dice, found.low, found.high] == pytest.approx(expected)


def test_both_segmentations_are_predicted_by_their_own_signals() -> None:
    # of the source's: size error 1, clipped to 2.5 scales; stability 0.6
    logit = 1 - 0.5 * 2.5 - 0.25 * (math.log(0.4 / 0.6) + 3) / 2
    found = BY_HAND.predict(GOOD, "source")
    assert found is not None and found.dice == pytest.approx(logistic(logit))


def test_the_prediction_starts_from_the_models_dice_and_stability_at_home() -> None:
    at_home = replace(GOOD, dice_home=0.8, stability_home=0.9)
    logit = math.log(4) + 1 + 0.5 - 0.25 * (math.log(0.05 / 0.95) - math.log(0.1 / 0.9) + 3) / 2
    found = BY_HAND.predict(at_home, "result")
    assert found is not None and found.dice == pytest.approx(logistic(logit))


def test_a_perfect_dice_at_home_counts_as_almost_one() -> None:
    """A bundle may say 1, whose logit has no end."""
    perfect, almost = (replace(GOOD, dice_home=dice) for dice in (1.0, 0.99))
    assert BY_HAND.predict(perfect, "result") == BY_HAND.predict(almost, "result")


def test_a_model_that_does_not_tell_is_taken_as_a_usual_one() -> None:
    unknown = replace(GOOD, dice_home=None, entropy_home=None, stability_home=None)
    usual = replace(
        GOOD,
        dice_home=USUAL["dice"],
        entropy_home=USUAL["entropy"],
        stability_home=USUAL["stability"],
    )
    for of in ("source", "result"):
        assert shipped_quality().predict(unknown, of) == shipped_quality().predict(usual, of)
    assert features(unknown) == features(usual)


def test_without_an_expected_size_nothing_is_predicted() -> None:
    assert BY_HAND.predict(replace(GOOD, outside_result=None), "result") is None
    assert BY_HAND.predict(replace(GOOD, size_error_result=None), "result") is None


def test_what_was_not_measured_adds_nothing() -> None:
    found = BY_HAND.predict(replace(GOOD, stability_result=None), "result")
    assert found is not None and found.dice == pytest.approx(logistic(1.5))


@pytest.mark.parametrize("signal", WORSE)
def test_a_worse_sign_never_lifts_the_predicted_dice(signal: str) -> None:
    worse = replace(GOOD, **{signal: WORSE[signal]})
    now, was = (shipped_quality().predict(signals, "result") for signals in (worse, GOOD))
    assert now is not None and was is not None and now.dice <= was.dice


def test_the_shipped_coefficients_fit_the_indicators_and_have_no_wrong_sign() -> None:
    fitted = shipped_quality()
    assert set(fitted.weights) == set(fitted.centres) == set(fitted.scales) == set(INDICATORS)
    assert min(fitted.weights.values()) >= 0 < max(fitted.weights.values())
    assert min(fitted.below, fitted.above) >= 0
    assert set(indicators(GOOD, "result")) == set(INDICATORS)
