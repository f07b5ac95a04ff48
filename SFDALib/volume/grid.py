"""Conform a volume to a model's grid, and bring labels and maps back to the input's grid.

The model's grid is the input's, with axes permuted and flipped towards the orientation asked for
and each axis resampled over the same physical extent. The new spacing is therefore the extent
divided by a whole number of voxels (as in nnU-Net), and the way back is the exact inverse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from SFDALib.errors import RequestError
from SFDALib.volume.geometry import Geometry, Volume
from SFDALib.volume.specification import Grid, Normalisation

if TYPE_CHECKING:
    from torch import Tensor

VOXEL_LIMIT = 1 << 31  # beyond any scanner; a spacing in the wrong unit asks for more


@dataclass(frozen=True)
class Conformed:
    """A volume on a model's grid: float32 ``array`` (C, k, j, i), and the way back.

    ``order`` and ``flips`` are the axes' permutation and reversal, in array order (K, J, I).
    """

    array: np.ndarray
    geometry: Geometry
    input_geometry: Geometry
    order: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    def restore(self, maps: Tensor) -> Tensor:
        """Bring maps ``(N, k, j, i)`` to the input's grid ``(N, K, J, I)`` by linear interpolation.

        The tensor stays on its device.
        """
        import torch.nn.functional as F

        oriented = tuple(self.input_geometry.shape[axis] for axis in self.order)
        if maps.shape[1:] != oriented:
            maps = F.interpolate(
                maps[None].float(), size=oriented, mode="trilinear", align_corners=False
            )[0]
        maps = maps.flip([axis + 1 for axis, flip in enumerate(self.flips) if flip])
        return maps.permute(0, *(1 + axis for axis in np.argsort(self.order)))

    def restore_labels(self, probabilities: Tensor) -> np.ndarray:
        """Labels ``(K, J, I)`` uint8 on the input's grid from probabilities ``(C, k, j, i)``.

        Probabilities are interpolated class by class and the largest wins, so that borders are
        smooth and memory is that of two classes, whatever their number.
        """
        import torch

        best = self.restore(probabilities[:1])[0]
        labels = torch.zeros(best.shape, dtype=torch.uint8, device=best.device)
        for value in range(1, probabilities.shape[0]):
            candidate = self.restore(probabilities[value : value + 1])[0]
            wins = candidate > best
            labels[wins] = value
            best = torch.where(wins, candidate, best)
        return labels.cpu().numpy()


def conform(volume: Volume, grid: Grid) -> Conformed:
    """Orient, resample and normalise a volume for a model.

    Raises:
        RequestError: wrong channel count, a single slice for a 3D model, or a constant image.
    """
    if volume.channels != grid.channels:
        raise RequestError(
            f"input: found {volume.channels} channel(s), expected {grid.channels} for this bundle;"
            " choose an image with the channels that the model was trained on"
        )
    order, flips, direction = _orient(volume.geometry, grid.orientation)
    array = volume.array.transpose(0, *(1 + axis for axis in order))
    array = array[(slice(None), *(slice(None, None, -1 if flip else 1) for flip in flips))]
    shape, spacing = _shape_on(grid, volume.geometry, order)
    if not grid.slices and min(*shape, *array.shape[1:]) < 2:
        raise RequestError(
            f"input: found a volume one voxel thick ({_times(volume.geometry.size)} voxels,"
            f" {_times(shape[::-1])} on the model's grid), expected a 3D volume for this 3D model;"
            " choose the whole series or a 2D model"
        )
    if math.prod(shape) > VOXEL_LIMIT:
        raise RequestError(
            f"input: found an image of {_times(volume.geometry.size)} voxels that grows to"
            f" {_times(shape[::-1])} on the model's grid, expected one of a scanner's size; check"
            " the image's spacing and the bundle's"
        )
    geometry = _geometry(volume.geometry, order, flips, direction, shape, spacing)
    array = normalise(_resample(array, shape), grid.normalisation)
    return Conformed(array, geometry, volume.geometry, order, flips)


def shape_on(grid: Grid, geometry: Geometry) -> tuple[int, int, int]:
    """The shape (k, j, i) that an image of this geometry has on a model's grid."""
    order, _, _ = _orient(geometry, grid.orientation)
    return _shape_on(grid, geometry, order)[0]


