"""Conform a volume to a model's grid, and bring labels and maps back to the input's grid.

The model's grid is the input's, with axes permuted and reversed towards the orientation asked for,
cropped if the model wants that, and each axis resampled over the same physical extent. The new
spacing is therefore the extent divided by a whole number of voxels (as in nnU-Net), and the way
back is the exact inverse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from scipy.ndimage import find_objects
from torch import Tensor

from SFDALib.errors import RequestError
from SFDALib.volume import labelling
from SFDALib.volume.geometry import Geometry, IntTriple, Volume, int_triple
from SFDALib.volume.input_spec import InputSpec
from SFDALib.volume.intensity import normalise
from SFDALib.volume.orientation import AxisMap, Box, axis_map, padding_around
from SFDALib.volume.resample import resample, resample_labels, resample_maps, thick_axis

VOXEL_LIMIT = 1 << 31  # beyond any scanner; a spacing in the wrong unit asks for more
BEFORE = ("nonzero", "positive")  # crops of the image before it is resampled


@dataclass(frozen=True)
class Conformed:
    """A volume on a model's grid, and the way back to the input's grid.

    Args:
        array: float32 ``(C, k, j, i)``.
        geometry: the grid of ``array``.
        input_geometry: the grid of the input.
        axes: the permutation, reversal and crop of the input's axes.
        input_spec: the model's; it says how maps are resampled and become labels.
        shape: (k, j, i) after resampling, before the second crop.
        inner: the part kept by a crop after resampling; None for all of it.
    """

    array: np.ndarray
    geometry: Geometry
    input_geometry: Geometry
    axes: AxisMap
    input_spec: InputSpec
    shape: IntTriple
    inner: Box | None = None

    def restore(self, maps: Tensor) -> Tensor:
        """Bring maps ``(N, k, j, i)`` to the input's grid ``(N, K, J, I)`` by linear interpolation;
        they are 0 in what was cropped.

        The tensor stays on its device.
        """
        return self.placed(self.resampled(maps))

    def restore_labels(self, probabilities: Tensor) -> np.ndarray:
        """Labels ``(K, J, I)`` uint8 on the input's grid from probabilities ``(C, k, j, i)``, as
        decided by ``labelling.labels``.
        """
        return labelling.labels(self, probabilities)

    def resampled(self, maps: Tensor, outside: float = 0.0) -> Tensor:
        """Maps ``(N, k, j, i)`` at the input's spacing, still permuted and cropped; float32.

        Args:
            outside: the value of what was cropped after resampling.
        """
        maps = maps.float()
        if self.inner is not None:
            maps = F.pad(maps, padding_around(self.inner, self.shape), value=outside)
        size = self.axes.result_shape
        if maps.shape[1:] == size:
            return maps
        thick = None
        if self.input_spec.resampling.separate_z:
            spacing = self.axes.permuted(self.input_geometry.spacing_kji)
            thick = thick_axis(_wanted_spacing(self.input_spec, spacing), spacing)
        return resample_maps(maps, size, thick)

    def placed(self, maps: Tensor, outside: float = 0.0) -> Tensor:
        """Maps as ``resampled`` returns them on the input's grid ``(N, K, J, I)``.

        Args:
            outside: the value of what was cropped before resampling.
        """
        return self.axes.invert(maps, outside)


def conform(volume: Volume, spec: InputSpec) -> Conformed:
    """Bring a volume to a model's grid and intensities.

    1. Permute and reverse the axes towards ``spec.orientation``, then order them by ``spec.axes``.
    2. Crop to ``spec.crop``, if it is a crop of the image as it is.
    3. Resample each axis over the same extent: ``n`` voxels of ``old`` mm become
       ``max(1, round(n * old / new))`` voxels, or ``spec.size``.
    4. Normalise the intensities; before step 3 if ``spec.resampling.normalised``.
    5. Crop again, if ``spec.crop`` is a crop after resampling.

    Raises:
        RequestError: wrong channel count, or a single slice for a 3D model.

    >>> from SFDALib.volume.normalisation import Normalisation
    >>> volume = Volume(np.arange(96.0).reshape(1, 4, 4, 6), Geometry((6, 4, 4), (1.0, 1.0, 2.0)))
    >>> spec = InputSpec(1, "RAS", (2.0, None, None), Normalisation("none"), is_2d=False)
    >>> conformed = conform(volume, spec)
    >>> conformed.array.shape, conformed.geometry.spacing
    ((1, 4, 4, 3), (2.0, 1.0, 2.0))
    """
    if volume.channels != spec.channels:
        raise RequestError(
            f"input: found {volume.channels} channel(s), expected {spec.channels} for this bundle;"
            " choose an image with the channels that the model was trained on"
        )
    axes = axis_map(volume.geometry, spec.orientation, spec.axes)
    if spec.crop in BEFORE:
        axes = axes.cropped(_bounding_box(axes.apply(volume.array), spec.crop))
    array = axes.apply(volume.array)
    spacing = axes.permuted(volume.geometry.spacing_kji)
    shape = _shape_at(axes.result_shape, spacing, spec)
    _check_size(volume.geometry, shape, spec)
    geometry = axes.geometry(volume.geometry, shape)
    thick = None
    if spec.resampling.separate_z:
        thick = thick_axis(spacing, _wanted_spacing(spec, spacing))
    if spec.resampling.normalised:
        array = normalise(array, spec.normalisation)
    array = resample(array, shape, spec.resampling.order, spec.resampling.smooth, thick)
    inner = None
    if spec.crop == "positive-resampled":
        inner = _bounding_box(array, spec.crop)
        array = array[(slice(None), *inner)]
    if not spec.resampling.normalised:
        array = normalise(array, spec.normalisation)
    if not np.isfinite(array).all():
        raise RequestError(
            f"input: found intensities up to {np.abs(volume.array).max():.3g}, which single"
            " precision cannot normalise, expected smaller ones; replace the largest or rescale"
            " the image"
        )
    if spec.crop == "positive-normalised":
        inner = _bounding_box(array, spec.crop)
        array = array[(slice(None), *inner)]
    if inner is not None:
        array, geometry = np.ascontiguousarray(array), geometry.cropped(inner)
    return Conformed(array, geometry, volume.geometry, axes, spec, shape, inner)


def conform_labels(labels: np.ndarray, conformed: Conformed) -> np.ndarray:
    """Bring a label map (K, J, I) of the input's grid to the model's grid, nearest neighbour."""
    array = resample_labels(conformed.axes.apply(labels), conformed.shape)
    array = array if conformed.inner is None else array[conformed.inner]
    return np.ascontiguousarray(array.astype(labels.dtype))


def shape_on(spec: InputSpec, geometry: Geometry) -> IntTriple:
    """The shape (k, j, i) that an image of this geometry has on a model's grid, uncropped."""
    axes = axis_map(geometry, spec.orientation, spec.axes)
    return _shape_at(axes.permuted_shape, axes.permuted(geometry.spacing_kji), spec)


