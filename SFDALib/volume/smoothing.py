"""Average the probabilities of a 2D model over neighbouring slices, which it sees one by one."""

from __future__ import annotations

import torch
from monai.networks.layers.convutils import gaussian_1d
from monai.networks.layers.simplelayers import separable_filtering
from torch import Tensor

REACH = 3.0  # the kernel ends at the slice nearest to so many standard deviations


def smooth_slices(probabilities: Tensor, spacing_mm: float, sigma_mm: float) -> Tensor:
    """Smooth probabilities along k by a Gaussian, ``w(d) = exp(-d^2 / (2 sigma^2))``, d in mm.

    The weights are those at the slices' centres, divided by their sum. Beyond the first and the
    last slice these are repeated. Slices further apart than 3 sigma are left as they are.

    Args:
        probabilities: ``(C, k, j, i)``.
        spacing_mm: between the slices' centres.
        sigma_mm: standard deviation.

    Returns:
        ``(C, k, j, i)`` float32 on the same device.
    """
    if spacing_mm > REACH * sigma_mm or probabilities.shape[1] < 2:
        return probabilities
    sigma = torch.tensor(sigma_mm / spacing_mm)
    along = gaussian_1d(sigma, truncated=REACH, approx="sampled", normalize=True)
    alone = torch.ones(1)
    smoothed = separable_filtering(
        probabilities[None].float(), [along, alone, alone], mode="replicate"
    )
    return smoothed[0]
