"""Where the voxels of an array lie in the patient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import SimpleITK as sitk


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

    def matches(self, other: Geometry, tolerance: float = 1e-4) -> bool:
        """Whether both grids put every voxel at the same place, within ``tolerance`` mm."""
        if self.size != other.size:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.size])).reshape(3, -1).T
        return all(
            np.allclose(self.to_lps(corner), other.to_lps(corner), rtol=0, atol=tolerance)
            for corner in corners
        )

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
    """Voxels ``(C, K, J, I)`` and their geometry. A 2D image has K = 1."""

    array: np.ndarray
    geometry: Geometry

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
