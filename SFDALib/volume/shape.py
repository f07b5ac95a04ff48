"""The shape of structures, in numbers that their place and orientation do not change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class Shape:
    """A structure compared with the solid ellipsoid of the same second moments.

    Args:
        length_mm, width_mm, thickness_mm: axes of the ellipsoid, the longest first: ``2 sqrt(5)``
            times the standard deviation of the structure's voxels along each principal axis.
        fill: the structure's volume over the ellipsoid's: 1 for an ellipsoid, less for what is
            hollow, bent or scattered.
        distance_mm: of its centre from the common centre of all structures; None for the only one.
    """

    length_mm: float
    width_mm: float
    thickness_mm: float
    fill: float
    distance_mm: float | None = None


def shapes(
    labels: np.ndarray, values: Sequence[int], spacing: tuple[float, ...]
) -> list[Shape | None]:
    """The shape of each structure; None for one without voxels.

    Args:
        labels: ``(k, j, i)``.
        values: of the structures in the labels, all that the model has.
        spacing: mm along the axes of ``labels``.
    """
    boxes = ndimage.find_objects(labels, max(values))
    moments = [
        _moments(labels[box] == value, [axis.start for axis in box], spacing)
        if (box := boxes[value - 1])
        else None
        for value in values
    ]
    centre = None
    if len(values) > 1 and (known := [one for one in moments if one]):
        centre = np.average([one.centre for one in known], 0, [one.mm3 for one in known])
    return [one.shape(centre) if one else None for one in moments]


@dataclass(frozen=True)
class _Moments:
    mm3: float
    centre: np.ndarray
    covariance: np.ndarray

    def shape(self, common_centre: np.ndarray | None) -> Shape:
        deviations = np.sqrt(np.linalg.eigvalsh(self.covariance))
        thickness, width, length = (2 * np.sqrt(5) * deviations).tolist()
        fill = float(self.mm3 / (np.pi / 6 * length * width * thickness))
        distance = None
        if common_centre is not None:
            distance = float(np.linalg.norm(self.centre - common_centre))
        return Shape(length, width, thickness, fill, distance)


def _moments(inside: np.ndarray, start: Sequence[int], spacing: tuple[float, ...]) -> _Moments:
    """Of a mask that begins at the voxel ``start`` of the image; voxels are boxes, no points."""
    mm = np.array(spacing)
    places = np.argwhere(inside) * mm
    covariance = np.atleast_2d(np.cov(places.T, bias=True)) + np.diag(mm**2 / 12)
    return _Moments(len(places) * mm.prod(), places.mean(0) + start * mm, covariance)
