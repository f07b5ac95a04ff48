"""Resample an array over the same physical extent, and maps back, as nnU-Net and MONAI do."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from skimage.transform import resize
from torch import Tensor

from SFDALib.volume.geometry import IntTriple

ANISOTROPIC = 3  # largest over smallest spacing of an anisotropic image, as in nnU-Net


def resample(
    array: np.ndarray, shape: IntTriple, order: int, smooth: bool, thick: int | None
) -> np.ndarray:
    """Resample ``(C, k, j, i)`` to ``shape`` by splines, float32.

    Args:
        order: of the spline, 0 to 5; 1 is linear.
        smooth: whether to smooth with a Gaussian first where voxels become larger.
        thick: an axis that is resampled to the nearest slice, the others slice by slice; None to
            resample in 3D.
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
            [
                np.stack([_resized(plane, in_plane, order, smooth) for plane in channel])
                for channel in planes
            ]
        )
    planes = planes[:, nearest_index(planes.shape[1], shape[thick])]
    return np.ascontiguousarray(np.moveaxis(planes, 1, 1 + thick))


def _resized(array: np.ndarray, shape: tuple[int, ...], order: int, smooth: bool) -> np.ndarray:
    return resize(
        array, shape, order=order, mode="edge", anti_aliasing=smooth, preserve_range=True
    ).astype(np.float32)


def resample_maps(maps: Tensor, shape: IntTriple, thick: int | None) -> Tensor:
    """Resample maps ``(N, k, j, i)`` to ``shape`` by linear interpolation over the same extent.

    Args:
        thick: an axis along which the nearest slice is taken, as in ``resample``.
    """
    if thick is None:
        return F.interpolate(maps[None], size=shape, mode="trilinear", align_corners=False)[0]
    nearest = torch.from_numpy(nearest_index(maps.shape[1 + thick], shape[thick]))
    maps = maps.index_select(1 + thick, nearest.to(maps.device))
    in_plane = [n for axis, n in enumerate(shape) if axis != thick]
    planes = maps.movedim(1 + thick, 0)
    planes = F.interpolate(planes, size=in_plane, mode="bilinear", align_corners=False)
    return planes.movedim(0, 1 + thick)


def resample_labels(labels: np.ndarray, shape: IntTriple) -> np.ndarray:
    """Resample a label map ``(K, J, I)`` to ``shape`` by the nearest voxel."""
    if labels.shape == shape:
        return labels
    return resize(labels, shape, order=0, preserve_range=True, anti_aliasing=False)


def nearest_index(old: int, new: int) -> np.ndarray:
    """For each of ``new`` voxels over the extent of ``old`` voxels, the nearest of these."""
    centres = (np.arange(new) + 0.5) * (old / new) - 0.5
    return np.clip(np.floor(centres + 0.5).astype(np.int64), 0, old - 1)


def thick_axis(first: tuple[float, ...], second: tuple[float, ...]) -> int | None:
    """The axis of thick slices of two spacings, the first's before the second's.

    Returns:
        The axis with the largest spacing where it is more than ``ANISOTROPIC`` times the smallest;
        None where there is no such axis, or more than one.
    """
    for spacing in (first, second):
        if max(spacing) / min(spacing) > ANISOTROPIC:
            return spacing.index(max(spacing)) if spacing.count(max(spacing)) == 1 else None
    return None
