"""Read and check the images with segmentations that a request names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from SFDALib.bundle.source import Source
from SFDALib.errors import RequestError
from SFDALib.jobs.labelled import Labelled
from SFDALib.jobs.memory_need import refuse_too_large
from SFDALib.training.manifest import Case, Entry, read_case
from SFDALib.volume.image_file import ImageFile
from SFDALib.volume.reading import Reading


def read_cases(labelled: Sequence[Labelled], reading: Reading, model: Source) -> tuple[Case, ...]:
    """Each image and its segmentation on the model's grid.

    Raises:
        RequestError: labels on another grid than their image, label values that the
            model does not have, or background alone.
        OutOfMemoryError: an image is too large for the memory.
    """
    cases = []
    for one in labelled:
        paths = tuple(map(Path, one.image))
        refuse_too_large(ImageFile(paths, reading), model, judged=False)
        entry = Entry(paths, Path(one.labels), "train")
        case = read_case(entry, model.description.input_spec, model.description.classes, reading)
        if not case.labels.any():
            raise RequestError(
                f"{one.labels}: found background alone, expected a voxel of at least one structure;"
                " leave it out, or correct it"
            )
        cases.append(case)
    return tuple(cases)
