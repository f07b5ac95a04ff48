"""Uncertainty of a segmentation, voxel by voxel, from its class probabilities.

Entropy, its regional mean and the variance of a Normal-Inverse-Gamma (NIG) distribution built
on both, as HEAL uses them (arXiv 2511.17958). It knows nothing of where the probabilities came
from nor of what is done with the result.

Shapes: K classes (background included, so a binary model has K = 2), (k, j, i) slices, rows
and columns. Tensors stay on the device they came on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, assert_never

import torch

EntropyUnit = Literal["bits", "nats", "normalised"]
Region = Literal["3x3", "3x3x3"]
NIGReading = Literal["monotone", "released", "paper"]

NATS_CLIP = 1e-7
HISTOGRAM_BINS = 10
HISTOGRAM_OFFSET = 1e-6
MINMAX_OFFSET = 1e-6


def entropy(probabilities: torch.Tensor, unit: EntropyUnit = "bits") -> torch.Tensor:
    """Shannon entropy of each voxel's class probabilities, H = -sum_c p_c log p_c.

    "bits" is HEAL's eq. 1 (0 to log2 K), "normalised" divides by log K (0 to 1). "nats" is the
    reading of HEAL's released code, which clips p to [1e-7, 1 - 1e-7] and never returns an
    exact 0.

    Args:
        probabilities: (K, k, j, i), summing to 1 over the classes.

    Returns:
        (k, j, i), in the unit asked for.
    """
    clip = NATS_CLIP if unit == "nats" else 0.0
    # Class by class: the temporaries stay at one map instead of K.
    nats = sum(torch.special.entr(p.clamp(clip, 1.0 - clip)) for p in probabilities)
    match unit:
        case "nats":
            return nats
        case "bits":
            return nats / math.log(2)
        case "normalised":
            return nats / math.log(len(probabilities))
        case _:
            assert_never(unit)


def regional_entropy(entropy_map: torch.Tensor, region: Region = "3x3") -> torch.Tensor:
    """Mean entropy E of the window around each voxel, edges replicated.

    "3x3" stays within a slice, "3x3x3" takes the neighbouring slices too.

    Args:
        entropy_map: (k, j, i), in any unit.

    Returns:
        (k, j, i), in the same unit.
    """
    axes: tuple[int, ...]
    match region:
        case "3x3":
            axes = (-2, -1)
        case "3x3x3":
            axes = (-3, -2, -1)
        case _:
            assert_never(region)
    return _window_sum(entropy_map, axes) / 3 ** len(axes)


def histogram_entropy(image: torch.Tensor) -> torch.Tensor:
    """Entropy, in bits, of the grey values in the 3x3 in-plane window around each voxel.

    The E of HEAL's released code: H = -sum_b q_b log2 q_b over a histogram of 10 bins on
    [0, 1], every count raised by 1e-6 before it is normalised, edges replicated. It measures
    how mixed a window is (0 to log2 9), not how unsure the model is.

    Args:
        image: (k, j, i), values in [0, 1].

    Returns:
        (k, j, i), bits.
    """
    bins = (image * HISTOGRAM_BINS).long().clamp(0, HISTOGRAM_BINS - 1)
    total = 9 + HISTOGRAM_BINS * HISTOGRAM_OFFSET
    nats = torch.zeros_like(image)
    for index in range(HISTOGRAM_BINS):
        count = _window_sum((bins == index).to(image.dtype), (-2, -1))
        nats += torch.special.entr((count + HISTOGRAM_OFFSET) / total)
    return nats / math.log(2)


@dataclass(frozen=True)
class NIGConstants:
    """Constants of the NIG parameters; HEAL's released values, the paper gives none.

    alpha0 is ours: what alpha keeps above 1 where it would otherwise reach it.
    """

    kappa: float = 0.1
    epsilon: float = 1e-3
    zeta1: float = 0.8
    zeta2: float = 0.01
    eta1: float = 0.5
    eta2: float = 0.01
    alpha0: float = 0.01


@dataclass(frozen=True)
class NIG:
    """Normal-Inverse-Gamma parameters and the variance they give, each (k, j, i)."""

    alpha: torch.Tensor
    beta: torch.Tensor
    omega: torch.Tensor
    variance: torch.Tensor


def nig_variance(
    regional: torch.Tensor,
    disagreement: torch.Tensor,
    reading: NIGReading = "monotone",
    constants: NIGConstants | None = None,
) -> NIG:
    """NIG parameters and variance from regional entropy E and disagreement d.

    omega = 1 / (eta1 E + eta2) in every reading. The rest:

    ========  ============================  =================  ========================
    reading   alpha                         beta               variance
    ========  ============================  =================  ========================
    monotone  1 + alpha0 + kappa (1 - d)    zeta1 E + zeta2    beta / (omega (alpha-1))
    released  max(kappa d + epsilon,        zeta1 (1-E)+zeta2  beta / (omega (alpha-1))
              1 + alpha0)
    paper     kappa d + epsilon             zeta1 (1-E)+zeta2  omega / (beta (alpha-1))
    ========  ============================  =================  ========================

    The variance of a NIG's mean exists only for alpha > 1. As printed, alpha stays below 1, so
    the paper's variance is negative everywhere and rejects nothing; the released clip makes
    alpha constant, so d loses all influence, and its product of a falling and a rising factor
    of E is largest at E ~ 0.5. The monotone reading keeps the constants and turns the signs so
    that the variance rises with E and with d.

    Args:
        regional: E, (k, j, i); in [0, 1] unless it comes from ``histogram_entropy``.
        disagreement: d, (k, j, i), in [0, 1].
    """
    c = constants or NIGConstants()
    omega = 1 / (c.eta1 * regional + c.eta2)
    match reading:
        case "monotone":
            alpha = 1 + c.alpha0 + c.kappa * (1 - disagreement)
            beta = c.zeta1 * regional + c.zeta2
            variance = beta / (omega * (alpha - 1))
        case "released":
            alpha = (c.kappa * disagreement + c.epsilon).clamp(min=1 + c.alpha0)
            beta = c.zeta1 * (1 - regional) + c.zeta2
            variance = beta / (omega * (alpha - 1))
        case "paper":
            alpha = c.kappa * disagreement + c.epsilon
            beta = c.zeta1 * (1 - regional) + c.zeta2
            variance = omega / (beta * (alpha - 1))
        case _:
            assert_never(reading)
    return NIG(alpha, beta, omega, variance)


def is_flat(values: torch.Tensor) -> bool:
    """Whether the map's range is below 1e-6, too little for ``normalise_minmax`` to rank voxels."""
    return bool(values.max() - values.min() < MINMAX_OFFSET)


def normalise_minmax(values: torch.Tensor) -> torch.Tensor:
    """(x - min) / (max - min + 1e-6) over the whole map; zeros where the map is flat.

    A threshold on the result is relative to the worst voxel of the image: one outlier loosens
    it, so record the maximum beside it.
    """
    if is_flat(values):
        return torch.zeros_like(values)
    low, high = values.min(), values.max()
    return (values - low) / (high - low + MINMAX_OFFSET)


def reliability_mask(uncertainty: torch.Tensor, threshold: float) -> torch.Tensor:
    """True where the uncertainty is at most the threshold; a NaN is never reliable."""
    return uncertainty <= threshold


def _window_sum(values: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    """Sum over a window of 3 along each of the axes, edges replicated; the shape is kept."""
    for axis in axes:
        first = values.narrow(axis, 0, 1)
        last = values.narrow(axis, values.shape[axis] - 1, 1)
        values = torch.cat([first, values, last], dim=axis).unfold(axis, 3, 1).sum(-1)
    return values
