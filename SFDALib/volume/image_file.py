"""An image file whose header was read and checked, and how its voxels are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SFDALib.errors import shown
from SFDALib.volume.geometry import Geometry, Volume


@dataclass(frozen=True)
class ImageFile:
    """What is known of an image before its voxels are read.

    Args:
        stored_bytes: of its voxels, as they are stored.
        notes: what a user should know of how the header was taken.
        read: gives the voxels ``(C, K, J, I)``, and further notes.
    """

    path: Path
    geometry: Geometry
    stored_bytes: int
    notes: tuple[str, ...]
    read: Callable[[], tuple[np.ndarray, tuple[str, ...]]]

    def volume(self) -> Volume:
        array, notes = self.read()
        # names and descriptions in them come from outside
        words = tuple(shown(note) for note in (*self.notes, *notes))
        return Volume(np.ascontiguousarray(array), self.geometry, words)
