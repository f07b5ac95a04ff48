"""A head with a brain in it, on any grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from SFDALib.volume.geometry import Geometry, Volume

if TYPE_CHECKING:
    pass


OBLIQUE = (0.96, -0.28, 0.0, 0.28 * 0.8, 0.96 * 0.8, -0.6, 0.28 * 0.6, 0.96 * 0.6, 0.8)


LEFT_HANDED = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def head(geometry: Geometry) -> Volume:
    """A bright brain (intensity 300) in a dimmer head (100) in air (0), with smooth borders.

    Its shape lives in LPS millimetres, so that any grid over the same box shows the same head: the
    brain is an ellipsoid of half axes 24, 30, 20 mm around (5, -3, 8), off-centre and so not
    symmetric.
    """
    index = np.indices(geometry.shape)[::-1].reshape(3, -1)
    direction = np.array(geometry.direction).reshape(3, 3)
    place = np.array(geometry.origin)[:, None] + direction @ (
        np.array(geometry.spacing)[:, None] * index
    )

    def inside(centre: tuple[float, ...], axes: tuple[float, ...]) -> np.ndarray:
        offset = (place - np.array(centre)[:, None]) / np.array(axes)[:, None]
        distance = (1 - np.sqrt((offset**2).sum(0))) * min(axes)  # about mm, positive inside
        return np.clip(distance + 0.5, 0, 1)

    skin = inside((5.0, -3.0, 4.0), (34.0, 42.0, 34.0))
    brain = inside((5.0, -3.0, 8.0), (24.0, 30.0, 20.0))
    return Volume((100 * skin + 200 * brain).reshape(1, *geometry.shape), geometry)


def geometry_around_head(
    size: tuple[int, int, int],
    spacing: tuple[float, float, float],
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
) -> Geometry:
    """A grid whose centre lies in the head's."""
    centre = np.array(direction).reshape(3, 3) @ (np.array(spacing) * (np.array(size) - 1) / 2)
    origin = np.array((5.0, -3.0, 4.0)) - centre
    return Geometry(size, spacing, tuple(float(mm) for mm in origin), direction)
