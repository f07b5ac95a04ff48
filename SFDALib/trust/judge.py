"""Estimate from the signals how likely a result is worse than the source model's segmentation, and
say what is to be done with it.

A logistic regression: ``score = bias + sum_f weight_f * z_f`` with ``z_f = (feature_f - centre_f) /
scale_f`` clipped to +-``CLIP``, and ``P(harm) = 1 / (1 + exp(-score))``. Harm means that the
result's Dice is lower than the source's; harm and help have equal prior probability. All weights
are at least 0 and larger features are worse, so that no feature that gets worse makes a result look
better.

Below the bound ``adopt`` a result is probably better, from ``keep`` on it is not. A result that is
probably better is delivered, unless a volume lies outside its plausible range or both segmentations
look wrong; it is to be looked at if something was found in a structure or its predicted Dice is
poor. Without a volume to compare with a plausible range, as in a single slice, the source's is
delivered: in the benchmark harm could not be told from help there. Standard library alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from SFDALib.trust.features import FEATURES, features
from SFDALib.trust.findings import OUTSIDE, UNUSUAL, Finding
from SFDALib.trust.levels import Decision
from SFDALib.trust.quality import QualityModel, shipped_quality
from SFDALib.trust.regression import Regression, logistic
from SFDALib.trust.verdict import Looks, Verdict

if TYPE_CHECKING:
    from SFDALib.trust.signals import Signals

COEFFICIENTS = Path(__file__).with_name("coefficients.json")
CLIP = 2.0  # of the standardised features, to limit extrapolation beyond the benchmark
VANISHED = math.log(4)  # a class that shrank by more than this: no better, whatever the score
POOR, WRONG = 0.7, 0.3  # predicted Dice: below the first look at it, below the second it is wrong
FAR_OUTSIDE = math.log(2)  # volumes that are wrong: mean factor outside the plausible ranges
MISSHAPEN = 1.5  # mean deviation of shapes that are wrong; above UNUSUAL none is delivered
LEAST_REASON = 0.1  # features that add less to the score are not named as reasons
REASONS = 3
UNJUDGED = "without a volume and its plausible range that is hard to tell"
NO_SIZE = (
    "the model has no expected sizes to compare with (type plausible volumes, with --volumes or in"
    " the panel under Advanced; or SFDALib import-model --labels measures sizes on earlier"
    " segmentations and adds them to the model)"
)


@dataclass(frozen=True)
class Coefficients(Regression):
    """What the benchmark fitted, of the features.

    Args:
        adopt, keep: bounds of the probability of harm.
    """

    CLIP = CLIP

    adopt: float
    keep: float

    def parts(self, signals: Signals) -> dict[str, float]:
        """What each measured feature adds to the score."""
        return self.weighted(features(signals))

    def harm(self, signals: Signals) -> float:
        """The probability that the result's Dice is lower than the source's."""
        return logistic(self.bias + sum(self.parts(signals).values()))


def judge(
    signals: Signals,
    source_findings: Sequence[Finding] = (),
    findings: Sequence[Finding] = (),
    coefficients: Coefficients | None = None,
    qualities: QualityModel | None = None,
) -> Verdict:
    """The verdict on one result.

    Args:
        signals: of the result.
        source_findings, findings: what is to be looked at in the source's segmentation, and in the
            result.
        coefficients, qualities: those of the package unless others are given.
    """
    fitted, model = coefficients or shipped(), qualities or shipped_quality()
    harm = fitted.harm(signals)
    source = Looks(
        tuple(source_findings),
        model.predict(signals, "source"),
        signals.outside_source or 0,
        signals.shape_source or 0,
    )
    result = Looks(
        tuple(findings),
        model.predict(signals, "result"),
        signals.outside_result or 0,
        signals.shape_result or 0,
    )
    decision, cause = _decide(signals, harm, fitted, source, result)
    reasons = (
        f"the estimated chance that it is worse than the source model's is {_chance(harm)}",
        *((NO_SIZE,) if _knows_no_size(signals) else ()),
        *_of_both(source, result, model.coverage),
        *_weighty(fitted.parts(signals), signals, decision),
    )
    outside = any(finding.kind in OUTSIDE for finding in result.findings)
    plausible = is_plausible(signals) and not outside
    adopted = decision == "look" and harm < fitted.adopt and plausible
    return Verdict(decision, harm, cause, reasons, source, result, adopted, signals.unchanged)


def can_adopt(signals: Signals) -> bool:
    """Whether the result's volume can be compared with a plausible range."""
    return signals.outside_result is not None


