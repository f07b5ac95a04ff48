"""Penalised logistic regression on standardised numbers of which more is worse.

``p = 1 / (1 + exp(-(start + bias + sum_f weight_f * z_f)))``, weights of at least 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize


@dataclass(frozen=True)
class Regression:
    """What was fitted.

    Args:
        bias: of the score.
        weights, centres, scales: by the name of the number.
    """

    bias: float
    weights: dict[str, float]
    centres: dict[str, float]
    scales: dict[str, float]


def fit_regression(
    x: np.ndarray,
    y: np.ndarray,
    shares: np.ndarray,
    names: Sequence[str],
    ridge: float,
    clip: float,
    start: np.ndarray | float = 0.0,
) -> Regression:
    """Minimise the mean log loss plus ``ridge * sum_f weight_f^2``.

    Args:
        x: ``(N, F)``; NaN where a number was not measured, which then adds nothing.
        y: ``(N,)``, 0 to 1.
        shares: ``(N,)``, how much each counts; they sum to 1.
        names: of the F numbers.
        ridge: the penalty.
        clip: of the standardised numbers.
        start: ``(N,)``, of each score.
    """
    measured = np.where(np.isnan(x), 0, shares[:, None])
    total = np.maximum(measured.sum(0), 1e-12)
    centres = (measured * np.nan_to_num(x)).sum(0) / total
    scales = np.sqrt((measured * np.nan_to_num(x - centres) ** 2).sum(0) / total)
    scales[scales < 1e-6] = 1.0
    z = np.nan_to_num(np.clip((x - centres) / scales, -clip, clip))

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        score = start + parameters[0] + z @ parameters[1:]
        error = shares * (1 / (1 + np.exp(-score)) - y)
        value = shares @ (np.logaddexp(0, score) - y * score)
        value += ridge * (parameters[1:] ** 2).sum()
        return value, np.array([error.sum(), *(error @ z + 2 * ridge * parameters[1:])])

    bounds = [(None, None), *[(0, None)] * len(names)]
    found = minimize(loss, np.zeros(1 + len(names)), jac=True, bounds=bounds, method="L-BFGS-B")

    def named(values: np.ndarray) -> dict[str, float]:
        return {name: round(float(v), 6) for name, v in zip(names, values, strict=True)}

    return Regression(
        round(float(found.x[0]), 6), named(found.x[1:]), named(centres), named(scales)
    )
