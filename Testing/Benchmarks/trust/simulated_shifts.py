"""Simulated shifts of MR volumes, for data without a natural pair of domains.

Each takes an array ``(k, j, i)`` and a random generator and returns another array of that shape.
They are no second scanner: what they show is named as simulated wherever it is reported.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

Shift = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def inverted(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Bright becomes dark, as from T1 to T2 weighting, with a gamma from 0.7 to 1.4."""
    return (1 - _unit(array)) ** rng.uniform(0.7, 1.4) * 1000


def folded(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What is brighter than half of the range becomes darker again, as in another weighting."""
    unit, turn = _unit(array), rng.uniform(0.5, 0.6)
    return np.where(unit < turn, unit / turn, 1 + turn - unit) * 1000


def degraded(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gamma 2 to 3, a bias field of up to 60 %, slices of 3 mm, noise of 5 %."""
    changed = _unit(array) ** rng.uniform(2.0, 3.0)
    field = gaussian_filter(rng.standard_normal(array.shape), 10, mode="reflect")
    changed = changed * (1 + 0.6 * field / np.abs(field).max())
    thick = gaussian_filter(changed, (1.2, 0, 0))[::3]
    factors = [n / m for n, m in zip(array.shape, thick.shape, strict=True)]
    changed = zoom(thick, factors, order=1) + rng.normal(0, 0.05, array.shape)
    return np.clip(changed, 0, None) * 1000


def _unit(array: np.ndarray) -> np.ndarray:
    """From 0 to 1 between the percentiles 0.5 and 99.5."""
    low, high = np.percentile(array, (0.5, 99.5))
    return np.clip((array - low) / max(high - low, 1e-6), 0, 1)


SHIFTS: dict[str, Shift] = {"inverted": inverted, "folded": folded, "degraded": degraded}