def _knows_no_size(signals: Signals) -> bool:
    """Whether neither a volume nor an area is expected; a single slice may have the latter."""
    return signals.outside_result is None and signals.size_error_result is None


def is_plausible(signals: Signals) -> bool:
    """Whether something changed, no structure vanished, and all volumes and shapes are plausible.

    The shapes on average: one structure of several may have an unusual one.
    """
    changed = not signals.unchanged and signals.shrinkage <= VANISHED
    return changed and signals.outside_result == 0 and (signals.shape_result or 0) <= UNUSUAL


@cache
def shipped() -> Coefficients:
    """The coefficients that come with this package."""
    return Coefficients(**json.loads(COEFFICIENTS.read_text(encoding="utf-8"))["coefficients"])


def _decide(
    signals: Signals, harm: float, fitted: Coefficients, source: Looks, result: Looks
) -> tuple[Decision, str]:
    """The level, and what decided."""
    in_source, in_result = _to_look_at(source), _to_look_at(result)
    if _wrong(source) and _wrong(result):
        return "both-wrong", f"Both look wrong, as {in_result or in_source}"
    if cause := _no_better(signals, harm, fitted):
        if in_source:
            where = "and" if signals.unchanged else "but in the source model's segmentation"
            return "look", f"{cause}, {where} {in_source}"
        return "keep", cause
    if not can_adopt(signals):
        return "look", f"Unclear whether it is better, as {UNJUDGED}"
    if harm >= fitted.adopt:
        also = f", and {in_result}" if in_result else ""
        return "look", f"Unclear whether it is better{also}"
    if in_result:
        return "look", f"Probably better, but {in_result}"
    known = f" (predicted Dice {result.quality})" if result.quality else ""
    return "better", f"Better and plausible{known}"


def _no_better(signals: Signals, harm: float, fitted: Coefficients) -> str:
    """Why the result is no better than the source's; empty if it may be."""
    if signals.unchanged:
        return "The adaptation changed nothing"
    if signals.shrinkage > VANISHED:
        return f"No better, as a structure shrank {math.exp(signals.shrinkage):.0f}-fold"
    if harm < fitted.keep:
        return ""
    return "No better" if can_adopt(signals) else f"Probably no better, though {UNJUDGED}"


def _wrong(looks: Looks) -> bool:
    """Whether a segmentation has a low predicted Dice, or volumes or shapes far from plausible."""
    low = looks.quality is not None and looks.quality.dice < WRONG
    return low or looks.outside >= FAR_OUTSIDE or looks.shape > MISSHAPEN


def _to_look_at(looks: Looks) -> str:
    """What is to be looked at first in a segmentation, as a clause; empty if nothing is."""
    found = [finding.in_short for finding in looks.findings]
    if not found and looks.outside > 0:
        found.append("a volume is outside its plausible range")
    if not found and looks.shape > UNUSUAL:
        found.append("a structure has an unusual shape")
    if looks.quality is not None and looks.quality.dice < POOR:
        found.append(f"the predicted Dice is {looks.quality}")
    return found[0] if found else ""


def _chance(harm: float) -> str:
    """In per cent; no estimate is as sure as 0 or 100."""
    percent = round(100 * harm)
    return "below 1 %" if percent < 1 else "above 99 %" if percent > 99 else f"{percent} %"


def _of_both(source: Looks, result: Looks, coverage: float) -> list[str]:
    """The predicted Dice of both, and what was found in them."""
    reasons = []
    if source.quality and result.quality:
        reasons.append(
            "the predicted overlap with a correct segmentation (Dice, 0 to 1) is"
            f" {result.quality} (source model: {source.quality}); on organs that took no part in"
            f" the fit, the true Dice of {100 * coverage:.0f} % of the results lay in such a range"
        )
    reasons += [finding.text for finding in result.findings]
    return reasons + [f"source model: {finding.text}" for finding in source.findings]


def _weighty(parts: Mapping[str, float], signals: Signals, decision: Decision) -> list[str]:
    """The features that contribute most to the decision."""
    sign = {"better": -1, "keep": 1}.get(decision, 0)
    names = [
        name
        for name, part in sorted(parts.items(), key=lambda item: -abs(item[1]))
        if abs(part) >= LEAST_REASON and part * sign >= 0
    ]
    return [FEATURES[name].sentence(signals) for name in names[:REASONS]]