def _shape_at(shape: IntTriple, spacing: tuple[float, ...], spec: InputSpec) -> IntTriple:
    """The shape after resampling the same extent to the model's spacing or size."""
    wanted, sizes = _wanted_spacing(spec, spacing), (spec.size or (None, None, None))[::-1]
    return int_triple(
        size or max(1, round(old / new * n))
        for n, old, new, size in zip(shape, spacing, wanted, sizes, strict=True)
    )


def _wanted_spacing(spec: InputSpec, spacing: tuple[float, ...]) -> tuple[float, ...]:
    """The spacing asked for, in array order; the image's own where none is."""
    return tuple(new or old for new, old in zip(spec.spacing[::-1], spacing, strict=True))


def _bounding_box(array: np.ndarray, crop: str) -> Box:
    """The smallest box of ``(C, k, j, i)`` with all voxels that a crop keeps; all of the array
    where it keeps none.
    """
    inside = (array != 0 if crop == "nonzero" else array > 0).any(axis=0)
    k, j, i = (slice(0, n) for n in inside.shape)
    return find_objects(inside.astype(np.uint8))[0] if inside.any() else (k, j, i)


def _check_size(geometry: Geometry, shape: IntTriple, spec: InputSpec) -> None:
    """Refuse a single slice for a 3D model, and grids beyond ``VOXEL_LIMIT``."""
    if not spec.is_2d and min(geometry.size) < 2:  # a crop to one voxel is padded
        raise RequestError(
            f"input: found a volume one voxel thick ({_times(geometry.size)} voxels),"
            " expected a 3D volume for this 3D model; choose the whole series or a 2D model"
        )
    if math.prod(shape) > VOXEL_LIMIT:
        raise RequestError(
            f"input: found an image of {_times(geometry.size)} voxels that grows to"
            f" {_times(shape[::-1])} on the model's grid, expected one of a scanner's size; check"
            " the image's spacing and the bundle's"
        )


def _times(size: tuple[int, ...]) -> str:
    return "x".join(str(n) for n in size)
