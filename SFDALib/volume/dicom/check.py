"""Check the sizes that a DICOM file states against the size of the file.

Measured with SimpleITK 2.5: GDCM takes as many bytes as an element of the file meta information
(group 0002) claims to have, 3.5 GiB for a wrong one in a file of a kilobyte, before it sees that
they are not there; elements further on it checks itself. Where pixels are missing from a file that
is not compressed, it fills them up without a word.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from SFDALib.errors import RequestError
from SFDALib.machine import main_memory

PREAMBLE, MAGIC = 128, b"DICM"
META_GROUP = 0x0002
TRANSFER_SYNTAX = 0x0010  # its element of that group
LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
META_LIMIT = 1 << 16  # bytes of the meta information; a few hundred as a rule
UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
DEFLATED = "1.2.840.10008.1.2.1.99"
GROWTH = 1032  # bytes that a byte of a deflated stream can become


def check_meta(path: Path) -> None:
    """Refuse meta information that claims more than the file has.

    Raises:
        RequestError: which element, and what to do.
    """
    if _transfer_syntax(path) == DEFLATED:  # all of it is inflated at once
        main_memory.refuse_beyond(
            GROWTH * os.path.getsize(path), f"{path}: inflating it", "export it uncompressed"
        )


def check_pixels(path: Path, bits: int) -> None:
    """Refuse a file without compression that cannot hold its pixels.

    Args:
        bits: of all pixels; not of the samples of a colour, which may share their bytes.

    Raises:
        RequestError: what is missing, and what to do.
    """
    size = os.path.getsize(path)
    if bits > 8 * size and _transfer_syntax(path) in UNCOMPRESSED:
        raise RequestError(
            f"{path}: found {size} bytes for {bits // 8} bytes of pixels, expected all of them; the"
            " file is truncated or damaged: export it again"
        )


def _transfer_syntax(path: Path) -> str | None:
    """How the file is encoded; None where it has no meta information that says so."""
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
                f"{path}: found {length} bytes claimed by the element ({group:04x},{element:04x})"
                f" of a file of {size}, expected them in it; it is damaged: export it again"
            )
        if element == TRANSFER_SYNTAX:
            found = data[at : at + length].decode("ascii", "replace").rstrip("\0 ")
        at += length
    return found
