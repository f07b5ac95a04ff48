"""Conform a volume to a model's grid, and bring labels and maps back to the input's grid.

The model's grid is the input's, with axes permuted and flipped towards the orientation asked for,
cropped if the model wants that, and each axis resampled over the same physical extent. The new
spacing is therefore the extent divided by a whole number of voxels (as in nnU-Net), and the way
back is the exact inverse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from SFDALib.errors import RequestError
from SFDALib.volume.geometry import Geometry, Volume
from SFDALib.volume.intensity import normalise
from SFDALib.volume.specification import InputSpec

if TYPE_CHECKING:
    from torch import Tensor

VOXEL_LIMIT = 1 << 31  # beyond any scanner; a spacing in the wrong unit asks for more
BEFORE = ("nonzero", "positive")  # crops of the image as it is
ANISOTROPIC = 3  # thickest over thinnest spacing, as nnU-Net has it


@dataclass(frozen=True)
class Conformed:
    """A volume on a model's grid: float32 ``array`` (C, k, j, i), and the way back.

    Args:
        order, flips: the axes' permutation and reversal, in array order (K, J, I).
        box: what was cropped, after permutation and reversal.
        input_spec: the model's; says how maps come back and become labels.
        inner: what was cropped after resampling, of the ``shape`` (k, j, i) that it gave; None for
            all of it.
    """

    array: np.ndarray
    geometry: Geometry
    input_geometry: Geometry
    order: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    box: tuple[slice, slice, slice]
    input_spec: InputSpec
    inner: tuple[slice, slice, slice] | None = None
    shape: tuple[int, int, int] | None = None

    def restore(self, maps: Tensor) -> Tensor:
        """Bring maps ``(N, k, j, i)`` to the input's grid ``(N, K, J, I)`` by linear interpolation;
        they are 0 where the model did not look.

        The tensor stays on its device.
        """
        return self.placed(self.resampled(maps))

    def restore_labels(self, probabilities: Tensor) -> np.ndarray:
        """Labels ``(K, J, I)`` uint8 on the input's grid from probabilities ``(C, k, j, i)``, as
        ``labelling.labels`` has them.
        """
        from SFDALib.volume.labelling import labels

        return labels(self, probabilities)

    def resampled(self, maps: Tensor, outside: float = 0.0) -> Tensor:
        """Maps ``(N, k, j, i)`` of the model's spacing at the input's, in the box; float32.

        Args:
            outside: the value in what was cropped after resampling.
        """
        import torch.nn.functional as F

        from SFDALib.volume.labelling import enlarged

        maps = maps.float()
        if self.inner is not None:
            maps = F.pad(maps, _around(self.inner, self.shape), value=outside)
        size = tuple(part.stop - part.start for part in self.box)
        if maps.shape[1:] == size:
            return maps
        spacing = tuple(self.input_geometry.spacing_kji[axis] for axis in self.order)
        thick = nearest = None
        if self.input_spec.resampling.separate_z:
            thick = thick_axis(_wanted(self.input_spec, spacing), spacing)
        if thick is not None:
            nearest = nearest_index(maps.shape[1 + thick], size[thick])
        return enlarged(maps, size, thick, nearest)

    def placed(self, maps: Tensor, outside: float = 0.0) -> Tensor:
        """Maps ``(N, k, j, i)`` of the box on the input's grid ``(N, K, J, I)``.

        Args:
            outside: the value where the model did not look.
        """
        import torch.nn.functional as F

        whole = tuple(self.input_geometry.shape[axis] for axis in self.order)
        ends = _around(self.box, whole)
        if any(ends):
            maps = F.pad(maps, ends, value=outside)
        maps = maps.flip([axis + 1 for axis, flip in enumerate(self.flips) if flip])
        return maps.permute(0, *(1 + axis for axis in np.argsort(self.order)))


def _around(box: tuple[slice, slice, slice], whole: tuple[int, int, int]) -> list[int]:
    """How much lies around a box, as ``F.pad`` wants it."""
    ends = [
        n for part, size in zip(box, whole, strict=True) for n in (part.start, size - part.stop)
    ]
    return [ends[axis + side] for axis in (4, 2, 0) for side in (0, 1)]


def conform(volume: Volume, spec: InputSpec) -> Conformed:
    """Orient, crop, resample and normalise a volume for a model.

    Raises:
        RequestError: wrong channel count, or a single slice for a 3D model.
    """
    if volume.channels != spec.channels:
        raise RequestError(
            f"input: found {volume.channels} channel(s), expected {spec.channels} for this bundle;"
            " choose an image with the channels that the model was trained on"
        )
    order, flips, direction = _orient(volume.geometry, spec.orientation)
    order, flips = (tuple(every[axis] for axis in spec.axes) for every in (order, flips))
    direction = direction[:, [2 - axis for axis in spec.axes[::-1]]]
    array = _arranged(volume.array, order, flips)
    first = spec.crop if spec.crop in BEFORE else None
    box = _box(array, first)
    array = array[(slice(None), *box)]
    spacing = tuple(volume.geometry.spacing_kji[axis] for axis in order)
    shape = _shape_at(array.shape[1:], spacing, spec)
    if not spec.is_2d and min(volume.geometry.size) < 2:  # a crop to one voxel is padded
        raise RequestError(
            f"input: found a volume one voxel thick ({_times(volume.geometry.size)} voxels),"
            " expected a 3D volume for this 3D model; choose the whole series or a 2D model"
        )
    if math.prod(shape) > VOXEL_LIMIT:
        raise RequestError(
            f"input: found an image of {_times(volume.geometry.size)} voxels that grows to"
            f" {_times(shape[::-1])} on the model's grid, expected one of a scanner's size; check"
            " the image's spacing and the bundle's"
        )
    extent = [n * mm for n, mm in zip(array.shape[1:], spacing, strict=True)]
    new_spacing = tuple(mm / n for mm, n in zip(extent, shape, strict=True))
    geometry = _geometry(volume.geometry, order, flips, box, direction, shape, new_spacing)
    resampling = spec.resampling
    thick = thick_axis(spacing, _wanted(spec, spacing)) if resampling.separate_z else None
    inner = None
    if resampling.normalised:
        array = normalise(array, spec.normalisation)
    array = _resample(array, shape, resampling.order, resampling.smooth, thick)
    if spec.crop == "positive-resampled":
        inner = _box(array, spec.crop)
        array = array[(slice(None), *inner)]
    if not resampling.normalised:
        array = normalise(array, spec.normalisation)
    if not np.isfinite(array).all():
        raise RequestError(
            f"input: found intensities up to {np.abs(volume.array).max():.3g}, which single"
            " precision cannot normalise; replace the largest or rescale them"
        )
    if spec.crop == "positive-normalised":
        inner = _box(array, spec.crop)
        array = array[(slice(None), *inner)]
    if inner is not None:
        array, geometry = np.ascontiguousarray(array), geometry.cropped(inner)
    return Conformed(array, geometry, volume.geometry, order, flips, box, spec, inner, shape)


def _arranged(
    array: np.ndarray, order: tuple[int, int, int], flips: tuple[bool, bool, bool]
) -> np.ndarray:
    """An array ``(..., K, J, I)`` with its last axes permuted, then reversed."""
    lead = array.ndim - 3
    array = array.transpose(*range(lead), *(lead + axis for axis in order))
    return array[(..., *(slice(None, None, -1 if flip else 1) for flip in flips))]


def _wanted(spec: InputSpec, spacing: tuple[float, ...]) -> tuple[float, ...]:
    """The spacing asked for, in array order; the image's own where none is."""
    return tuple(new or old for new, old in zip(spec.spacing[::-1], spacing, strict=True))


