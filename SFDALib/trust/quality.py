"""Predict the Dice of one segmentation with its unknown reference, with an interval.

``logit(Dice) = logit(Dice at home) + bias - sum_f weight_f * z_f`` with
``z_f = (indicator_f - centre_f) / scale_f`` clipped to +-``CLIP``; what was not measured adds
nothing. All weights are at least 0 and larger indicators are worse. So it is predicted what the
segmentation loses against those of images of the model's own kind, with whose entropy and stability
its own are compared. The interval adds the 5th and the 95th percentile of the errors on the scale
of the logit, each on the organ, of those left out of a fit, on which it is farthest
(Testing/Benchmarks/trust/fit.py).

Without a plausible size to compare with, as in a single frame, nothing is predicted: there the
errors were as large as the spread of the Dice itself. Standard library alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SFDALib.trust.features import (
    LEAST_BITS,
    at_home,
    disagreement,
    excess,
    log_odds,
    log_ratio,
)
from SFDALib.trust.regression import Regression, logistic

if TYPE_CHECKING:
    from SFDALib.trust.levels import Delivered
    from SFDALib.trust.signals import Signals

QUALITY = Path(__file__).with_name("quality.json")
CLIP = 2.5  # of the standardised indicators, to limit extrapolation beyond the benchmark


@dataclass(frozen=True)
class Quality:
    """A predicted Dice.

    Args:
        dice: the prediction, 0 to 1.
        low, high: ends of the interval, see ``QualityModel.coverage``.
    """

    dice: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.dice:.2f}, range {self.low:.2f} to {self.high:.2f}"

    def to_dict(self) -> dict[str, float]:
        """As in report.json."""
        return {
            "dice": round(self.dice, 4),
            "low": round(self.low, 4),
            "high": round(self.high, 4),
        }


@dataclass(frozen=True)
class QualityModel(Regression):
    """What the benchmark fitted, of the indicators.

    Args:
        below, above: of the logit, from the prediction to the ends of the interval.
        coverage: share of the true Dice inside the interval, on organs that were left out.
    """

    CLIP = CLIP

    below: float
    above: float
    coverage: float

    def logit(self, found: Mapping[str, float | None]) -> float:
        """Of the predicted Dice less ``start``, from the indicators."""
        return self.bias - sum(self.weighted(found).values())

    def predict(self, signals: Signals, of: Delivered) -> Quality | None:
        """The Dice of the result or of the source's segmentation; None without expected sizes."""
        found = indicators(signals, of)
        if found["size error"] is None or found["outside"] is None:
            return None
        logit = self.logit(found) + start(signals)
        return Quality(logistic(logit), logistic(logit - self.below), logistic(logit + self.above))


def start(signals: Signals) -> float:
    """The logit of the model's Dice on images of its own kind."""
    return log_odds(at_home(signals, "dice"))


def indicators(signals: Signals, of: Delivered) -> dict[str, float | None]:
    """The value of every indicator by its name; None where it was not measured."""
    return {name: indicator(signals, of) for name, indicator in INDICATORS.items()}


@cache
def shipped_quality() -> QualityModel:
    """The coefficients that come with this package."""
    return QualityModel(**json.loads(QUALITY.read_text(encoding="utf-8"))["coefficients"])


def _log(value: float | None, least: float) -> float | None:
    return None if value is None else math.log(value + least)


def _of(signals: Signals, signal: str, of: Delivered) -> Any:
    """A signal that was measured of both segmentations."""
    return getattr(signals, f"{signal}_{of}")


def _pieces(signals: Signals, of: Delivered) -> float | None:
    largest = _of(signals, "largest", of)
    return None if largest is None else _log(1 - largest, 0.01)


def _edges_missed(signals: Signals, of: Delivered) -> float | None:
    edge = _log(_of(signals, "edge", of), 0.1)
    return None if edge is None else -edge


INDICATORS: dict[str, Callable[[Signals, Delivered], float | None]] = {
    "entropy": lambda s, of: log_ratio(_of(s, "entropy", of), at_home(s, "entropy"), LEAST_BITS),
    "instability": lambda s, of: excess(
        disagreement(_of(s, "stability", of)), disagreement(at_home(s, "stability"))
    ),
    "size error": lambda s, of: _of(s, "size_error", of),
    "outside": lambda s, of: _of(s, "outside", of),
    "unusual shape": lambda s, of: _of(s, "shape", of),
    "pieces": _pieces,
    "edges missed": _edges_missed,
    "others differ": lambda s, of: disagreement(s.others) if of == "result" else None,
    "draws differ": lambda s, of: disagreement(s.draw_agreement) if of == "result" else None,
}
"""Of a segmentation's signals, in the order in which the benchmark fitted them; more is worse."""
