"""An image on disk, opened once: its files, checksums, header and voxels.

The format follows from the ending of the file's name (``formats``). A folder, and a file that
begins like DICOM, is read as DICOM.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from SFDALib.errors import RequestError, check_name
from SFDALib.hashing import sha256
from SFDALib.volume import nifti, nrrd_meta, pictures
from SFDALib.volume.dicom.frames import is_dicom
from SFDALib.volume.dicom.pixels import open_dicom
from SFDALib.volume.formats import DICOM, FORMATS, JPEG, METAIMAGE, NIFTI, NRRD, PNG
from SFDALib.volume.geometry import Geometry, Volume
from SFDALib.volume.opened_file import OpenedFile
from SFDALib.volume.reading import Reading
from SFDALib.volume.refusals import refusals, refuse_values
from SFDALib.volume.regrid import rearranged, resampled

LABEL_ROUNDING = 1e-4  # largest difference of a label from a whole number
LARGEST = float(np.finfo(np.float32).max)  # of an intensity: networks take single precision


@dataclass(frozen=True)
class Header:
    """What is known of an image before its voxels are read.

    Args:
        geometry: its grid.
        stored_bytes: bytes of the voxels of all channels as they are stored.
    """

    geometry: Geometry
    stored_bytes: int


class ImageFile:
    """One image on disk, which may consist of several files.

    Each header is parsed once, when it is first needed; ``header``, ``files``, ``checksums`` and
    ``read`` share it.

    Args:
        paths: a file, a folder with one DICOM series, or several files that are the channels of one
            image.
        reading: what the user states where the files leave it open.

    Raises:
        RequestError: no such file, or it may not be read.
    """

    def __init__(self, paths: Path | Sequence[Path], reading: Reading | None = None) -> None:
        several = [paths] if isinstance(paths, str | Path) else paths
        self.paths = tuple(Path(path) for path in several)
        self.reading = reading or Reading()
        for path in self.paths:
            _check_path(path)

    @cached_property
    def _opened(self) -> tuple[OpenedFile, ...]:
        return tuple(
            open_file(path, self.reading.of_file(index)) for index, path in enumerate(self.paths)
        )

    @property
    def header(self) -> Header:
        """The grid of the first file, and the bytes of all.

        Raises:
            RequestError: a header that is damaged or leaves open what it describes.
        """
        stored_bytes = sum(file.stored_bytes for file in self._opened)
        return Header(self._opened[0].geometry, stored_bytes)

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that hold the image; a DICOM folder counts as one.

        Raises:
            RequestError: as ``header``.
        """
        return tuple(dict.fromkeys(file for opened in self._opened for file in opened.files))

    def checksums(self) -> dict[Path, str]:
        """SHA-256 of each of ``files`` as it is on disk now; of a folder as a whole.

        Called before anything else it covers the headers, too: they are hashed before they are
        parsed.

        Raises:
            RequestError: as ``header``.
            OSError: a file that cannot be read any more.
        """
        sums = {path: sha256(path) for path in self.paths}
        return {file: sums[file] if file in sums else sha256(file) for file in self.files}

    def read(self) -> Volume:
        """Read the voxels of all files as the channels of one volume.

        Raises:
            RequestError: damaged, not finite, constant, without usable spacing, or files that do
                not share one grid.
            OutOfMemoryError: more voxels than fit into the free memory.
        """
        first, *others = self._opened
        volume = first.volume()
        _check_intensities(first.path, volume.array, 0)
        channels, notes = list(volume.array), list(volume.notes)
        for opened in others:
            further = opened.volume()
            _check_intensities(opened.path, further.array, len(channels))
            further = _on_grid_of(volume, further, first.path, opened.path, self.reading)
            channels += list(further.array)
            notes += further.notes
        array = np.stack(channels) if others else volume.array
        return Volume(array, volume.geometry, tuple(dict.fromkeys(notes)))


def read_volume(paths: Path | Sequence[Path], reading: Reading | None = None) -> Volume:
    """Read one image, or several files as the channels of one.

    Raises:
        RequestError: no such file, or as ``ImageFile.read``.
        OutOfMemoryError: more voxels than fit into the free memory.
    """
    return ImageFile(paths, reading).read()


