"""Where the voxels of an array lie in the patient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import SimpleITK as sitk


SAME_MM = 1e-2  # programs round origins and directions by less
SKEW_DEGREES = 0.5  # from a right angle that axes may be off, to be taken as at right angles
EXACT = 1e-6  # of unit vectors, which files keep in single precision


@dataclass(frozen=True)
class Geometry:
    """The grid of a volume.

    Args:
        size: voxels along I, J, K.
        spacing: mm along I, J, K.
        origin: centre of voxel (0, 0, 0), LPS mm.
        direction: 3x3 row-major; its columns are the unit vectors of I, J, K in LPS.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Array shape (K, J, I)."""
        return self.size[::-1]

    @property
    def spacing_kji(self) -> tuple[float, float, float]:
        """mm along the axes of an array (K, J, I)."""
        return self.spacing[::-1]

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in ml."""
        return float(np.prod(self.spacing)) / 1000.0

    def matches(self, other: Geometry) -> bool:
        """Whether both grids put every voxel at the same place, within ``SAME_MM`` and a tenth of a
        voxel.
        """
        if self.size != other.size:
            return False
        tolerance = min(SAME_MM, 0.1 * min(self.spacing))
        return all(
            np.allclose(self.to_lps(corner), other.to_lps(corner), rtol=0, atol=tolerance)
            for corner in self.corners()
        )

    def corners(self) -> np.ndarray:
        """Indices (8, 3) of the outermost voxels, (I, J, K)."""
        return np.array(np.meshgrid(*[(0, n - 1) for n in self.size])).reshape(3, -1).T

    def to_lps(self, index: np.ndarray) -> np.ndarray:
        """LPS mm of a continuous index (I, J, K)."""
        direction = np.array(self.direction).reshape(3, 3)
        return np.array(self.origin) + direction @ (np.array(self.spacing) * np.asarray(index))

    def cropped(self, box: tuple[slice, slice, slice]) -> Geometry:
        """The grid of the part ``array[box]`` of an array (K, J, I)."""
        first = np.array([part.start for part in box[::-1]])
        origin = tuple(float(mm) for mm in self.to_lps(first))
        size = tuple(part.stop - part.start for part in box[::-1])
        return Geometry(size, self.spacing, origin, self.direction)

    def apply(self, image: sitk.Image) -> None:
        """Give a 3D SimpleITK image this spacing, origin and direction."""
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction)


@dataclass(frozen=True)
class Volume:
    """Voxels ``(C, K, J, I)`` and their geometry. A 2D image has K = 1.

    Args:
        notes: what a user should know of how the files were read.
    """

    array: np.ndarray
    geometry: Geometry
    notes: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        return self.array.shape[0]

    def to_sitk(self) -> sitk.Image:
        """A 3D SimpleITK image, a vector image where there are several channels."""
        import SimpleITK as sitk

        if self.channels == 1:
            image = sitk.GetImageFromArray(self.array[0])
        else:
            image = sitk.GetImageFromArray(np.moveaxis(self.array, 0, -1), isVector=True)
        self.geometry.apply(image)
        return image


