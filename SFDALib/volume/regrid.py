"""Bring a volume onto another image's grid: exactly where voxels coincide, else resampled."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from SFDALib.volume.geometry import Geometry, Volume, float_triple, int_triple


def rearranged(volume: Volume, geometry: Geometry) -> Volume | None:
    """The same voxels on ``geometry``, by permuting and reversing their axes.

    Returns:
        The volume, or None if voxels of the two grids lie at different places.
    """
    found = _turned(volume, geometry)
    if found is None or not found.geometry.matches(geometry):
        return None
    return Volume(found.array, geometry, found.notes)


def on_grid_of(labels: Volume, geometry: Geometry) -> Volume | None:
    """A label map on ``geometry``, if its own grid is that or a part of it, axes in any order.

    Slicer stores a segmentation cropped to its segments. Voxels that the map does not have are 0.

    Returns:
        The label map, or None if voxels of the two grids lie at different places or labels lie
        outside of ``geometry``.
    """
    found = _turned(labels, geometry)
    if found is None or not np.allclose(found.geometry.spacing, geometry.spacing, rtol=1e-3):
        return None
    directions = np.array(geometry.direction).reshape(3, 3)
    offset = directions.T @ (np.array(found.geometry.origin) - geometry.origin)
    first = np.rint(offset / geometry.spacing).astype(int)
    part = Geometry(
        found.geometry.size,
        geometry.spacing,
        float_triple(geometry.to_lps(first)),
        geometry.direction,
    )
    if not part.matches(found.geometry):
        return None
    array = np.zeros((labels.channels, *geometry.shape), labels.array.dtype)
    inside, outside = [slice(None)], [slice(None)]
    for start, n, whole in zip(first[::-1], part.shape, geometry.shape, strict=True):
        low, high = max(start, 0), min(start + n, whole)
        if high <= low:
            return None
        outside.append(slice(low, high))
        inside.append(slice(low - start, high - start))
    kept = found.array[tuple(inside)]
    if np.count_nonzero(kept) < np.count_nonzero(found.array):
        return None
    array[tuple(outside)] = kept
    return Volume(array, geometry, labels.notes)


def _turned(volume: Volume, geometry: Geometry) -> Volume | None:
    """The volume with axes permuted and reversed towards those of ``geometry``, whatever its
    position; None if its axes are nearer to 45 degrees than to those of ``geometry``.
    """
    source = volume.geometry
    directions = np.array(source.direction).reshape(3, 3)
    turn = np.array(geometry.direction).reshape(3, 3).T @ directions
    order = np.abs(turn).argmax(axis=1)  # the volume's axis (I, J, K) along each of the geometry's
    if sorted(order) != [0, 1, 2]:
        return None
    signs = np.sign(turn[range(3), order])
    first = np.zeros(3)
    first[order] = np.where(signs < 0, np.array(source.size)[order] - 1, 0)
    found = Geometry(
        int_triple(source.size[axis] for axis in order),
        float_triple(source.spacing[axis] for axis in order),
        float_triple(source.to_lps(first)),
        tuple(float(value) for value in (directions[:, order] * signs).ravel()),
    )
    array = volume.array.transpose(0, *(3 - axis for axis in order[::-1]))
    array = np.flip(array, tuple(3 - axis for axis in range(3) if signs[axis] < 0))
    return Volume(np.ascontiguousarray(array), found, volume.notes)


def resampled(volume: Volume, geometry: Geometry) -> tuple[Volume, float]:
    """Resample a volume to another grid by linear interpolation; outside it has its smallest value.

    Returns:
        The volume ``(C, K, J, I)``, and the share of ``geometry`` that it covers, 0 to 1.
    """
    reference = sitk.Image(geometry.size, sitk.sitkUInt8)
    geometry.apply(reference)

    # a voxel beyond the edge on each side: a grid's outer voxels reach half a voxel further
    old = volume.geometry
    size = int_triple(n + 2 for n in old.size)
    around = Geometry(size, old.spacing, float_triple(old.to_lps(-np.ones(3))), old.direction)

    def on_grid(padded: np.ndarray, outside: float) -> np.ndarray:
        image = Volume(padded[None], around).to_sitk()
        moved = sitk.Resample(image, reference, sitk.Transform(), sitk.sitkLinear, outside)
        return sitk.GetArrayFromImage(moved)

    covered = on_grid(np.pad(np.ones(old.shape, np.float32), 1), 0.0) > 0.5
    channels = volume.array.astype(np.float32)
    array = np.stack(
        [on_grid(np.pad(channel, 1, mode="edge"), float(channel.min())) for channel in channels]
    )
    return Volume(array, geometry, volume.notes), float(covered.mean())