def thick_axis(first: tuple[float, ...], second: tuple[float, ...]) -> int | None:
    """The axis of the thick slices of two spacings, the first's before the second's; None where
    voxels are about cubes, or flat ones.
    """
    for spacing in (first, second):
        if max(spacing) / min(spacing) > ANISOTROPIC:
            return spacing.index(max(spacing)) if spacing.count(max(spacing)) == 1 else None
    return None


def _box(array: np.ndarray, crop: str | None) -> tuple[slice, slice, slice]:
    """The part of ``(C, k, j, i)`` that the model sees; all of it where a crop leaves nothing."""
    if crop is not None:
        inside = (array != 0 if crop == "nonzero" else array > 0).any(axis=0)
        if inside.any():
            from scipy.ndimage import find_objects

            return find_objects(inside.astype(np.uint8))[0]
    return tuple(slice(0, n) for n in array.shape[1:])


def shape_on(spec: InputSpec, geometry: Geometry) -> tuple[int, int, int]:
    """The shape (k, j, i) that an image of this geometry has on a model's grid, uncropped."""
    order, _, _ = _orient(geometry, spec.orientation)
    order = tuple(order[axis] for axis in spec.axes)
    shape, spacing = (
        tuple(values[axis] for axis in order) for values in (geometry.shape, geometry.spacing_kji)
    )
    return _shape_at(shape, spacing, spec)


def _shape_at(
    shape: tuple[int, ...], spacing: tuple[float, ...], spec: InputSpec
) -> tuple[int, int, int]:
    """The shape after resampling the same extent to the grid's spacing or size."""
    wanted, sizes = _wanted(spec, spacing), (spec.size or (None, None, None))[::-1]
    return tuple(
        size or max(1, round(old / new * n))
        for n, old, new, size in zip(shape, spacing, wanted, sizes, strict=True)
    )