def read_labels(path: Path, reading: Reading | None = None) -> Volume:
    """Read a segmentation ``(1, K, J, I)`` with whole-number labels 0 to 255, as uint8.

    Raises:
        RequestError: unreadable, or with values that are no labels.
    """
    path = Path(path)
    _check_path(path)
    volume = open_file(path, reading or Reading(), labels=True).volume()
    array = volume.array
    whole = np.round(array) if np.isfinite(array).all() else array
    if array.shape[0] != 1 or not (np.abs(array - whole) <= LABEL_ROUNDING).all():
        raise RequestError(
            f"{path}: found {array.shape[0]} channel(s) with values {array.min():g} to"
            f" {array.max():g}, expected one channel of whole-number labels; choose a label map"
        )
    if whole.min() < 0 or whole.max() > 255:
        found = whole.min() if whole.min() < 0 else whole.max()
        raise RequestError(
            f"{path}: found label {found:g}, expected labels 0 to 255; renumber the labels"
        )
    return Volume(whole.astype(np.uint8), volume.geometry, volume.notes)


def open_file(path: Path, reading: Reading, labels: bool = False) -> OpenedFile:
    """Read and check the header of a file, or those of the files of a DICOM folder.

    Args:
        labels: whether it is a label map: a palette's indices are meant then, not its colours.

    Raises:
        RequestError: a format that cannot be read, or a file that is not what its name says.
    """
    name = path.name.lower()
    with refusals(path):
        if path.is_dir() or name.endswith(DICOM):
            return open_dicom(path, reading)
        if name.endswith(NRRD + METAIMAGE):
            return nrrd_meta.open_nrrd_or_metaimage(path, reading)
        if name.endswith(NIFTI):
            return nifti.open_nifti(path, reading)
        if name.endswith(PNG + JPEG):
            return pictures.open_picture(path, reading, labels)
        if is_dicom(path):  # such files often have no ending
            return open_dicom(path, reading)
    raise RequestError(
        f'{path}: found the ending "{path.suffix}", expected {FORMATS}; convert the image'
    )


def _check_path(path: Path) -> None:
    """Refuse what is neither a file nor a folder, or may not be read."""
    check_name(path)
    with refusals(path):
        try:
            mode = os.stat(path).st_mode
        except PermissionError:  # a folder above may not be entered
            raise
        except (OSError, ValueError):
            mode = 0
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a pipe or a device has no end
            raise RequestError(f"{path}: no such file; expected {FORMATS}; check the path")
        if not os.access(path, os.R_OK | (os.X_OK if stat.S_ISDIR(mode) else 0)):
            raise PermissionError  # ITK would report an unknown format


def _check_intensities(path: Path, array: np.ndarray, before: int) -> None:
    """Refuse values that a network cannot take, and channels of one value.

    Args:
        before: number of channels in the files before this one.
    """
    if not np.isfinite(array).all():
        refuse_values(path, int(array.size - np.isfinite(array).sum()))
    for index, channel in enumerate(array, start=before + 1):
        low, high = channel.min(), channel.max()
        if low == high:
            raise RequestError(
                f"{path}: found the same value {low:g} in every voxel of channel {index}, expected"
                " an image; choose the right file"
            )
        if max(abs(float(low)), abs(float(high))) > LARGEST:
            raise RequestError(
                f"{path}: found values from {low:g} to {high:g}, expected some that single"
                f" precision holds (below {LARGEST:.3g}); replace or rescale them"
            )


def _on_grid_of(
    first: Volume, volume: Volume, first_path: Path, path: Path, reading: Reading
) -> Volume:
    """A further channel on the grid of the first: unchanged, with its axes in another order, or
    resampled if the user allows it.
    """
    if volume.geometry.matches(first.geometry):
        return volume
    if (same := rearranged(volume, first.geometry)) is not None:
        return same
    if not reading.resample_channels:
        raise RequestError(
            f"{path}: found another grid than that of {first_path}, expected channels on one grid"
            " (size, spacing, origin and direction); resample it to the first image, or let"
            " --resample-channels do so"
        )
    moved, covered = resampled(volume, first.geometry)
    if covered == 0:
        raise RequestError(
            f"{path}: found an image that does not overlap {first_path} anywhere, expected"
            " channels of one patient in one position; register them first"
        )
    note = (
        f"{path.name} was resampled to the grid of {first_path.name} by linear interpolation; it"
        f" covers {100 * covered:.3g} % of it."
    )
    return Volume(moved.array, moved.geometry, (*moved.notes, note))
