"""The numbers that the judge's regression takes from the signals, and a sentence for each.

A larger number is always worse. How much better or worse one signal of the result is than the
source's enters as a root with its sign, so that small changes count, too: with instance
normalisation they are a tenth of those with batch normalisation. Standard library alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from SFDALib.trust.signals import Signals

USUAL = {"dice": 0.88, "entropy": 0.24, "stability": 0.97}  # at home, of models that do not tell
CERTAIN = 0.99  # a Dice above this is as good as this
LEAST_BITS = 0.02  # is added to both entropies of a ratio


@dataclass(frozen=True)
class Feature:
    """One number.

    Args:
        value: of the signals; None where they were not measured.
        sentence: what was measured, as a reason of a verdict.
    """

    value: Callable[[Signals], float | None]
    sentence: Callable[[Signals], str]


def features(signals: Signals) -> dict[str, float | None]:
    """The value of every feature by its name; None where it was not measured."""
    return {name: feature.value(signals) for name, feature in FEATURES.items()}


def at_home(signals: Signals, name: str) -> float:
    """A number of the source model on images of its own kind; what is usual where it is unknown.

    Args:
        name: a key of ``USUAL``.
    """
    known = getattr(signals, f"{name}_home")
    return USUAL[name] if known is None else known


def log_odds(dice: float) -> float:
    """``log(Dice / (1 - Dice))``, the Dice kept from 1 - CERTAIN to CERTAIN."""
    kept = min(max(dice, 1 - CERTAIN), CERTAIN)
    return math.log(kept / (1 - kept))


def disagreement(dice: float | None) -> float | None:
    """The negative ``log_odds``."""
    return None if dice is None else -log_odds(dice)


def log_ratio(above: float | None, below: float | None, least: float) -> float | None:
    """``log((above + least) / (below + least))``."""
    if above is None or below is None:
        return None
    return math.log((above + least) / (below + least))


def _root(value: float | None) -> float | None:
    """The square root of the absolute value, with the value's sign."""
    return None if value is None else math.copysign(math.sqrt(abs(value)), value)


def excess(more: float | None, less: float | None) -> float | None:
    """``more - less``."""
    return None if more is None or less is None else more - less


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{100 * value:.3g} %"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"


def _factor(log: float | None) -> str:
    """A log ratio as a factor."""
    return "none" if log is None else f"{math.exp(log):.3g}"


FEATURES: dict[str, Feature] = {
    "entropy rise": Feature(
        lambda s: _root(log_ratio(s.entropy_result, s.entropy_source, LEAST_BITS)),
        lambda s: (
            f"the mean entropy is {_number(s.entropy_result)} bits"
            f" (source model: {_number(s.entropy_source)})"
        ),
    ),
    "stability lost": Feature(
        lambda s: _root(excess(disagreement(s.stability_result), disagreement(s.stability_source))),
        lambda s: (
            "with the image flipped or lower in contrast, the Dice with its own segmentation is"
            f" {_percent(s.stability_result)} (source model: {_percent(s.stability_source)})"
        ),
    ),
    "source stable": Feature(
        lambda s: excess(s.stability_source, at_home(s, "stability")),
        lambda s: (
            "with the image flipped or lower in contrast, the source model's Dice with its own"
            f" segmentation is {_percent(s.stability_source)} (on images of its own kind"
            f" {_percent(at_home(s, 'stability'))})"
        ),
    ),
    "size less expected": Feature(
        lambda s: _root(excess(s.size_error_result, s.size_error_source)),
        lambda s: (
            f"the sizes differ from the expected ones by a factor of {_factor(s.size_error_result)}"
            f" (source model: {_factor(s.size_error_source)})"
        ),
    ),
    "volume less plausible": Feature(
        lambda s: _root(excess(s.outside_result, s.outside_source)),
        lambda s: (
            "the volumes are outside the plausible ranges by a factor of"
            f" {_factor(s.outside_result)} (source model: {_factor(s.outside_source)}; 1 is inside)"
        ),
    ),
    "shape less plausible": Feature(
        lambda s: _root(excess(s.shape_result, s.shape_source)),
        lambda s: (
            f"the shapes deviate from plausible ones by {_number(s.shape_result)}"
            f" (source model: {_number(s.shape_source)}; plausible up to 1)"
        ),
    ),
    "fragments": Feature(
        lambda s: _root(excess(s.largest_source, s.largest_result)),
        lambda s: (
            f"the largest connected part has {_percent(s.largest_result)} of a structure's volume"
            f" (source model: {_percent(s.largest_source)})"
        ),
    ),
    "edges left": Feature(
        lambda s: _root(log_ratio(s.edge_source, s.edge_result, 0.1)),
        lambda s: (
            "the image's gradient on the contours, relative to that around them, is"
            f" {_number(s.edge_result)} (source model: {_number(s.edge_source)})"
        ),
    ),
    "change": Feature(
        lambda s: 1 - s.agreement,
        lambda s: f"the Dice with the source model's segmentation is {_percent(s.agreement)}",
    ),
    "shrinkage": Feature(
        lambda s: s.shrinkage,
        lambda s: f"the structure that shrank most did so by a factor of {_factor(s.shrinkage)}",
    ),
    "growth": Feature(
        lambda s: s.growth,
        lambda s: f"the structure that grew most did so by a factor of {_factor(s.growth)}",
    ),
    "weights moved": Feature(
        lambda s: None if s.weight_distance is None else math.log1p(100 * s.weight_distance),
        lambda s: f"the weights changed by {100 * (s.weight_distance or 0):.2g} %",
    ),
    "collapse": Feature(
        lambda s: float(s.collapsed),
        lambda s: (
            "the adaptation was stopped because it collapsed"
            if s.collapsed
            else "the adaptation did not collapse"
        ),
    ),
    "draws differ": Feature(
        lambda s: excess(1, s.draw_agreement),
        lambda s: (
            "the mean Dice between the segmentations of the diffusion samples is"
            f" {_percent(s.draw_agreement)}"
        ),
    ),
    "draws' scores differ": Feature(
        lambda s: s.draw_spread,
        lambda s: f"the scores S of the diffusion samples differ by up to {s.draw_spread or 0:.2g}",
    ),
    "others differ": Feature(
        lambda s: excess(1, s.others),
        lambda s: f"the mean Dice with the other methods' results is {_percent(s.others)}",
    ),
}
"""In the order in which the benchmark fitted them."""
