"""Drop connected components that are improbable by their size and their place."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from torch import Tensor, from_numpy

from SFDALib.volume.cleaning import Cleaning, Plausible

STRAY = 0.01  # of a structure's volume


def keep_plausible(step: Cleaning, found: Tensor, spacing: tuple[float, ...]) -> Tensor:
    """Drop the improbable components of each structure; their voxels become background.

    Of one structure with the volume V, components are tried from the smallest to the largest. One
    of the volume v is dropped

    - if it is smaller than ``piece_ml``,
    - if no voxel of it lies within ``radius_mm`` of the centre of the largest component, or
    - if V is larger than the largest plausible volume,

    unless V - v is below the smallest plausible volume: a structure that is too small already
    loses nothing. V is updated after each. The largest component is never dropped.

    Args:
        step: with ``structures``, a ``Plausible`` for each structure, as its argument.
        found: ``(1, ...)`` uint8 labels with three spatial axes.
        spacing: mm along these axes.

    Returns:
        Of the same shape, type and device.
    """
    labels = found[0].cpu().numpy()
    kept = labels.copy()
    for known in step.arguments["structures"]:
        box = ndimage.find_objects((labels == known.label).astype(np.uint8))
        if box:
            inside = labels[box[0]] == known.label
            kept[box[0]][inside & ~_plausible(inside, known, spacing)] = 0
    return from_numpy(kept)[None].to(found.device)


def _plausible(inside: np.ndarray, known: Plausible, spacing: tuple[float, ...]) -> np.ndarray:
    """The mask without the components that are dropped; components touch by their faces."""
    numbered, count = ndimage.label(inside)
    if count < 2:
        return inside
    sizes = np.bincount(numbered.ravel(), minlength=count + 1) * (np.prod(spacing) / 1000)
    order = 1 + np.argsort(sizes[1:], kind="stable")
    near = _near(numbered, int(order[-1]), known.radius_mm, spacing)
    total, dropped = float(sizes[1:].sum()), []
    for component in order[:-1]:
        size = float(sizes[component])
        odd = size < known.piece_ml or component not in near or total > known.size_ml[1]
        if odd and total - size >= known.size_ml[0]:
            dropped.append(component)
            total -= size
    return inside & ~np.isin(numbered, dropped)


def smallest_and_reach(mask: np.ndarray, spacing: tuple[float, ...]) -> tuple[float, float]:
    """The volume of a mask's smallest connected component, in ml, and the largest distance of one
    of its voxels from the centre of the largest component, in mm.

    The smallest components are ignored as long as all of them together hold less than ``STRAY`` of
    the mask: they are stray voxels of whoever drew it.

    Args:
        mask: boolean, not empty.
        spacing: mm along its axes.
    """
    numbered, _ = ndimage.label(mask)
    counts = np.bincount(numbered.ravel())[1:]
    order = np.argsort(counts, kind="stable")
    drawn = order[np.cumsum(counts[order]) >= STRAY * counts.sum()]
    squared = _squared_mm(numbered, 1 + int(order[-1]), spacing)
    farthest = squared[np.isin(numbered, 1 + drawn)].max()
    return float(counts[drawn[0]] * np.prod(spacing) / 1000), float(np.sqrt(farthest))


def _near(
    numbered: np.ndarray, largest: int, radius_mm: float | None, spacing: tuple[float, ...]
) -> frozenset[int]:
    """The components with a voxel within the radius of the largest one's centre."""
    if radius_mm is None:
        return frozenset(range(1, int(numbered.max()) + 1))
    inside = _squared_mm(numbered, largest, spacing) <= radius_mm**2
    return frozenset(np.unique(numbered[inside]).tolist())


def _squared_mm(numbered: np.ndarray, largest: int, spacing: tuple[float, ...]) -> np.ndarray:
    """The squared distance of each voxel from the centre of the largest component."""
    squared = np.zeros(numbered.shape, np.float32)
    centre = ndimage.center_of_mass(numbered == largest)
    for axis, (middle, mm) in enumerate(zip(centre, spacing, strict=True)):
        along = ((np.arange(numbered.shape[axis]) - middle) * mm) ** 2
        squared += along.reshape([-1 if other == axis else 1 for other in range(squared.ndim)])
    return squared
