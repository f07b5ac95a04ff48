"""The main memory that an image will need, computed from its header before it is read."""

from __future__ import annotations

import math

from SFDALib.bundle.source import Source
from SFDALib.machine import main_memory
from SFDALib.volume.conform import shape_on
from SFDALib.volume.image_file import Header, ImageFile

FLOAT = 4  # bytes
# Arrays in memory at the peak, measured by Testing/Benchmarks/memory.py: copies of the stored
# voxels; float arrays on the input's grid (maps and labels); float arrays on the model's grid for
# each channel and each class, more for a class if the judge compares the result with the source's.
STORED_COPIES = 2
DELIVERED_COPIES = 2  # bytes of a voxel and class on the input's grid: array and file
INPUT_ARRAYS = 3
CHANNEL_ARRAYS = 2
CLASS_ARRAYS = 1
JUDGED_ARRAYS = 8


def refuse_too_large(
    image: ImageFile,
    model: Source,
    judged: bool,
    delivered: bool = False,
) -> None:
    """Refuse an image that the memory cannot hold, before it is read.

    Args:
        image: the files, of which only the header is read.
        model: the model that will segment it.
        judged: whether the judge will assess the result.
        delivered: whether the class probabilities are written, too.

    Raises:
        OutOfMemoryError: the need exceeds the free memory; names both.
        RequestError: a file is not an image.
    """
    header = image.header
    grid, classes = model.description.input_spec, model.description.classes
    on_grid = math.prod(shape_on(grid, header.geometry))
    size = "x".join(str(n) for n in header.geometry.size)
    need = memory_need(header, on_grid, grid.channels, classes, judged, model.device.type == "cpu")
    if delivered:
        need += DELIVERED_COPIES * classes * math.prod(header.geometry.size)
    main_memory.refuse_beyond(
        need,
        f"{image.paths[0]}: an image of {size} voxels, {on_grid:.3g} of them on the model's grid,",
        "crop or resample it, close other programs, or choose a machine with more memory",
    )


def memory_need(
    header: Header, on_grid: int, channels: int, classes: int, judged: bool, probabilities: bool
) -> float:
    """The approximate need of main memory in bytes.

    Args:
        header: of the image.
        channels, classes: of the model.
        on_grid: voxels on the model's grid.
        judged: as for ``refuse_too_large``.
        probabilities: whether the class probabilities are in main memory (not on a GPU).
    """
    voxels = math.prod(header.geometry.size)
    of_a_class = JUDGED_ARRAYS if judged else CLASS_ARRAYS
    arrays = CHANNEL_ARRAYS * channels + of_a_class * classes * probabilities
    return (
        STORED_COPIES * header.stored_bytes
        + FLOAT * (INPUT_ARRAYS + channels) * voxels
        + FLOAT * arrays * on_grid
    )
