"""NIfTI-1 files: the header and the voxels, read here.

ITK's reader mends too much without a word (measured with SimpleITK 2.5): a truncated file is filled
up with 0, a NaN becomes 0, a spacing of 0 becomes 1 mm, and it refuses axes a tenth of a degree off
a right angle. What it reads otherwise, this reads alike: the sform where its code is 1 (scanner),
else the qform, else the sform, and the voxel size of ``pixdim``.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import numpy as np

from SFDALib.errors import RequestError
from SFDALib.volume import itk
from SFDALib.volume.geometry import Geometry, right_angled
from SFDALib.volume.opened_file import OpenedFile, Voxels
from SFDALib.volume.reading import Reading
from SFDALib.volume.refusals import check_promise, check_spacing, stated_spacing

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
SCANNER = 1  # code of a transform to the scanner's coordinates
SAME_SIZE = 0.01  # share by which the voxel sizes of pixdim and sform may differ
SAME_PLACE = 0.5  # of a voxel, by which qform and sform may differ without a note
GZIP = b"\x1f\x8b"
LPS = np.array([[-1.0], [-1.0], [1.0]])  # signs of its rows: NIfTI's coordinates are RAS


@dataclass(frozen=True)
class NiftiHeader:
    """What the header of a NIfTI says.

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
        return COLOURS.get(self.code, 1)

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.order + TYPES.get(self.code, "u1"))

    @property
    def bytes(self) -> int:
        return math.prod(self.size) * self.components * self.dtype.itemsize


def open_nifti(path: Path, reading: Reading) -> OpenedFile:
    """Read the header, and say how the voxels are read.

    Raises:
        RequestError: damaged, truncated, or without usable spacing.
    """
    stream, notes = _stream(path)
    with _damaged_as_refusal(path), stream:
        header = read_header(path, stream)
    geometry, more = _geometry(path, header, reading)

    def read() -> Voxels:
        check_promise(path, header.bytes, path.stat().st_size)
        stream, _ = _stream(path)
        with _damaged_as_refusal(path), stream:
            return _voxels(path, header, stream)

    return OpenedFile(path, (path,), geometry, header.bytes, (*notes, *more), read)


def _stream(path: Path) -> tuple[Stream, list[str]]:
    """The file, inflated where it is deflated, whatever its name says of it."""
    with open(path, "rb") as stream:
        deflated = stream.read(2) == GZIP
    notes = []
    if not deflated and path.name.lower().endswith(".gz"):
        notes = [f"{path.name} is not compressed, as its name says; it was read all the same."]
    return gzip.open(path, "rb") if deflated else open(path, "rb"), notes


@contextmanager
def _damaged_as_refusal(path: Path) -> Iterator[None]:
    """What a damaged gzip stream raises becomes a refusal."""
    try:
        yield
    except PermissionError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        raise RequestError(
            f"{path}: found a damaged or truncated file ({error}), expected a whole NIfTI; copy or"
            " export it again"
        ) from error


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

    def unpack(kind: str, at: int) -> tuple[float, ...]:
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
    pixdim = unpack("8f", 76)
    qform_code, sform_code = unpack("2h", 252)
    slope, intercept = unpack("2f", 112)
    scaled = math.isfinite(slope) and math.isfinite(intercept) and slope != 0
    return NiftiHeader(
        order=order,
        size=size,
        code=code,
        offset=max(int(offset), HEADER),
        spacing=(*pixdim[1 : 1 + min(3, len(size))], 1.0)[:3],
        unit=UNITS.get(data[123] & 7, 1.0),
        slope=slope if scaled else 1.0,
        intercept=intercept if scaled else 0.0,
        qform=_qform(unpack("6f", 256), pixdim[0]),
        qform_code=qform_code,
        sform=np.array(unpack("12f", 280)).reshape(3, 4),
        sform_code=sform_code,
    )


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