def right_angled(
    size: tuple[int, int, int], columns: np.ndarray, origin: np.ndarray
) -> tuple[Geometry, str | None] | None:
    """The grid of axes that are at right angles, or nearly.

    Axes that are off by up to ``SKEW_DEGREES`` become the nearest rotation (polar decomposition)
    about the middle of the image; a note says how far voxels move.

    Args:
        columns: 3x3; the steps from voxel to voxel along I, J, K, LPS mm.
        origin: centre of voxel (0, 0, 0), LPS mm.

    Returns:
        The grid and perhaps a note; None where the axes are further off or span no volume.
    """
    spacing = np.linalg.norm(columns, axis=0)
    if not np.isfinite(columns).all() or not (spacing > 0).all():
        return None
    unit = columns / spacing
    cosines = np.abs(unit.T @ unit - np.eye(3))
    if cosines.max() > np.sin(np.deg2rad(SKEW_DEGREES)):
        return None
    note = None
    if cosines.max() > EXACT:
        left, _, right = np.linalg.svd(unit)
        turned = left @ right
        middle = (np.array(size) - 1) / 2
        origin = origin + (columns - turned * spacing) @ middle
        moved = np.linalg.norm((columns - turned * spacing) * middle, axis=0).sum()
        unit = turned
        if moved > SAME_MM:
            off = np.rad2deg(np.arcsin(cosines.max()))
            note = (
                f"the image's axes are {off:.2g} degrees off a right angle; the nearest grid at"
                f" right angles was taken, which moves voxels by at most {moved:.2g} mm."
            )
    return Geometry(
        size,
        tuple(float(mm) for mm in spacing),
        tuple(float(mm) for mm in origin),
        tuple(float(value) for value in unit.ravel()),
    ), note


def rearranged(volume: Volume, geometry: Geometry) -> Volume | None:
    """The same voxels with axes permuted and reversed so that they lie on ``geometry``.

    Returns:
        None where voxels of the two grids lie at different places.
    """
    found = _turned(volume, geometry)
    if found is None or not found.geometry.matches(geometry):
        return None
    return Volume(found.array, geometry, found.notes)


def on_grid_of(labels: Volume, geometry: Geometry) -> Volume | None:
    """A label map on ``geometry`` whose own grid is that or a part of it, with axes in any order:
    0 where it has no voxels. Slicer stores a segmentation cropped to its segments.

    Returns:
        None where voxels of the two grids lie at different places, or labels lie outside.
    """
    found = _turned(labels, geometry)
    if found is None or not np.allclose(found.geometry.spacing, geometry.spacing, rtol=1e-3):
        return None
    directions = np.array(geometry.direction).reshape(3, 3)
    offset = directions.T @ (np.array(found.geometry.origin) - geometry.origin)
    first = np.rint(offset / geometry.spacing).astype(int)
    part = Geometry(
        found.geometry.size, geometry.spacing, tuple(geometry.to_lps(first)), geometry.direction
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
    """The volume with axes permuted and reversed towards those of ``geometry``, wherever it lies;
    None where its axes lie between them.
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
        tuple(source.size[axis] for axis in order),
        tuple(source.spacing[axis] for axis in order),
        tuple(source.to_lps(first)),
        tuple((directions[:, order] * signs).ravel()),
    )
    array = volume.array.transpose(0, *(3 - axis for axis in order[::-1]))
    array = np.flip(array, [3 - axis for axis in range(3) if signs[axis] < 0])
    return Volume(np.ascontiguousarray(array), found, volume.notes)


def resampled(volume: Volume, geometry: Geometry) -> tuple[Volume, float]:
    """A volume on another grid by linear interpolation; its smallest value where it has no voxels.

    Returns:
        The volume, and the share of the grid that it covers.
    """
    import SimpleITK as sitk

    reference = sitk.Image(geometry.size, sitk.sitkUInt8)
    geometry.apply(reference)

    # a voxel beyond the edge on each side: a grid's outer voxels reach half a voxel further
    old = volume.geometry
    size = tuple(n + 2 for n in old.size)
    around = Geometry(size, old.spacing, tuple(old.to_lps(-np.ones(3))), old.direction)

    def on_grid(array: np.ndarray, mode: str, outside: float) -> np.ndarray:
        image = Volume(np.pad(array, 1, mode=mode)[None], around).to_sitk()
        moved = sitk.Resample(image, reference, sitk.Transform(), sitk.sitkLinear, outside)
        return sitk.GetArrayFromImage(moved)

    covered = on_grid(np.ones(old.shape, np.float32), "constant", 0.0) > 0.5
    channels = volume.array.astype(np.float32)
    array = np.stack([on_grid(channel, "edge", float(channel.min())) for channel in channels])
    return Volume(array, geometry, volume.notes), float(covered.mean())
