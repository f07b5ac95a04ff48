"""What the importers share. Standard library alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from SFDALib.bundle.bundle_files import WEIGHTS_LIMIT
from SFDALib.bundle.description import Description, Label
from SFDALib.bundle.metadata import from_json, to_json
from SFDALib.errors import RequestError

COLOURS = (
    *((128, 174, 128), (241, 214, 145), (177, 122, 101), (111, 184, 210), (216, 101, 79)),
    *((221, 130, 101), (144, 238, 144), (192, 104, 88), (220, 245, 20), (78, 63, 0)),
    *((255, 250, 220), (230, 220, 70), (200, 200, 235), (250, 250, 210), (244, 214, 49)),
)


def labels(names: Iterable[str]) -> tuple[Label, ...]:
    """Labels 1, 2, 3, ... of these names; the first 15 have different colours."""
    return tuple(
        Label(value, name, COLOURS[(value - 1) % len(COLOURS)])
        for value, name in enumerate(names, start=1)
    )


def checked(description: Description, source: str) -> Description:
    """The description, checked as that of any bundle is.

    Args:
        source: the imported file or folder, for errors.

    Raises:
        RequestError: the description is not usable.
    """
    if not description.labels:
        raise RequestError(
            f"{source}: found no label, expected at least one beside the background; choose a model"
            " for"
            " segmentation"
        )
    try:
        return from_json(*(json.loads(json.dumps(part)) for part in to_json(description)))
    except RequestError as error:
        raise RequestError(
            f"{source}: found a model that cannot become a bundle ({error}), expected one for"
            " segmentation; choose another model"
        ) from error


def last_name(path: Path) -> str:
    """The name of a folder or file, also where the path ends with a dot."""
    return os.path.basename(os.path.abspath(path))


def read_bytes(path: Path, limit: int = WEIGHTS_LIMIT) -> bytes:
    """The content of a file.

    Raises:
        RequestError: there is no such file, or it is larger than ``limit`` bytes.
    """
    try:
        if path.stat().st_size > limit:
            raise RequestError(
                f"{path}: found {path.stat().st_size} bytes, expected at most {limit}; choose the"
                " file of the weights"
            )
        return path.read_bytes()
    except OSError as error:
        raise RequestError(f"{path}: cannot be read ({error.strerror}); check the path") from error
