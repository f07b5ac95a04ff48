"""Which slices and which part of an image a picture shows, and how bright.

Arrays only; nothing is drawn here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_LEAST_SURROUNDINGS = 40.0  # mm


def slices_that_say_most(source: np.ndarray, final: np.ndarray, most: int = 4) -> list[int]:
    """Up to ``most`` slices k, spread apart, from head to feet.

    Those with the most voxels that differ; where nothing differs, those with the most foreground;
    where there is none, from the middle outwards.

    Args:
        source, final: label maps ``(K, J, I)``.
    """
    count = source.shape[0]
    from_middle = np.minimum(np.arange(count), np.arange(count)[::-1]) + 1
    for weight in (source != final, (source > 0) | (final > 0)):
        votes = np.count_nonzero(weight, axis=(1, 2))
        if votes.any():
            break
    else:
        votes = from_middle
    apart = max(2, int(np.count_nonzero(votes)) // (2 * most))
    votes = votes.copy()
    chosen: list[int] = []
    while votes.any() and len(chosen) < most:
        best = int(np.argmax(votes))
        chosen.append(best)
        votes[max(0, best - apart + 1) : best + apart] = 0
    return sorted(chosen, reverse=True)


def around(labelled: np.ndarray, spacing_kji: tuple[float, float, float]) -> tuple[slice, slice]:
    """The part of the plane ``(J, I)`` to show: what is labelled and half as much on either side.

    Args:
        labelled: ``(K, J, I)``; where nothing is, the whole plane is shown.
    """
    plane = np.any(labelled, axis=0)
    if not plane.any():
        return slice(None), slice(None)
    box = []
    for across, spacing in zip((1, 0), spacing_kji[1:], strict=True):
        first, last = np.flatnonzero(np.any(plane, axis=across))[[0, -1]]
        margin = max((last - first + 1) // 2, round(_LEAST_SURROUNDINGS / spacing))
        box.append(slice(max(0, first - margin), last + 1 + margin))
    return box[0], box[1]


def grey_or_colour(image: np.ndarray) -> np.ndarray:
    """Of an image ``(K, J, I)`` or ``(C, K, J, I)`` what is shown: three channels as colours
    ``(K, J, I, 3)``, of any other number the first.
    """
    if image.ndim == 4:
        return np.moveaxis(image, 0, -1) if image.shape[0] == 3 else image[0]
    return image


def windowed(image: np.ndarray, slices: Sequence[int]) -> np.ndarray:
    """Some slices, scaled so that the whole image's 1st and 99th percentile become 0 and 1."""
    low, high = np.percentile(image, (1, 99))
    return np.clip((image[slices] - low) / max(high - low, np.finfo(np.float32).tiny), 0, 1)
