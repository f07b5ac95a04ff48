"""Weigh the signals: a logistic regression whose every coefficient has the sign that it should.

``score = bias + sum_f weight_f * z_f``, ``z_f = (feature_f - centre_f) / scale_f`` held within
FARTHEST of 0, and ``P(harm) = 1 / (1 + exp(-score))``, harm being a result whose Dice is lower than
the source's rather than higher, either equally likely beforehand. Every feature is written so that
more of it is worse and no weight is negative: a sign that worsens never makes a result look better.
Below ``adopt`` the result is adopted, from ``keep`` on the source's is kept; between them somebody
has to look, and the source's is delivered meanwhile. Where no volume can be compared with a
plausible one, as in a single slice, the judge never adopts: in the benchmark it could not tell harm
from help there. Standard library alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from SFDALib.trust.signals import Signals

COEFFICIENTS = Path(__file__).with_name("coefficients.json")
FARTHEST = 2.0  # scales from the centre: what was seen in no fit speaks no louder than the unusual
VANISHED = math.log(4)  # a class that shrank by more than this factor, whatever else speaks for it
LEAST_REASON = 0.1  # of the score; what weighs less is not worth a sentence
REASONS = 3
NO_VOLUME = "there is no volume to compare with a plausible one, without which harm cannot be told"
PERCENT = 100

Decision = Literal["adopt", "keep", "look"]


@dataclass(frozen=True)
class Coefficients:
    """What the benchmark fitted.

    Args:
        bias: of the score.
        weights: of each feature, 0 or more, for a feature of one ``scale``.
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
        """What each feature adds to the score, beside the bias; nothing if it was not measured."""
        found = features(signals)
        return {
            name: weight * self.standardised(name, found[name])
            for name, weight in self.weights.items()
            if found[name] is not None
        }

    def standardised(self, name: str, value: float) -> float:
        """How many scales a feature lies from its centre, held within FARTHEST."""
        z = (value - self.centres[name]) / self.scales[name]
        return min(max(z, -FARTHEST), FARTHEST)

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
        reasons: in plain words, the weightiest first.
    """

    decision: Decision
    harm: float
    reasons: tuple[str, ...]

    @property
    def delivered(self) -> Literal["source", "result"]:
        """Which of the two is safer to deliver: the result only where it is adopted."""
        return "result" if self.decision == "adopt" else "source"

    def to_dict(self, signals: Signals) -> dict[str, Any]:
        """Plain data, for report.json."""
        return {
            "decision": self.decision,
            "harm": round(self.harm, 4),
            "delivered": self.delivered,
            "reasons": list(self.reasons),
            "signals": asdict(signals),
        }


def features(signals: Signals) -> dict[str, float | None]:
    """The signals as numbers of which more is worse; None where one was not measured."""
    return {name: feature(signals) for name, (feature, _) in FEATURES.items()}


def judge(signals: Signals, coefficients: Coefficients | None = None) -> Verdict:
    """The verdict on one result."""
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
    """Whether there is a volume to be compared with a plausible one."""
    return signals.outside_result is not None


@cache
def shipped() -> Coefficients:
    """The coefficients that come with this package."""
    return Coefficients(**json.loads(COEFFICIENTS.read_text(encoding="utf-8"))["coefficients"])


def _reasons(
    signals: Signals, fitted: Coefficients, harm: float, decision: Decision
) -> tuple[str, ...]:
    """The probability, then the features that weigh most on the side of the decision."""
    chance = f"the estimated chance that it is worse than the source's is {harm:.0%}"
    sign = {"adopt": -1, "keep": 1, "look": 0}[decision]
    parts = fitted.parts(signals)
    weighty = [
        name
        for name, part in sorted(parts.items(), key=lambda item: -abs(item[1]))
        if abs(part) >= LEAST_REASON and part * sign >= 0
    ]
    return (chance, *(FEATURES[name][1](signals) for name in weighty[:REASONS]))


def _log_ratio(above: float | None, below: float | None, least: float) -> float | None:
    if above is None or below is None:
        return None
    return math.log((above + least) / (below + least))


def _excess(more: float | None, less: float | None) -> float | None:
    return None if more is None or less is None else more - less


def _from_to(what: str, source: float | None, result: float | None, factor: float = 1) -> str:
    unit = " %" if factor == PERCENT else ""
    before, after = (
        "none" if value is None else f"{factor * value:.3g}{unit}" for value in (source, result)
    )
    return f"{what} went from {before} to {after}"


Feature = tuple[Callable[["Signals"], float | None], Callable[["Signals"], str]]
FEATURES: dict[str, Feature] = {
    "entropy rise": (
        lambda s: _log_ratio(s.entropy_result, s.entropy_source, 0.02),
        lambda s: _from_to("entropy (bits)", s.entropy_source, s.entropy_result),
    ),
    "stability lost": (
        lambda s: _excess(s.stability_source, s.stability_result),
        lambda s: _from_to(
            "agreement with itself on a flipped and a duller image",
            s.stability_source,
            s.stability_result,
            PERCENT,
        ),
    ),
    "source stable": (
        lambda s: s.stability_source,
        lambda s: (
            "the source model agrees with itself on a flipped and a duller image to"
            f" {PERCENT * (s.stability_source or 0):.3g} %"
        ),
    ),
    "size less expected": (
        lambda s: _excess(s.size_error_result, s.size_error_source),
        lambda s: _from_to(
            "the log distance from the expected size", s.size_error_source, s.size_error_result
        ),
    ),
    "volume less plausible": (
        lambda s: _excess(s.outside_result, s.outside_source),
        lambda s: _from_to(
            "the log distance from the plausible volumes", s.outside_source, s.outside_result
        ),
    ),
    "fragments": (
        lambda s: _excess(s.largest_source, s.largest_result),
        lambda s: _from_to(
            "the share of the largest piece", s.largest_source, s.largest_result, PERCENT
        ),
    ),
    "edges left": (
        lambda s: _log_ratio(s.edge_source, s.edge_result, 0.1),
        lambda s: _from_to(
            "the gradient on the border, relative to its surroundings,",
            s.edge_source,
            s.edge_result,
        ),
    ),
    "change": (
        lambda s: 1 - s.agreement,
        lambda s: f"it agrees with the source's to {PERCENT * s.agreement:.3g} % Dice",
    ),
    "shrinkage": (
        lambda s: s.shrinkage,
        lambda s: f"the class that shrank most did so {math.exp(s.shrinkage):.3g}-fold",
    ),
    "growth": (
        lambda s: s.growth,
        lambda s: f"the class that grew most did so {math.exp(s.growth):.3g}-fold",
    ),
    "weights moved": (
        lambda s: None if s.weight_distance is None else math.log1p(PERCENT * s.weight_distance),
        lambda s: f"the weights moved by {PERCENT * (s.weight_distance or 0):.2g} %",
    ),
    "collapse": (
        lambda s: float(s.collapsed),
        lambda s: (
            "the adaptation was stopped because it collapsed"
            if s.collapsed
            else "the adaptation did not collapse"
        ),
    ),
    "draws differ": (
        lambda s: _excess(1, s.draw_agreement),
        lambda s: (
            "the segmentations of the drawn samples agree with one another to"
            f" {PERCENT * (s.draw_agreement or 0):.3g} % Dice"
        ),
    ),
    "draws' scores differ": (
        lambda s: s.draw_spread,
        lambda s: f"the drawn samples' scores differ by {s.draw_spread or 0:.2g}",
    ),
    "others differ": (
        lambda s: _excess(1, s.others),
        lambda s: (
            f"the other methods' results agree with it to {PERCENT * (s.others or 0):.3g} % Dice"
        ),
    ),
}
"""name -> (the number, the sentence)."""
