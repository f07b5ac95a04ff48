"""Grids in every orientation, and what tests of images share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from heads import LEFT_HANDED, OBLIQUE

from SFDALib.errors import RequestError
from SFDALib.volume.conform import Conformed
from SFDALib.volume.geometry import Geometry
from SFDALib.volume.normalisation import Normalisation

LETTERS = {
    "L": (1, 0, 0),
    "R": (-1, 0, 0),
    "P": (0, 1, 0),
    "A": (0, -1, 0),
    "S": (0, 0, 1),
    "I": (0, 0, -1),
}


AS_IS = Normalisation("none")


def along(code: str) -> tuple[float, ...]:
    """The direction matrix whose axes I, J, K increase towards the letters."""
    return tuple(np.array([LETTERS[letter] for letter in code], float).T.ravel())


def tilted(code: str) -> tuple[float, ...]:
    """The same, tilted by 7 to 20 degrees about all axes."""
    turn = sitk.Euler3DTransform()
    turn.SetRotation(*np.deg2rad((12, -7, 20)))
    matrix = np.array(turn.GetMatrix()).reshape(3, 3) @ np.array(along(code)).reshape(3, 3)
    return tuple(matrix.ravel())


DIRECTIONS = {
    "axial": along("LPS"),
    "oblique": OBLIQUE,
    "left-handed": LEFT_HANDED,
    "RAS": along("RAS"),
    "sagittal, a cycle of the axes": along("ASL"),
    "sagittal, tilted": tilted("PIL"),
    "the other cycle, tilted": tilted("SRA"),
    "coronal, left-handed and tilted": tilted("RIA"),
}


def matrix(geometry: Geometry) -> np.ndarray:
    """The 3x4 matrix from voxels to LPS mm."""
    columns = np.array(geometry.direction).reshape(3, 3) * geometry.spacing
    return np.column_stack([columns, geometry.origin])


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 1000, shape).astype(np.int16)


def refusal(action: Callable[[], object]) -> str:
    """The one line with which an unusable input is refused."""
    with pytest.raises(RequestError) as caught:
        action()
    line = str(caught.value)
    assert caught.value.exit_status == 2
    assert len(line.splitlines()) == 1
    return line


def oracle(conformed: Conformed) -> torch.Tensor:
    """Probabilities (2, k, j, i): the brain is where the image is brighter than 200."""
    brain = torch.from_numpy(conformed.array[0] - 100) / 200
    brain = brain.clamp(0, 1)
    return torch.stack([1 - brain, brain])


def image(array: np.ndarray | None = None) -> sitk.Image:
    result = sitk.GetImageFromArray(noise((8, 9, 10)) if array is None else array)
    result.SetSpacing((1.0, 2.0, 3.0))
    return result
