"""What the importers share. Standard library alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from SFDALib.bundle.bundle_files import WEIGHTS_LIMIT
from SFDALib.bundle.description import Description, Label, from_json, to_json
from SFDALib.errors import RequestError

COLOURS = (
    *((128, 174, 128), (241, 214, 145), (177, 122, 101), (111, 184, 210), (216, 101, 79)),
    *((221, 130, 101), (144, 238, 144), (192, 104, 88), (220, 245, 20), (78, 63, 0)),
    *((255, 250, 220), (230, 220, 70), (200, 200, 235), (250, 250, 210), (244, 214, 49)),
)


def labels(names: Iterable[str]) -> tuple[Label, ...]:
    """Labels 1, 2, 3, ... of these names, each with a colour of its own."""
    return tuple(
        Label(value, name, COLOURS[(value - 1) % len(COLOURS)])
        for value, name in enumerate(names, start=1)
    )


def checked(description: Description, source: str) -> Description:
    """The description, held against what that of any bundle must be.

    Args:
        source: what is imported, for errors.

    Raises:
        RequestError: it is not so.
    """
    if not description.labels:
        raise RequestError(f"{source}: found no label, expected at least one beside background")
    try:
        return from_json(*(json.loads(json.dumps(part)) for part in to_json(description)))
    except RequestError as error:
        raise RequestError(
            f"{source}: gives no usable bundle, as {error}; is the model of another kind?"
        ) from error


def last_name(path: Path) -> str:
    """The name of a folder or file, also where the path ends with a dot."""
    return os.path.basename(os.path.abspath(path))


def read_bytes(path: Path, limit: int = WEIGHTS_LIMIT) -> bytes:
    """A file's content.

    Raises:
        RequestError: there is no such file, or it is larger than ``limit`` bytes.
    """
    try:
        if path.stat().st_size > limit:
            raise RequestError(
                f"{path}: found {path.stat().st_size} bytes, expected at most {limit}"
            )
        return path.read_bytes()
    except OSError as error:
        raise RequestError(f"{path}: cannot be read ({error.strerror}); check the path") from error