def conform_labels(labels: np.ndarray, conformed: Conformed) -> np.ndarray:
    """Bring a label map (K, J, I) of the input's grid to the model's grid, nearest neighbour."""
    from skimage.transform import resize

    array = _arranged(labels, conformed.order, conformed.flips)[conformed.box]
    shape = conformed.shape or conformed.geometry.shape
    if array.shape != shape:
        array = resize(array, shape, order=0, preserve_range=True, anti_aliasing=False)
    array = array if conformed.inner is None else array[conformed.inner]
    return np.ascontiguousarray(array.astype(labels.dtype))


def _times(size: tuple[int, ...]) -> str:
    return "x".join(str(n) for n in size)


def _orient(
    geometry: Geometry, orientation: str | None
) -> tuple[tuple[int, int, int], tuple[bool, bool, bool], np.ndarray]:
    """Permutation and flips in array order (K, J, I), and the direction after them."""
    columns = np.array(geometry.direction).reshape(3, 3)
    if orientation is None:
        return (0, 1, 2), (False, False, False), columns
    import SimpleITK as sitk

    probe = sitk.Image(1, 1, 1, sitk.sitkUInt8)
    probe.SetDirection(geometry.direction)
    orienter = sitk.DICOMOrientImageFilter()
    orienter.SetDesiredCoordinateOrientation(orientation)
    oriented = orienter.Execute(probe)
    order = tuple(2 - int(axis) for axis in orienter.GetPermuteOrder()[::-1])
    flips = tuple(bool(flip) for flip in orienter.GetFlipAxes()[::-1])
    return order, flips, np.array(oriented.GetDirection()).reshape(3, 3)


def _geometry(
    source: Geometry,
    order: tuple[int, int, int],
    flips: tuple[bool, bool, bool],
    box: tuple[slice, slice, slice],
    direction: np.ndarray,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
) -> Geometry:
    """The grid whose voxels fill the same box of the source's."""
    corner = np.empty(3)  # continuous index (I, J, K) of the box's first corner
    for axis, flip, part in zip(order, flips, box, strict=True):
        last = source.size[2 - axis] - 0.5
        corner[2 - axis] = last - part.start if flip else part.start - 0.5
    spacing_ijk = np.array(spacing[::-1])
    origin = source.to_lps(corner) + direction @ (spacing_ijk / 2)
    return Geometry(
        tuple(int(n) for n in shape[::-1]),
        tuple(float(mm) for mm in spacing_ijk),
        tuple(float(mm) for mm in origin),
        tuple(float(value) for value in direction.ravel()),
    )


def _resample(
    array: np.ndarray, shape: tuple[int, int, int], order: int, smooth: bool, thick: int | None
) -> np.ndarray:
    """Spline resampling over the same extent; with ``smooth``, smoothed first where voxels grow;
    slice by slice, to the nearest one, along a ``thick`` axis.
    """
    array = array.astype(np.float32)
    if array.shape[1:] == shape:
        return array
    if thick is None:
        return np.stack([_resized(channel, shape, order, smooth) for channel in array])
    in_plane = tuple(n for axis, n in enumerate(shape) if axis != thick)
    planes = np.moveaxis(array, 1 + thick, 1)
    if planes.shape[2:] != in_plane:
        planes = np.stack(
            [[_resized(plane, in_plane, order, smooth) for plane in channel] for channel in planes]
        )
    planes = planes[:, nearest_index(planes.shape[1], shape[thick])]
    return np.ascontiguousarray(np.moveaxis(planes, 1, 1 + thick))


def _resized(array: np.ndarray, shape: tuple[int, ...], order: int, smooth: bool) -> np.ndarray:
    from skimage.transform import resize

    return resize(
        array, shape, order=order, mode="edge", anti_aliasing=smooth, preserve_range=True
    ).astype(np.float32)


def nearest_index(old: int, new: int) -> np.ndarray:
    """For each of ``new`` voxels over the extent of ``old`` ones, the nearest of these."""
    centres = (np.arange(new) + 0.5) * (old / new) - 0.5
    return np.clip(np.floor(centres + 0.5).astype(np.int64), 0, old - 1)


def oriented(
    array: np.ndarray, geometry: Geometry, orientation: str
) -> tuple[np.ndarray, tuple[float, float, float]]:
    """An array ``(..., K, J, I)`` with axes permuted and flipped towards an orientation.

    Returns:
        The array, and mm along its last three axes.
    """
    order, flips, _ = _orient(geometry, orientation)
    return _arranged(array, order, flips), tuple(geometry.spacing_kji[axis] for axis in order)
