"""Where the voxels of an array lie in the patient."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

IntTriple = tuple[int, int, int]
FloatTriple = tuple[float, float, float]

SAME_MM = 1e-2  # mm; programs round origins and directions by less
SKEW_DEGREES = 0.5  # largest deviation from a right angle that is corrected
EXACT = 1e-6  # of unit vectors, which files keep in single precision


def int_triple(values: Iterable[int]) -> IntTriple:
    """Three values as plain integers."""
    i, j, k = (int(value) for value in values)
    return i, j, k


def float_triple(values: Iterable[float]) -> FloatTriple:
    """Three values as plain floats."""
    i, j, k = (float(value) for value in values)
    return i, j, k


@dataclass(frozen=True)
class Geometry:
    """The grid of a volume: where its voxels lie in the patient, in LPS mm.

    A voxel with the index (i, j, k) has its centre at
    ``origin + direction @ (spacing * (i, j, k))``.

    Args:
        size: voxels along I, J, K.
        spacing: mm along I, J, K.
        origin: centre of voxel (0, 0, 0), LPS mm.
        direction: 3x3 row-major; its columns are the unit vectors of I, J, K in LPS.

    >>> grid = Geometry(size=(4, 3, 2), spacing=(1.0, 2.0, 5.0), origin=(10.0, 0.0, -5.0))
    >>> grid.shape, grid.voxel_ml
    ((2, 3, 4), 0.01)
    >>> grid.to_lps((1, 1, 1)).tolist()
    [11.0, 2.0, 0.0]
    """

    size: IntTriple
    spacing: FloatTriple
    origin: FloatTriple = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    @property
    def shape(self) -> IntTriple:
        """Array shape (K, J, I)."""
        i, j, k = self.size
        return k, j, i

    @property
    def spacing_kji(self) -> FloatTriple:
        """mm along the axes of an array (K, J, I)."""
        i, j, k = self.spacing
        return k, j, i

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

    def to_lps(self, index: np.ndarray | Iterable[float]) -> np.ndarray:
        """LPS mm of a continuous index (I, J, K)."""
        direction = np.array(self.direction).reshape(3, 3)
        return np.array(self.origin) + direction @ (
            np.array(self.spacing) * np.asarray(index, dtype=float)
        )

    def cropped(self, box: tuple[slice, slice, slice]) -> Geometry:
        """The grid of the part ``array[box]`` of an array (K, J, I)."""
        first = np.array([part.start for part in box[::-1]])
        size = int_triple(part.stop - part.start for part in box[::-1])
        return Geometry(size, self.spacing, float_triple(self.to_lps(first)), self.direction)

    def apply(self, image: sitk.Image) -> None:
        """Give a 3D SimpleITK image this spacing, origin and direction."""
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction)


@dataclass(frozen=True)
class Volume:
    """Voxels and their grid. A 2D image has K = 1.

    Args:
        array: ``(C, K, J, I)``.
        geometry: the grid of each channel.
        notes: what the user should know about how the files were read.
    """

    array: np.ndarray
    geometry: Geometry
    notes: tuple[str, ...] = ()

    @property
    def channels(self) -> int:
        """Number of channels C."""
        return self.array.shape[0]

    def to_sitk(self) -> sitk.Image:
        """A 3D SimpleITK image, a vector image where there are several channels."""
        if self.channels == 1:
            image = sitk.GetImageFromArray(self.array[0])
        else:
            image = sitk.GetImageFromArray(np.moveaxis(self.array, 0, -1), isVector=True)
        self.geometry.apply(image)
        return image


def right_angled(
    size: IntTriple, columns: np.ndarray, origin: np.ndarray
) -> tuple[Geometry, str | None] | None:
    """The grid whose axes are at right angles, or nearly.

    Axes that deviate by up to ``SKEW_DEGREES`` become the nearest rotation (polar decomposition)
    about the middle of the image; a note says how far voxels move.

    Args:
        columns: 3x3; the steps from voxel to voxel along I, J, K, LPS mm.
        origin: centre of voxel (0, 0, 0), LPS mm.

    Returns:
        The grid, and a note where voxels moved; None where the axes deviate more or span no volume.
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
        float_triple(spacing),
        float_triple(origin),
        tuple(float(value) for value in unit.ravel()),
    ), note
