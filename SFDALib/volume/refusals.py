"""Checks that all readers of images share, and their error messages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import SimpleITK as sitk

from SFDALib.errors import RequestError
from SFDALib.machine import main_memory
from SFDALib.volume.formats import FORMATS
from SFDALib.volume.reading import Reading

GROWTH = 1032  # bytes that a byte of a deflated stream can become
COPIES = 3  # of the voxels in memory while they are read
LARGEST_MM = 1e9  # of a spacing or an origin
NO_SPACING = (1.0, 1.0, 1.0)  # of pictures, whose pixels have no size

# ITK's warnings carry addresses and come before the one line that says what is wrong
sitk.ProcessObject.SetGlobalWarningDisplay(False)


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """Turn errors of the system and of ITK about a file into a ``RequestError``."""
    try:
        yield
    except PermissionError as error:
        raise RequestError(f"{path}: no permission to read it; ask its owner") from error
    except RuntimeError as error:
        raise RequestError(
            f"{path}: found a file that cannot be read ({_reason(error)}), expected {FORMATS};"
            " it may be damaged or not what its name says: export it again"
        ) from error


def _reason(error: RuntimeError) -> str:
    """The most informative line of ITK's message, without class names and addresses."""
    lines = [line.strip() for line in str(error).split("ERROR:", 1)[-1].splitlines()]
    lines = [line for line in lines if line] or ["unknown reason"]
    line = lines[-1] if lines[-1].startswith("[nrrd]") else lines[0]
    return re.sub(r"^\w+\(0x[0-9a-f]+\): ", "", line)[:160]


def check_promise(path: Path, promised: int, size: int) -> None:
    """Refuse a header that states more voxels than its files can hold, or than fit into memory.

    Args:
        promised: bytes of the voxels by the header.
        size: bytes of the files.
    """
    if promised > GROWTH * size:
        raise RequestError(
            f"{path}: found a header of {promised} bytes of voxels in {size} bytes, expected all of"
            " them; it may be damaged or not what its name says: export it again"
        )
    main_memory.refuse_beyond(
        COPIES * promised, f"{path}: reading it", "crop or resample it, or close other programs"
    )


def check_spacing(path: Path, spacing: Sequence[float]) -> None:
    """Refuse a spacing that is not positive, or beyond what an image can have."""
    if not all(1 / LARGEST_MM <= mm <= LARGEST_MM for mm in spacing):
        found = " x ".join(f"{mm:g}" for mm in spacing)
        raise RequestError(
            f"{path}: found a voxel spacing of {found} mm, expected positive numbers; correct the"
            " image's header"
        )


def stated_spacing(
    path: Path, reading: Reading, found: str, picture: bool = False
) -> tuple[tuple[float, float, float], str]:
    """The spacing that the user states for a file that has none.

    Args:
        found: what the file has instead, for the message.
        picture: whether it is a 2D picture; its spacing is 1 mm if the user states none.

    Returns:
        mm along I, J, K, and a note.

    Raises:
        RequestError: a volume for which the user states none.
    """
    if reading.spacing is not None:
        by = " x ".join(f"{mm:g}" for mm in reading.spacing)
        return reading.spacing, f"{path.name}: {found}; voxels of {by} mm were taken, as stated."
    if picture:
        return NO_SPACING, (
            f"{path.name}: {found}; pixels count as 1 mm wide and 1 mm thick, so that volumes in ml"
            " and distances in mm have no meaning (--spacing states the size)."
        )
    raise RequestError(
        f"{path}: {found}, expected the spacing of its voxels in mm; correct the file, or state it"
        " with --spacing I J K"
    )


def refuse_values(path: Path, count: int) -> NoReturn:
    """Refuse an image with ``count`` voxels that are NaN or infinite."""
    raise RequestError(
        f"{path}: found {count} voxel(s) that are NaN or infinite, expected finite intensities;"
        " replace them (for example by 0) and try again"
    )
