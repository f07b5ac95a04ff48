"""NIfTI-1 files, read without ITK.

ITK's reader repairs damage silently (measured with SimpleITK 2.5): a truncated file is filled
up with 0, a NaN becomes 0, a spacing of 0 becomes 1 mm, and it refuses axes a tenth of a degree off
a right angle. Otherwise both read alike: the sform where its code is 1 (scanner),
else the qform, else the sform, and the voxel size of ``pixdim``.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from SFDALib.errors import RequestError
from SFDALib.volume.geometry import Geometry, IntTriple, float_triple, int_triple, right_angled
from SFDALib.volume.nifti_header import BLOCK, NiftiHeader, Stream, read_header
from SFDALib.volume.opened_file import OpenedFile, Voxels
from SFDALib.volume.reading import Reading
from SFDALib.volume.refusals import check_promise, check_spacing, stated_spacing

SCANNER = 1  # code of a transform to the scanner's coordinates
SAME_SIZE = 0.01  # share by which the voxel sizes of pixdim and sform may differ
SAME_PLACE = 0.5  # of a voxel, by which qform and sform may differ without a note
GZIP = b"\x1f\x8b"
LPS = np.array([[-1.0], [-1.0], [1.0]])  # signs of its rows: NIfTI's coordinates are RAS


def open_nifti(path: Path, reading: Reading) -> OpenedFile:
    """Read the header of a NIfTI-1 file, compressed or not.

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
    """The file, decompressed if its content is gzip, whatever its name; and notes."""
    with open(path, "rb") as stream:
        deflated = stream.read(2) == GZIP
    notes = []
    if not deflated and path.name.lower().endswith(".gz"):
        notes = [f"{path.name} is not compressed, as its name says; it was read all the same."]
    return gzip.open(path, "rb") if deflated else open(path, "rb"), notes


@contextmanager
def _damaged_as_refusal(path: Path) -> Iterator[None]:
    """Turn errors of a damaged gzip stream into a ``RequestError``."""
    try:
        yield
    except PermissionError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        raise RequestError(
            f"{path}: found a damaged or truncated file ({error}), expected a whole NIfTI; copy or"
            " export it again"
        ) from error


def _geometry(path: Path, header: NiftiHeader, reading: Reading) -> tuple[Geometry, list[str]]:
    """The grid by ``pixdim`` and the transform that applies, with notes."""
    notes: list[str] = []
    size = int_triple((*header.size, 1, 1)[:3])
    spacing = np.array(header.spacing) * header.unit
    if reading.spacing is not None and (spacing == 0).any():
        stated, note = stated_spacing(path, reading, "found a voxel spacing of 0 (pixdim)")
        spacing = np.array(stated)
        notes.append(note)
    check_spacing(path, spacing.tolist())
    forms = {"sform": (header.sform_code, header.sform), "qform": (header.qform_code, header.qform)}
    first = "sform" if header.sform_code == SCANNER else "qform"
    order = [first, "qform" if first == "sform" else "sform"]
    stated_forms = [name for name in order if forms[name][0] > 0]
    if not stated_forms:
        notes.append(
            f"{path.name} does not say how it lies in the patient (qform and sform codes are 0):"
            " its axes were taken as left, posterior and superior; check left and right."
        )
        return Geometry(size, float_triple(spacing)), notes
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
    grids = {name: on for name, on in found.items() if on is not None}
    geometry, mended = grids[chosen]
    if mended:
        notes.append(f"{path.name}: {mended}")
    apart = max(_apart(geometry, other) for other, _ in grids.values())
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
    size: IntTriple, spacing: np.ndarray, unit: float, form: np.ndarray
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
    view, done = memoryview(data.data), 0
    while done < len(data) and (count := stream.readinto(view[done : done + BLOCK])):
        done += count
    if done < len(data):
        raise RequestError(
            f"{path}: found {done} bytes of voxels, expected {len(data)}; the file is"
            " truncated: copy or export it again"
        )
    notes: tuple[str, ...] = ()
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
