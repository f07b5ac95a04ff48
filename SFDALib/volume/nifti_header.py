"""The header of a NIfTI-1 file (https://nifti.nimh.nih.gov/nifti-1)."""

from __future__ import annotations

import gzip
import math
import struct
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from SFDALib.errors import RequestError
from SFDALib.volume import itk
from SFDALib.volume.geometry import float_triple

HEADER = 348  # bytes
BLOCK = 1 << 22
TYPES = {
    **{2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"},
    **{1024: "i8", 1280: "u8"},
}  # by data type code
COLOURS = {128: 3, 2304: 4}  # components of a byte
Stream = gzip.GzipFile | BufferedReader
OTHERS = (32, 1536, 1792, 2048)  # of the standard: complex numbers, and 16-byte floats
COMPLEX = (32, 1792, 2048)
UNITS = {1: 1000.0, 2: 1.0, 3: 0.001}  # mm of metres, mm, micrometres; 0 says nothing


@dataclass(frozen=True)
class NiftiHeader:
    """The fields of a NIfTI-1 header that are used.

    Args:
        order: of bytes, "<" or ">".
        size: of all dimensions, without those of 1 at the end beyond the third.
        code: of the data type.
        offset: of the voxels in the file.
        spacing: ``pixdim`` of three dimensions in its unit.
        unit: mm.
        slope, intercept: of the values; a slope of 0 is none.
        qform, sform: 3x4, directions of the axes and origin in RAS, and their codes.
    """

    order: str
    size: tuple[int, ...]
    code: int
    offset: int
    spacing: tuple[float, float, float]
    unit: float
    slope: float
    intercept: float
    qform: np.ndarray
    qform_code: int
    sform: np.ndarray
    sform_code: int

    @property
    def components(self) -> int:
        """Values of a voxel: 3 or 4 of a colour, else 1."""
        return COLOURS.get(self.code, 1)

    @property
    def dtype(self) -> np.dtype:
        """The type of a value, in the byte order of the file."""
        return np.dtype(self.order + TYPES.get(self.code, "u1"))

    @property
    def bytes(self) -> int:
        """Bytes of all voxels, decompressed."""
        return math.prod(self.size) * self.components * self.dtype.itemsize


def read_header(path: Path, stream: Stream) -> NiftiHeader:
    """Read the header at the beginning of a stream.

    Raises:
        RequestError: no NIfTI-1 header, or one whose voxels cannot be read.
    """
    data = stream.read(HEADER)
    order = "<" if data[:4] == struct.pack("<i", HEADER) else ">"
    if len(data) < HEADER or data[:4] != struct.pack(order + "i", HEADER):
        raise RequestError(
            f"{path}: found no NIfTI-1 header, expected one of {HEADER} bytes; it is another kind"
            " of file or is damaged: export it again"
        )

    def unpack(kind: str, at: int) -> tuple[Any, ...]:
        return struct.unpack_from(order + kind, data, at)

    dimensions, (code,) = unpack("8h", 40), unpack("h", 70)
    size = dimensions[1 : 1 + dimensions[0]]
    known = code in TYPES or code in COLOURS or code in OTHERS
    if not 1 <= dimensions[0] <= 7 or min(size) < 1 or not known:
        raise RequestError(
            f"{path}: found a NIfTI header of size {'x'.join(map(str, size)) or 'nothing'} and data"
            f" type {code}, expected positive sizes and a type of the standard; export it again"
        )
    if data[344:348] != b"n+1\0":
        raise RequestError(
            f"{path}: found a NIfTI header whose voxels lie in another file, expected them in this"
            " one; export it as a single file"
        )
    (offset,) = unpack("f", 108)
    if not 0 <= offset <= BLOCK:
        raise RequestError(
            f"{path}: found a NIfTI header that puts the voxels at byte {offset:g}, expected them"
            f" within {BLOCK}; export it again"
        )
    size = _readable_size(path, size, code)
    pixdim = unpack("8f", 76)
    qform_code, sform_code = unpack("2h", 252)
    slope, intercept = unpack("2f", 112)
    scaled = math.isfinite(slope) and math.isfinite(intercept) and slope != 0
    return NiftiHeader(
        order=order,
        size=size,
        code=code,
        offset=max(int(offset), HEADER),
        spacing=float_triple((*pixdim[1 : 1 + min(3, len(size))], 1.0)[:3]),
        unit=UNITS.get(data[123] & 7, 1.0),
        slope=slope if scaled else 1.0,
        intercept=intercept if scaled else 0.0,
        qform=_qform(unpack("6f", 256), pixdim[0]),
        qform_code=qform_code,
        sform=np.array(unpack("12f", 280)).reshape(3, 4),
        sform_code=sform_code,
    )


def _readable_size(path: Path, size: tuple[int, ...], code: int) -> tuple[int, ...]:
    """The size without dimensions of 1 at its end, beyond the third.

    Raises:
        RequestError: voxels of this data type or of so many dimensions cannot be read.
    """
    if code in COMPLEX:
        itk.refuse_complex(path)
    if code in OTHERS:
        raise RequestError(
            f"{path}: found floats of 16 bytes, expected 4 or 8; save the image as 32-bit floats"
        )
    while len(size) > 3 and size[-1] == 1:
        size = size[:-1]
    vectors = len(size) == 5 and size[3] == 1
    coloured = code in COLOURS and len(size) > 3
    if (not 2 <= len(size) <= 4 and not vectors) or coloured:
        raise RequestError(
            f"{path}: found an image of {len(size)} dimensions, expected 2 or 3, or a fourth one"
            " for the channels; split it"
        )
    return size


def _qform(values: tuple[float, ...], sign: float) -> np.ndarray:
    """Unit vectors and origin (3x4) of the quaternion (b, c, d) and the offset, as the standard has
    them; ``sign`` (of ``pixdim[0]``) says whether the third one is reversed.
    """
    b, c, d = (float(x) for x in values[:3])
    square = 1.0 - (b * b + c * c + d * d)
    if square < 1e-7:  # half a turn; rounding may have made it more
        norm = math.sqrt(b * b + c * c + d * d) or 1.0
        a, b, c, d = 0.0, b / norm, c / norm, d / norm
    else:
        a = math.sqrt(square)
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    rotation[:, 2] *= -1 if sign < 0 else 1
    return np.column_stack([rotation, values[3:6]])
