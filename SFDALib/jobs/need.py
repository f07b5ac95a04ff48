"""How much main memory an image will need, judged by its header before it is read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from SFDALib import ram
from SFDALib.bundle.source import Source
from SFDALib.volume.files import Header, read_header
from SFDALib.volume.grid import shape_on

FLOAT = 4  # bytes
# Arrays of floats that are held at once, by counting them in the code: beside the voxels as stored,
# of the input's grid (maps and labels), and of the model's, each channel and each class.
STORED_COPIES = 2
INPUT_ARRAYS = 6
CHANNEL_ARRAYS = 4
CLASS_ARRAYS = 2


def refuse_too_large(paths: Sequence[Path], model: Source) -> None:
    """Refuse an image that the memory cannot hold, before it is read.

    Raises:
        OutOfMemoryError: with what it needs and what is free.
        RequestError: a file that is no image.
    """
    header = read_header(paths)
    grid, classes = model.description.grid, model.description.classes
    on_grid = math.prod(shape_on(grid, header.geometry))
    size = "x".join(str(n) for n in header.geometry.size)
    ram.refuse_beyond(
        memory_need(header, on_grid, grid.channels, classes, model.device.type == "cpu"),
        f"{paths[0]}: an image of {size} voxels, {on_grid:.3g} of them on the model's grid,",
        "crop or resample it, close other programs, or choose a machine with more memory",
    )


def memory_need(
    header: Header, on_grid: int, channels: int, classes: int, probabilities: bool
) -> float:
    """Bytes of main memory, roughly.

    Args:
        on_grid: voxels on the model's grid.
        probabilities: whether those of the classes are in main memory, too.
    """
    voxels = math.prod(header.geometry.size)
    arrays = CHANNEL_ARRAYS * channels + CLASS_ARRAYS * classes * probabilities
    return (
        STORED_COPIES * header.stored_bytes
        + FLOAT * (INPUT_ARRAYS + channels) * voxels
        + FLOAT * arrays * on_grid
    )
