"""Refuse what ITK would mend without a word, by looking at the file itself.

The text headers of NRRD and MetaImage are ``headers``' own matter.

Measured with SimpleITK 2.5: a truncated NIfTI or JPEG is filled up (with 0, with grey), a NaN in a
NIfTI becomes 0, a spacing of 0 in a NIfTI 1 mm, an unknown one in a NRRD 1 mm, and a negative one
flips the axis.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NoReturn

import numpy as np

from SFDALib import ram
from SFDALib.errors import RequestError
from SFDALib.volume import headers

BLOCK = 1 << 22
NIFTI_BYTES = {2: 1, 4: 2, 8: 4, 16: 4, 32: 8, 64: 8, 128: 3, 256: 1, 512: 2, 768: 4}
NIFTI_BYTES |= {1024: 8, 1280: 8, 1536: 16, 1792: 16, 2048: 32, 2304: 4}  # by data type code
NIFTI_FLOATS = {16: "f4", 64: "f8"}
SPATIAL = ("domain", "space")  # kinds of NRRD axes that have a spacing in mm


def check(path: Path, voxels: bool = True) -> None:
    """Check a file by the format that its name says.

    Args:
        voxels: not the header alone.

    Raises:
        RequestError: truncated, damaged, not finite, or without usable spacing.
    """
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        opener = gzip.open if name.endswith(".gz") else open
        try:
            with opener(path, "rb") as stream:
                _check_nifti(path, stream, voxels)
        except (OSError, EOFError, zlib.error) as error:
            raise RequestError(
                f"{path}: found a damaged or truncated file ({error}), expected a whole NIfTI;"
                " copy or export it again"
            ) from error
    elif name.endswith((".nrrd", ".nhdr", ".mha", ".mhd")):
        _check_text_header(path)
    elif voxels and name.endswith((".jpg", ".jpeg")):
        data = path.read_bytes()
        if data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):  # no end after the last scan
            raise RequestError(
                f"{path}: found a truncated JPEG, expected a whole file; copy or export it again"
            )


def refuse_spacing(path: Path, spacing: Sequence[float]) -> NoReturn:
    found = " x ".join(f"{mm:g}" for mm in spacing)
    raise RequestError(
        f"{path}: found a voxel spacing of {found} mm, expected positive numbers; correct the"
        " image's header"
    )


def refuse_values(path: Path, count: int) -> NoReturn:
    raise RequestError(
        f"{path}: found {count} voxel(s) that are NaN or infinite, expected finite intensities;"
        " replace them (for example by 0) and try again"
    )


def _check_nifti(path: Path, stream: IO[bytes], voxels: bool) -> None:
    """Header and perhaps voxels of a NIfTI-1 file; a gzip stream is read to its check sum."""
    header = stream.read(348)
    order = "<" if header[:4] == struct.pack("<i", 348) else ">"
    if len(header) < 348 or header[:4] != struct.pack(order + "i", 348):
        raise RequestError(
            f"{path}: found no NIfTI-1 header, expected one of 348 bytes; it is another kind of"
            " file or is damaged: export it again"
        )
    dimensions = struct.unpack(order + "8h", header[40:56])
    (code,) = struct.unpack(order + "h", header[70:72])
    pixdim = struct.unpack(order + "8f", header[76:108])
    (offset,) = struct.unpack(order + "f", header[108:112])
    size = dimensions[1 : 1 + dimensions[0]]
    if not 1 <= dimensions[0] <= 7 or min(size) < 1 or code not in NIFTI_BYTES:
        raise RequestError(
            f"{path}: found a NIfTI header of size {'x'.join(map(str, size)) or 'nothing'} and data"
            f" type {code}, expected positive sizes and a type of the standard; export it again"
        )
    if header[344:348] != b"n+1\0":
        raise RequestError(
            f"{path}: found a NIfTI header whose voxels lie in another file, expected them in this"
            " one; export it as a single file"
        )
    spacing = pixdim[1 : 1 + min(3, len(size))]
    if not all(math.isfinite(mm) and mm > 0 for mm in spacing):
        refuse_spacing(path, spacing)
    if not voxels:
        return
    expected = math.prod(size) * NIFTI_BYTES[code]
    ram.refuse_beyond(expected, f"{path}: reading it", "it may be damaged: export it again")
    if not 0 <= offset <= BLOCK:
        raise RequestError(
            f"{path}: found a NIfTI header that puts the voxels at byte {offset:g}, expected them"
            f" within {BLOCK}; export it again"
        )
    stream.seek(max(int(offset), 348))
    left, bad = expected, 0
    while left and (block := stream.read(min(BLOCK, left))):
        left -= len(block)
        if code in NIFTI_FLOATS and len(block) % 8 == len(block) % NIFTI_BYTES[code] == 0:
            bad += int((~np.isfinite(np.frombuffer(block, order + NIFTI_FLOATS[code]))).sum())
    if left:
        raise RequestError(
            f"{path}: found {expected - left} bytes of voxels, expected {expected}; the file is"
            " truncated: copy or export it again"
        )
    if bad:
        refuse_values(path, bad)
    if len(stream.read(BLOCK)) == BLOCK:
        raise RequestError(
            f"{path}: found more than {BLOCK} bytes after the voxels, expected none; it may be"
            " damaged: export it again"
        )


def _check_text_header(path: Path) -> None:
    """The fields, the data file and the spacings that a NRRD or MetaImage header states."""
    headers.data_file(path)
    fields = headers.read_fields(path)
    kinds = fields.get("kinds", "").split()
    for name in ("spacings", "elementspacing", "elementsize"):
        try:
            spacing = [float(value) for value in fields.get(name, "").split()]
        except ValueError:
            continue  # ITK refuses it
        kinds_here = kinds if len(kinds) == len(spacing) else ["domain"] * len(spacing)
        spatial = [mm for mm, kind in zip(spacing, kinds_here, strict=True) if kind in SPATIAL]
        if not all(math.isfinite(mm) and mm > 0 for mm in spatial):
            refuse_spacing(path, spatial)
