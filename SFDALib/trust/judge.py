"""Estimate from the signals how likely a result is worse than the source model's segmentation.

A logistic regression: ``score = bias + sum_f weight_f * z_f`` with ``z_f = (feature_f - centre_f) /
scale_f`` clipped to +-``CLIP``, and ``P(harm) = 1 / (1 + exp(-score))``. Harm means that the
result's Dice is lower than the source's; harm and help have equal prior probability. All weights
are at least 0 and larger features are worse, so that no feature that gets worse makes a result look
better.

Below the bound ``adopt`` the result is adopted; from ``keep`` on the source's segmentation is kept;
in between a person must look at both, and the source's is delivered until then. Without a volume to
compare with a plausible range, as in a single slice, the judge never adopts: in the benchmark it
could not tell harm from help there. Standard library alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from SFDALib.trust.features import FEATURES, features

if TYPE_CHECKING:
    from SFDALib.trust.signals import Signals

COEFFICIENTS = Path(__file__).with_name("coefficients.json")
CLIP = 2.0  # of the standardised features, to limit extrapolation beyond the benchmark
VANISHED = math.log(4)  # a class that shrank by more than this factor: keep, whatever the score
LEAST_REASON = 0.1  # features that add less to the score are not named as reasons
REASONS = 3
NO_VOLUME = (
    "there is no volume to compare with a plausible range, without which harm cannot be estimated"
)

Decision = Literal["adopt", "keep", "look"]


@dataclass(frozen=True)
class Coefficients:
    """What the benchmark fitted.

    Args:
        bias: of the score.
        weights: of each standardised feature, 0 or more.
        centres, scales: mean and standard deviation of each feature in the fit.
        adopt, keep: bounds of the probability of harm.
    """

    bias: float
    weights: Mapping[str, float]
    centres: Mapping[str, float]
    scales: Mapping[str, float]
    adopt: float
    keep: float

    def parts(self, signals: Signals) -> dict[str, float]:
        """What each measured feature adds to the score."""
        found = features(signals)
        return {
            name: self.weights[name] * self.standardised(name, value)
            for name in self.weights
            if (value := found[name]) is not None
        }

    def standardised(self, name: str, value: float) -> float:
        """``(value - centre) / scale``, clipped to +-``CLIP``."""
        z = (value - self.centres[name]) / self.scales[name]
        return min(max(z, -CLIP), CLIP)

    def harm(self, signals: Signals) -> float:
        """The probability that the result's Dice is lower than the source's."""
        score = self.bias + sum(self.parts(signals).values())
        return 1 / (1 + math.exp(-min(max(score, -50.0), 50.0)))


@dataclass(frozen=True)
class Verdict:
    """What to do with a result, and why.

    Args:
        decision: "adopt" it, "keep" the source's, or "look" closely at both.
        harm: the estimated probability that it is worse than the source's.
        reasons: a sentence each, the most important first.
    """

    decision: Decision
    harm: float
    reasons: tuple[str, ...]

    @property
    def delivered(self) -> Literal["source", "result"]:
        """Which of the two is delivered: the result only if it is adopted."""
        return "result" if self.decision == "adopt" else "source"

    def to_dict(self, signals: Signals) -> dict[str, Any]:
        """The verdict and its signals as plain data, for report.json."""
        return {
            "decision": self.decision,
            "harm": round(self.harm, 4),
            "delivered": self.delivered,
            "reasons": list(self.reasons),
            "signals": asdict(signals),
        }


def judge(signals: Signals, coefficients: Coefficients | None = None) -> Verdict:
    """The verdict on one result.

    Args:
        signals: of the result.
        coefficients: those of the package unless others are given.
    """
    fitted = coefficients or shipped()
    harm = fitted.harm(signals)
    if signals.shrinkage > VANISHED:
        factor = math.exp(signals.shrinkage)
        return Verdict("keep", max(harm, fitted.keep), (f"a class shrank {factor:.0f}-fold",))
    if signals.agreement == 1:
        return Verdict("adopt", 0.0, ("the result is the source model's own segmentation",))
    decision: Decision = (
        "adopt" if harm < fitted.adopt else "keep" if harm >= fitted.keep else "look"
    )
    reasons = _reasons(signals, fitted, harm, decision)
    if decision == "adopt" and not can_adopt(signals):
        return Verdict("look", harm, (NO_VOLUME, *reasons))
    return Verdict(decision, harm, reasons)


def can_adopt(signals: Signals) -> bool:
    """Whether the result's volume can be compared with a plausible range."""
    return signals.outside_result is not None


@cache
def shipped() -> Coefficients:
    """The coefficients that come with this package."""
    return Coefficients(**json.loads(COEFFICIENTS.read_text(encoding="utf-8"))["coefficients"])


def _reasons(
    signals: Signals, fitted: Coefficients, harm: float, decision: Decision
) -> tuple[str, ...]:
    """The probability of harm, then the features that contribute most to the decision."""
    chance = f"the estimated chance that it is worse than the source's is {harm:.0%}"
    sign = {"adopt": -1, "keep": 1, "look": 0}[decision]
    parts = fitted.parts(signals)
    weighty = [
        name
        for name, part in sorted(parts.items(), key=lambda item: -abs(item[1]))
        if abs(part) >= LEAST_REASON and part * sign >= 0
    ]
    return (chance, *(FEATURES[name].sentence(signals) for name in weighty[:REASONS]))
