"""Sliding windows: their size, where they lie, and the weighted mean of their outputs.

Knows no networks: a function from windows to maps is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product

import torch
import torch.nn.functional as F
from monai.data.utils import dense_patch_slices
from torch import Tensor

from SFDALib.rounding import round_up

Window = tuple[slice, ...]


def window_size(
    image: Sequence[int], patch: Sequence[int], divisor: Sequence[int]
) -> tuple[int, ...]:
    """The window for an image: the patch, or less along axes where the image is smaller.

    Args:
        image: voxels along the axes; of more axes than the patch has, the last ones count.
        patch: the model's window.
        divisor: the network's input sides must be multiples of it.
    """
    return tuple(
        min(side, round_up(n, multiple))
        for n, side, multiple in zip(image[-len(patch) :], patch, divisor, strict=True)
    )


def whole_image_size(image: Sequence[int], divisor: Sequence[int]) -> tuple[int, ...]:
    """One window that covers the image: each side is the next multiple of ``divisor``."""
    return tuple(round_up(n, multiple) for n, multiple in zip(image, divisor, strict=True))


def even_starts(image: Sequence[int], size: Sequence[int], overlap: float) -> list[list[int]]:
    """First indices of windows along each axis, as nnU-Net places them: as few as the overlap
    allows, at equal distances, the first and the last at the borders.

    >>> even_starts([10], [4], 0.5)
    [[0, 2, 4, 6]]
    """
    every = []
    for n, side in zip(image, size, strict=True):
        count = math.ceil((n - side) / (side * (1 - overlap))) + 1
        step = (n - side) / max(count - 1, 1)
        every.append([round(step * index) for index in range(count)])
    return every


def dense_windows(image: Sequence[int], size: Sequence[int], overlap: float) -> list[Window]:
    """Windows as MONAI places them: a fixed step, the last window moved back to the border.

    Args:
        image: voxels along the axes, no fewer than the window has.
        overlap: share of a window that its neighbour covers, 0 to below 1.
    """
    step = tuple(max(1, int(side * (1 - overlap))) for side in size)
    return dense_patch_slices(tuple(image), tuple(size), step)


def window_count(image: Sequence[int], size: Sequence[int], overlap: float, even: bool) -> int:
    """How many windows cover an image, which is padded where it is smaller.

    Args:
        even: whether they are placed as ``even_starts`` does, not as ``dense_windows``.
    """
    padded = [max(n, side) for n, side in zip(image, size, strict=True)]
    if even:
        return math.prod(len(starts) for starts in even_starts(padded, size, overlap))
    return len(dense_windows(padded, size, overlap))


def sliding_window_mean(
    images: Tensor,
    size: Sequence[int],
    batch: int,
    maps: Callable[[Tensor], Tensor],
    overlap: float,
) -> Tensor:
    """Gaussian-weighted mean of the maps of windows placed by ``even_starts``.

    Args:
        images: ``(N, C, ...)``; padded with zeros on both sides where smaller than a window.
        size: of a window.
        batch: windows at once.
        maps: windows ``(B, C, ...)`` to maps ``(B, K, ...)``.
        overlap: least share of a window that its neighbour covers.

    Returns:
        ``(N, K, ...)``, float32.
    """
    lack = [max(want - have, 0) for want, have in zip(size, images.shape[2:], strict=True)]
    padded = F.pad(images, [side for n in reversed(lack) for side in (n // 2, n - n // 2)])
    windows = [
        tuple(slice(start, start + n) for start, n in zip(corner, size, strict=True))
        for corner in product(*even_starts(padded.shape[2:], size, overlap))
    ]
    weight = gaussian_weights(size, images.device)
    weights = torch.zeros(padded.shape[2:], device=images.device)
    for window in windows:
        weights[window] += weight
    total = torch.empty(0)
    places = list(product(range(len(images)), windows))
    for first in range(0, len(places), batch):
        group = places[first : first + batch]
        patches = torch.stack([padded[image][(slice(None), *window)] for image, window in group])
        outputs = maps(patches).float() * weight
        if first == 0:
            shape = (len(images), outputs.shape[1], *padded.shape[2:])
            total = torch.zeros(shape, device=images.device)
        for (image, window), output in zip(group, outputs, strict=True):
            total[image][(slice(None), *window)] += output
    total /= weights
    inner = [slice(n // 2, n // 2 + have) for n, have in zip(lack, images.shape[2:], strict=True)]
    return total[(slice(None), slice(None), *inner)]


def gaussian_weights(size: Sequence[int], device: torch.device) -> Tensor:
    """Weights of a window: 1 in the middle, with a standard deviation of 1/8 of each side."""
    weight = torch.ones((), device=device)
    for n in size:
        distance = torch.arange(n, device=device) - n // 2
        weight = weight[..., None] * torch.exp(-0.5 * (distance / (n / 8)) ** 2)
    return weight
