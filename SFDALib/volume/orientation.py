"""Permute, reverse and crop the axes of an image, and the exact way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import SimpleITK as sitk
import torch.nn.functional as F
from torch import Tensor

from SFDALib.volume.geometry import FloatTriple, Geometry, IntTriple, float_triple, int_triple

Box = tuple[slice, slice, slice]
T = TypeVar("T")


@dataclass(frozen=True)
class AxisMap:
    """How the last three axes of an array are rearranged.

    1. Axes are permuted: axis ``n`` of the result is axis ``order[n]`` of the source.
    2. Axes are reversed where ``flips`` says so.
    3. The part ``box`` is kept.

    All refer to array order (K, J, I).

    Args:
        shape: of the source, (K, J, I).
        order: permutation of 0, 1, 2.
        flips: whether each axis of the result is reversed.
        box: the part of the permuted and reversed array; None for all of it.

    >>> import torch
    >>> axes = AxisMap((2, 3, 4), (2, 0, 1), (True, False, False))
    >>> axes.apply(np.zeros((2, 3, 4))).shape
    (4, 2, 3)
    >>> axes.invert(torch.zeros(1, 4, 2, 3)).shape
    torch.Size([1, 2, 3, 4])
    """

    shape: IntTriple
    order: IntTriple = (0, 1, 2)
    flips: tuple[bool, bool, bool] = (False, False, False)
    box: Box | None = None

    @property
    def permuted_shape(self) -> IntTriple:
        """The shape before cropping."""
        return int_triple(self.permuted(self.shape))

    @property
    def result_shape(self) -> IntTriple:
        """The shape of what ``apply`` returns."""
        if self.box is None:
            return self.permuted_shape
        return int_triple(part.stop - part.start for part in self.box)

    def permuted(self, values: Sequence[T]) -> tuple[T, ...]:
        """One value for each axis (K, J, I) in the order of the result's axes."""
        return tuple(values[axis] for axis in self.order)

    def cropped(self, box: Box) -> AxisMap:
        """The same, of which the part ``box`` is kept."""
        return replace(self, box=box)

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Rearrange an array ``(..., K, J, I)``; the result is a view."""
        lead = array.ndim - 3
        array = array.transpose(*range(lead), *(lead + axis for axis in self.order))
        k, j, i = (slice(None, None, -1 if flip else 1) for flip in self.flips)
        array = array[..., k, j, i]
        if self.box is None:
            return array
        k, j, i = self.box
        return array[..., k, j, i]

    def invert(self, maps: Tensor, outside: float = 0.0) -> Tensor:
        """Bring maps ``(N, k, j, i)`` back to the source's axes, ``(N, K, J, I)``.

        Args:
            outside: the value of what was cropped.
        """
        if self.box is not None and any(ends := padding_around(self.box, self.permuted_shape)):
            maps = F.pad(maps, ends, value=outside)
        maps = maps.flip([axis + 1 for axis, flip in enumerate(self.flips) if flip])
        return maps.permute(0, *(1 + int(axis) for axis in np.argsort(self.order)))

    def geometry(self, source: Geometry, shape: IntTriple) -> Geometry:
        """The grid of ``shape`` (k, j, i) that fills what ``apply`` returns.

        Args:
            source: the grid of the array that is rearranged.
        """
        spacing = float_triple(
            n * mm / count
            for n, mm, count in zip(
                self.result_shape, self.permuted(source.spacing_kji), shape, strict=True
            )
        )
        columns = np.array(source.direction).reshape(3, 3)
        signs = [-1.0 if flip else 1.0 for flip in self.flips[::-1]]
        direction = columns[:, [2 - axis for axis in self.order[::-1]]] * signs
        corner = np.empty(3)  # continuous index (I, J, K) of the first corner, in the source
        starts = [0, 0, 0] if self.box is None else [part.start for part in self.box]
        for axis, flip, start in zip(self.order, self.flips, starts, strict=True):
            corner[2 - axis] = source.size[2 - axis] - 0.5 - start if flip else start - 0.5
        origin = source.to_lps(corner) + direction @ (np.array(spacing[::-1]) / 2)
        return Geometry(
            int_triple(shape[::-1]),
            float_triple(spacing[::-1]),
            float_triple(origin),
            tuple(float(value) for value in direction.ravel()),
        )


def axis_map(geometry: Geometry, orientation: str | None, axes: IntTriple = (0, 1, 2)) -> AxisMap:
    """How an image's axes are rearranged so that they run as asked for.

    Args:
        orientation: three letters: the directions in which I, J and K increase ("LPS" is
            SimpleITK's identity); None keeps the image's axes.
        axes: the oriented axes (K, J, I) in the order in which they are wanted.
    """
    if orientation is None:
        oriented_axes = AxisMap(geometry.shape)
    else:
        probe = sitk.Image(1, 1, 1, sitk.sitkUInt8)
        probe.SetDirection(geometry.direction)
        orienter = sitk.DICOMOrientImageFilter()
        orienter.SetDesiredCoordinateOrientation(orientation)
        orienter.Execute(probe)
        order = int_triple(2 - int(axis) for axis in orienter.GetPermuteOrder()[::-1])
        i, j, k = (bool(flip) for flip in orienter.GetFlipAxes())
        oriented_axes = AxisMap(geometry.shape, order, (k, j, i))
    order, flips = oriented_axes.order, oriented_axes.flips
    first, second, third = axes
    return replace(
        oriented_axes,
        order=(order[first], order[second], order[third]),
        flips=(flips[first], flips[second], flips[third]),
    )


def oriented(
    array: np.ndarray, geometry: Geometry, orientation: str
) -> tuple[np.ndarray, FloatTriple]:
    """An array ``(..., K, J, I)`` with axes permuted and reversed towards an orientation.

    Returns:
        The array, and mm along its last three axes.
    """
    axes = axis_map(geometry, orientation)
    return axes.apply(array), float_triple(axes.permuted(geometry.spacing_kji))


def padding_around(box: Box, whole: IntTriple) -> list[int]:
    """How many voxels of ``whole`` lie around a box, in the order of ``torch.nn.functional.pad``:
    last axis first, before and after.
    """
    ends = [(part.start, size - part.stop) for part, size in zip(box, whole, strict=True)]
    return [int(n) for pair in ends[::-1] for n in pair]
