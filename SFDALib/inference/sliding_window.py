"""Patches laid over an image in equal steps, and their outputs blended, as nnU-Net does.

Knows no networks: a function from patches to maps is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor


def blend(
    images: Tensor,
    size: Sequence[int],
    batch: int,
    maps: Callable[[Tensor], Tensor],
    overlap: float,
) -> Tensor:
    """Gaussian mean of the maps of patches.

    Args:
        images: (N, C, ...); where smaller than a patch, zeros are put around.
        size: of a patch.
        batch: patches at once.
        maps: patches (B, C, ...) to maps (B, K, ...).
        overlap: least share by which neighbouring patches overlap.

    Returns:
        (N, K, ...), float32.
    """
    lack = [max(want - have, 0) for want, have in zip(size, images.shape[2:], strict=True)]
    padded = F.pad(images, [side for n in reversed(lack) for side in (n // 2, n - n // 2)])
    places = [
        (image, tuple(slice(s, s + n) for s, n in zip(start, size, strict=True)))
        for image, *start in product(range(len(images)), *starts(padded.shape[2:], size, overlap))
    ]
    weight = gaussian(size, images.device)
    weights = torch.zeros(padded.shape[2:], device=images.device)
    for image, place in places:
        if image == 0:
            weights[place] += weight
    total = None
    for group in (places[first : first + batch] for first in range(0, len(places), batch)):
        patches = torch.stack([padded[(image, slice(None), *place)] for image, place in group])
        outputs = maps(patches).float() * weight
        if total is None:
            shape = (len(images), outputs.shape[1], *padded.shape[2:])
            total = torch.zeros(shape, device=images.device)
        for (image, place), output in zip(group, outputs, strict=True):
            total[(image, slice(None), *place)] += output
    total /= weights
    inner = [slice(n // 2, n // 2 + have) for n, have in zip(lack, images.shape[2:], strict=True)]
    return total[(..., *inner)]


def starts(image: Sequence[int], size: Sequence[int], overlap: float) -> list[list[int]]:
    """First indices of the patches along each axis: as few as the overlap allows, equally far from
    each other, the first and the last at the borders.
    """
    every = []
    for n, patch in zip(image, size, strict=True):
        count = math.ceil((n - patch) / (patch * (1 - overlap))) + 1
        step = (n - patch) / max(count - 1, 1)
        every.append([round(step * index) for index in range(count)])
    return every


def gaussian(size: Sequence[int], device: torch.device) -> Tensor:
    """Weights of a patch: 1 in the middle, with a standard deviation of an eighth of its side."""
    weight = torch.ones((), device=device)
    for n in size:
        distance = torch.arange(n, device=device) - n // 2
        weight = weight[..., None] * torch.exp(-0.5 * (distance / (n / 8)) ** 2)
    return weight
