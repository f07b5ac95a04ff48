"""Global intensity non-linear augmentation (GIN): random contrasts by random shallow convolutions.

Ouyang, Chen, Li, Li, Qin, Bai, Rueckert. Causality-inspired single-source domain generalization for
medical image segmentation. IEEE TMI 2023. Sources train on it, and DG-TTA adapts with it.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

CONVOLVE = {4: F.conv2d, 5: F.conv3d}
HIDDEN = 2  # channels between the random convolutions


def random_convolutions(
    images: Tensor, layers: int = 4, generator: torch.Generator | None = None
) -> Tensor:
    """``a g(x) + (1 - a) x`` for each image, with a uniform in [0, 1] and g a chain of random
    convolutions of width 1 or 3 with leaky ReLUs between, scaled to the image's Frobenius norm.

    Args:
        images: (B, C, [k,] j, i); the result has the same shape.
        generator: of the random numbers, on the CPU; None for torch's own.
    """
    count, channels = images.shape[:2]
    spatial = images.ndim - 2
    widths = [channels, *[HIDDEN] * (layers - 1), channels]
    x = images.reshape(1, count * channels, *images.shape[2:])
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
        size = 1 + 2 * int(torch.randint(2, (), generator=generator))
        shape = (count * outputs, inputs, *[size] * spatial)
        kernel = torch.randn(shape, generator=generator).to(images)
        shift = torch.randn(count * outputs, generator=generator).to(images)
        x = CONVOLVE[images.ndim](x, kernel, shift, padding=size // 2, groups=count)
        if index < layers - 1:
            x = F.leaky_relu(x)
    per_image = (count, *[1] * (images.ndim - 1))
    a = torch.rand(count, generator=generator).to(images).view(per_image)
    mixed = a * x.reshape(images.shape) + (1 - a) * images
    norms = [t.flatten(1).norm(dim=1).clamp(min=1e-5).view(per_image) for t in (images, mixed)]
    return mixed * norms[0] / norms[1]
