"""One image file whose header was read and checked: what every reader of a format returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SFDALib.errors import shown
from SFDALib.volume.geometry import Geometry, Volume

Voxels = tuple[np.ndarray, tuple[str, ...]]  # (C, K, J, I), and notes on how they were read


@dataclass(frozen=True)
class OpenedFile:
    """A file, or a folder with one DICOM series, of which the header alone was read.

    Args:
        path: the file or folder.
        files: all files that hold it: a header's voxels may lie in a second file.
        geometry: the grid that the header states.
        stored_bytes: bytes of the voxels as they are stored.
        notes: what the user should know about how the header was understood.
        voxels: reads the voxels, without parsing the header again.
    """

    path: Path
    files: tuple[Path, ...]
    geometry: Geometry
    stored_bytes: int
    notes: tuple[str, ...]
    voxels: Callable[[], Voxels]

    def volume(self) -> Volume:
        """Read the voxels.

        Raises:
            RequestError: damaged or truncated.
            OutOfMemoryError: more voxels than fit into the free memory.
        """
        array, notes = self.voxels()
        # notes may quote descriptions from the file
        escaped = tuple(shown(note) for note in (*self.notes, *notes))
        return Volume(np.ascontiguousarray(array), self.geometry, escaped)
