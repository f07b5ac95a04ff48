"""Check the sizes that a DICOM file states against the size of the file.

Measured with SimpleITK 2.5: GDCM allocates the length that an element of the file meta information
(group 0002) states before it compares it with the file, up to 3.5 GiB for a damaged file of 1 KB;
it checks the elements of later groups itself. Missing pixels of an uncompressed file it fills
without a warning.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from SFDALib.errors import RequestError
from SFDALib.machine import main_memory

PREAMBLE, MAGIC = 128, b"DICM"
META_GROUP = 0x0002
TRANSFER_SYNTAX = 0x0010  # element in that group
LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
META_LIMIT = 1 << 16  # bytes of the meta information that are read; it usually has a few hundred
UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
DEFLATED = "1.2.840.10008.1.2.1.99"
GROWTH = 1032  # largest factor by which deflate compresses


def check_meta(path: Path) -> None:
    """Refuse a file whose meta information is longer than the file, or that may not fit the memory
    once it is inflated.

    Raises:
        RequestError: naming the element and what to do.
        OutOfMemoryError: fewer bytes are free than it may need.
    """
    if _transfer_syntax(path) == DEFLATED:  # pydicom inflates the whole file at once
        main_memory.refuse_beyond(
            GROWTH * os.path.getsize(path), f"{path}: inflating it", "export it uncompressed"
        )


def check_pixels(path: Path, bits: int) -> None:
    """Refuse an uncompressed file that is too short for its pixels.

    Args:
        bits: stored bits of all pixels, one channel: colour channels may be subsampled.

    Raises:
        RequestError: naming both sizes and what to do.
    """
    size = os.path.getsize(path)
    if bits > 8 * size and _transfer_syntax(path) in UNCOMPRESSED:
        raise RequestError(
            f"{path}: found {size} bytes for {bits // 8} bytes of pixels, expected all of them; the"
            " file is truncated or damaged: export it again"
        )


def _transfer_syntax(path: Path) -> str | None:
    """The UID of the file's encoding; None where its meta information does not state it."""
    size = os.path.getsize(path)
    with open(path, "rb") as stream:
        data = stream.read(META_LIMIT)
    at = PREAMBLE + len(MAGIC) if data[PREAMBLE : PREAMBLE + len(MAGIC)] == MAGIC else 0
    found = None
    while at + 12 <= len(data):
        group, element, kind, length = struct.unpack_from("<HH2sH", data, at)
        if group != META_GROUP:
            break
        at += 8
        if kind in LONG:
            (length,) = struct.unpack_from("<I", data, at)
            at += 4
        if at + length > size:
            raise RequestError(
                f"{path}: found {length} bytes stated for the element ({group:04x},{element:04x})"
                f" in a file of {size}, expected no more than that; it is damaged: export it again"
            )
        if element == TRANSFER_SYNTAX:
            found = data[at : at + length].decode("ascii", "replace").rstrip("\0 ")
        at += length
    return found