def _geometry(path: Path, header: NiftiHeader, reading: Reading) -> tuple[Geometry, list[str]]:
    """The grid by ``pixdim`` and the transform that counts, with notes."""
    notes: list[str] = []
    size = (*header.size, 1, 1)[:3]
    spacing = np.array(header.spacing) * header.unit
    if reading.spacing is not None and (spacing == 0).any():
        stated, note = stated_spacing(path, reading, "found a voxel spacing of 0 (pixdim)")
        spacing = np.array(stated)
        notes.append(note)
    check_spacing(path, spacing)
    forms = {"sform": (header.sform_code, header.sform), "qform": (header.qform_code, header.qform)}
    first = "sform" if header.sform_code == SCANNER else "qform"
    order = [first, "qform" if first == "sform" else "sform"]
    stated_forms = [name for name in order if forms[name][0] > 0]
    if not stated_forms:
        notes.append(
            f"{path.name} does not say how it lies in the patient (qform and sform codes are 0):"
            " its axes were taken as left, posterior and superior; check left and right."
        )
        return Geometry(size, tuple(float(mm) for mm in spacing)), notes
    found = {name: _on(size, spacing, header.unit, forms[name][1]) for name in stated_forms}
    chosen = next((name for name in stated_forms if found[name] is not None), None)
    if chosen is None:
        raise RequestError(
            f"{path}: found axes that are not at right angles (skewed or of no length), expected an"
            " orthonormal sform or qform; resample the image to a grid at right angles"
        )
    if chosen == "sform":
        norms = header.unit * np.linalg.norm(header.sform[:, :3], axis=0)
        words = _contradiction(spacing, norms, len(header.size))
        if words is not None:
            stated, note = stated_spacing(path, reading, words)
            notes.append(note)
            found[chosen] = _on(size, np.array(stated), header.unit, header.sform)
    geometry, note = found[chosen]
    if note:
        notes.append(f"{path.name}: {note}")
    apart = max((_apart(geometry, other[0]) for other in found.values() if other), default=0)
    if apart > SAME_PLACE * min(geometry.spacing):
        notes.append(
            f"{path.name}: its qform and sform put voxels up to {apart:.3g} mm apart; the"
            f" {chosen} was taken."
        )
    return geometry, notes


def _contradiction(pixdim: np.ndarray, sform: np.ndarray, dimensions: int) -> str | None:
    """Where the voxel sizes of ``pixdim`` and the sform differ, the words for it."""
    if (np.abs(sform / pixdim - 1)[:dimensions] <= SAME_SIZE).all():
        return None
    sizes = (" x ".join(f"{mm:.4g}" for mm in size) for size in (pixdim, sform))
    return "found voxels of {} mm by pixdim and {} mm by the sform".format(*sizes)


def _on(
    size: tuple[int, int, int], spacing: np.ndarray, unit: float, form: np.ndarray
) -> tuple[Geometry, str | None] | None:
    """The grid of a transform, whose columns have the lengths of ``spacing``."""
    norms = np.linalg.norm(form[:, :3], axis=0)
    if not np.isfinite(form).all() or not (norms > 0).all():
        return None
    return right_angled(size, LPS * (form[:, :3] / norms) * spacing, unit * LPS[:, 0] * form[:, 3])


def _apart(first: Geometry, other: Geometry) -> float:
    """mm between the corners of two grids, at most."""
    return max(
        float(np.linalg.norm(first.to_lps(corner) - other.to_lps(corner)))
        for corner in first.corners()
    )


def _voxels(path: Path, header: NiftiHeader, stream: Stream) -> tuple[np.ndarray, tuple[str, ...]]:
    """The voxels ``(C, K, J, I)``, scaled; a gzip stream is read to its check sum."""
    stream.seek(header.offset)
    data = np.empty(header.bytes, np.uint8)
    view, done = memoryview(data), 0
    while done < len(data) and (count := stream.readinto(view[done : done + BLOCK])):
        done += count
    if done < len(data):
        raise RequestError(
            f"{path}: found {done} bytes of voxels, expected {len(data)}; the file is"
            " truncated: copy or export it again"
        )
    notes = ()
    try:
        rest = stream.read(BLOCK)
    except gzip.BadGzipFile as error:
        if not str(error).startswith("Not a gzipped file"):
            raise
        rest, notes = b"", (f"{path.name}: bytes after its gzip stream were left out.",)
    if len(rest) == BLOCK:
        raise RequestError(
            f"{path}: found more than {BLOCK} bytes after the voxels, expected none; it may be"
            " damaged: export it again"
        )
    array = data.view(header.dtype).astype(header.dtype.newbyteorder("="), copy=False)
    array = array.reshape(*header.size[::-1], header.components)
    array = array[..., 0] if header.components == 1 else np.moveaxis(array, -1, 0)
    if header.slope != 1 or header.intercept != 0:
        array = array.astype(np.float32 if header.dtype.itemsize <= 2 else np.float64)
        array *= header.slope
        array += header.intercept
    return array.reshape(-1, *(1, *header.size[:3][::-1])[-3:]), notes
