"""What both fitted models of the judge are: a weighted sum of standardised numbers.

Standard library alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Regression:
    """``sum_i weight_i * z_i`` with ``z_i = (value_i - centre_i) / scale_i``.

    Each ``z_i`` is clipped to +-``CLIP``.

    Args:
        bias: of the sum.
        weights: of each standardised number, 0 or more.
        centres, scales: mean and standard deviation of each number in the fit.
    """

    CLIP: ClassVar[float]  # limits extrapolation beyond the benchmark

    bias: float
    weights: Mapping[str, float]
    centres: Mapping[str, float]
    scales: Mapping[str, float]

    def weighted(self, found: Mapping[str, float | None]) -> dict[str, float]:
        """What each number adds to the sum; without those that were not measured.

        Args:
            found: the value of every number; None where it was not measured.
        """
        return {
            name: weight * self._standardised(name, value)
            for name, weight in self.weights.items()
            if (value := found[name]) is not None
        }

    def _standardised(self, name: str, value: float) -> float:
        z = (value - self.centres[name]) / self.scales[name]
        return min(max(z, -self.CLIP), self.CLIP)


def logistic(value: float) -> float:
    """``1 / (1 + exp(-value))``, of any value."""
    return 1 / (1 + math.exp(-min(max(value, -50.0), 50.0)))