def _shape_on(
    grid: Grid, geometry: Geometry, order: tuple[int, int, int]
) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    """Shape and spacing in mm after permuting the axes and resampling the same extent."""
    spacing = [geometry.spacing_kji[axis] for axis in order]
    wanted = [new or old for new, old in zip(grid.spacing[::-1], spacing, strict=True)]
    extent = [geometry.shape[axis] * mm for axis, mm in zip(order, spacing, strict=True)]
    shape = tuple(max(1, round(mm / new)) for mm, new in zip(extent, wanted, strict=True))
    return shape, tuple(mm / n for mm, n in zip(extent, shape, strict=True))


def conform_labels(labels: np.ndarray, conformed: Conformed) -> np.ndarray:
    """Bring a label map (K, J, I) of the input's grid to the model's grid, nearest neighbour."""
    from skimage.transform import resize

    array = labels.transpose(conformed.order)
    array = array[tuple(slice(None, None, -1 if flip else 1) for flip in conformed.flips)]
    shape = conformed.geometry.shape
    if array.shape == shape:
        return np.ascontiguousarray(array)
    return resize(array, shape, order=0, preserve_range=True, anti_aliasing=False).astype(
        labels.dtype
    )


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
    direction: np.ndarray,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
) -> Geometry:
    """The grid whose voxels fill the same box as the source's."""
    corner = np.full(3, -0.5)  # continuous index (I, J, K) of the box's first corner
    for axis, flip in zip(order, flips, strict=True):
        if flip:
            corner[2 - axis] = source.size[2 - axis] - 0.5
    spacing_ijk = np.array(spacing[::-1])
    origin = source.to_lps(corner) + direction @ (spacing_ijk / 2)
    return Geometry(
        tuple(int(n) for n in shape[::-1]),
        tuple(float(mm) for mm in spacing_ijk),
        tuple(float(mm) for mm in origin),
        tuple(float(value) for value in direction.ravel()),
    )


def _resample(array: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Linear resampling over the same extent, smoothed first where voxels grow."""
    from skimage.transform import resize

    array = array.astype(np.float32)
    if array.shape[1:] == shape:
        return array
    return np.stack(
        [
            resize(
                channel, shape, order=1, mode="edge", anti_aliasing=True, preserve_range=True
            ).astype(np.float32)
            for channel in array
        ]
    )


def normalise(array: np.ndarray, normalisation: Normalisation) -> np.ndarray:
    """Scale the intensities of ``(C, k, j, i)`` channel by channel; float32."""
    return np.stack([_normalise_channel(channel, normalisation) for channel in array])


def normalise_unit(array: np.ndarray, normalisation: Normalisation) -> np.ndarray:
    """Scale an image ``(C, k, j, i)`` in the 0..1 of ``Normalisation.unit`` for the model."""
    if normalisation.kind == "fixed":
        array = array * (normalisation.upper - normalisation.lower) + normalisation.lower
    return normalise(array, normalisation)


def _normalise_channel(channel: np.ndarray, how: Normalisation) -> np.ndarray:
    channel = channel.astype(np.float32)
    if how.kind == "none":
        return channel
    if how.kind == "fixed":
        return (np.clip(channel, how.lower, how.upper) - how.mean) / how.std
    if how.kind == "zscore":
        return (channel - channel.mean()) / max(float(channel.std()), 1e-8)
    if how.kind == "percentile":
        low, high = (np.float32(value) for value in np.percentile(channel, [how.lower, how.upper]))
    else:
        low, high = channel.min(), channel.max()
    return np.clip((channel - low) / max(float(high - low), 1e-8), 0, 1)


def oriented(
    array: np.ndarray, geometry: Geometry, orientation: str
) -> tuple[np.ndarray, tuple[float, float, float]]:
    """An array ``(..., K, J, I)`` with axes permuted and flipped towards an orientation.

    Returns:
        The array, and mm along its last three axes.
    """
    order, flips, _ = _orient(geometry, orientation)
    lead = array.ndim - 3
    array = array.transpose(*range(lead), *(lead + axis for axis in order))
    array = array[(..., *(slice(None, None, -1 if flip else 1) for flip in flips))]
    return array, tuple(geometry.spacing_kji[axis] for axis in order)
