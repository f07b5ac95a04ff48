"""PNG and JPEG, read by ITK. Pixels have no size in mm: a resolution in dots per inch is that of
a print.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from SFDALib.errors import RequestError
from SFDALib.volume import itk
from SFDALib.volume.formats import JPEG, PNG
from SFDALib.volume.geometry import Geometry
from SFDALib.volume.opened_file import OpenedFile, Voxels
from SFDALib.volume.reading import Reading
from SFDALib.volume.refusals import check_promise, refusals, stated_spacing

READERS = {**dict.fromkeys(JPEG, "JPEGImageIO"), **dict.fromkeys(PNG, "PNGImageIO")}
EXIF_ORIENTATION, UPRIGHT = 0x0112, (None, 1)
PNG_START = b"\x89PNG\r\n\x1a\n"
GREY, PALETTE, GREY_AND_ALPHA = 0, 3, 4  # of the types of PNG's colours
HEAD = 1 << 16  # bytes before a PNG's pixels, as a rule
TYPE_AT, DEPTH_AT = 25, 24  # bytes of a PNG where they stand


def open_picture(path: Path, reading: Reading, labels: bool = False) -> OpenedFile:
    """Read the header of a picture.

    Args:
        labels: whether it is a label map: a palette's indices are read, not its colours.

    Raises:
        RequestError: damaged or truncated.
    """
    kind, depth = _png(path)
    by_pillow = kind == GREY_AND_ALPHA or (kind == PALETTE and labels)
    if kind == GREY_AND_ALPHA and depth == 16:
        raise RequestError(
            f"{path}: found 16-bit grey with an alpha channel, expected grey alone; export it"
            " without alpha"
        )
    if by_pillow:
        with refusals(path), _pillow(path) as image:
            size, promised = image.size, 2 * image.size[0] * image.size[1]
    else:
        with refusals(path):
            reader = itk.opened(path, READERS[path.suffix.lower()])
            size, promised = reader.GetSize()[:2], itk.voxel_bytes(reader)
    spacing, note = stated_spacing(path, reading, "a picture's pixels have no size", picture=True)
    notes = [note]
    turn, colours = _metadata(path)
    if colours == "CMYK":
        raise RequestError(
            f"{path}: found a picture in the colours of a print (CMYK), expected grey or RGB;"
            " convert it"
        )
    if turn not in UPRIGHT:
        notes.append(
            f"{path.name}: its EXIF orientation ({turn}) says that it is to be shown turned or"
            " mirrored; the pixels were taken as they are stored."
        )

    def read() -> Voxels:
        _check_end(path)
        check_promise(path, promised, path.stat().st_size)
        with refusals(path):
            if by_pillow:
                with _pillow(path) as image:
                    grey = image if kind == PALETTE else image.convert("LA").getchannel(0)
                    return np.array(grey)[None, None], ()
            array = itk.channels_first(reader.Execute(), path)
        return (array[:3] if len(array) == 4 else array), ()  # an alpha channel is no intensity

    return OpenedFile(path, (path,), Geometry((*size, 1), spacing), promised, tuple(notes), read)


def _png(path: Path) -> tuple[int | None, int | None]:
    """The type of a PNG's colours, and bits of each; None of another file."""
    with open(path, "rb") as stream:
        start = stream.read(HEAD)
    if len(start) <= TYPE_AT or not start.startswith(PNG_START):
        return None, None
    kind, depth = start[TYPE_AT], start[DEPTH_AT]
    if kind == GREY and b"tRNS" in start.partition(b"IDAT")[0]:  # one grey is transparent
        kind = GREY_AND_ALPHA
    return kind, depth


@contextmanager
def _pillow(path: Path) -> Iterator[Image.Image]:
    """A PNG opened by Pillow; its errors are raised as RuntimeError, as ITK's are."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            yield image
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise RuntimeError(str(error)) from error


def _metadata(path: Path) -> tuple[int | None, str | None]:
    """The EXIF orientation, and Pillow's colour mode."""
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            return image.getexif().get(EXIF_ORIENTATION), image.mode
    except Exception:  # damaged metadata; the pixels have their own check
        return None, None


def _check_end(path: Path) -> None:
    """Refuse a truncated JPEG; ITK silently fills it up with grey."""
    if path.suffix.lower() in JPEG:
        data = path.read_bytes()
        if data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):  # no end after the last scan
            raise RequestError(
                f"{path}: found a truncated JPEG, expected a whole file; copy or export it again"
            )
