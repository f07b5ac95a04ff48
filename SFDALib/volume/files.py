"""Read images from files, checked at the door.

NRRD, NIfTI, MetaImage and PNG/JPEG by the ending of the name, and DICOM: a file, or a folder with
one series.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SFDALib.errors import RequestError, check_name
from SFDALib.volume import headed, headers, nifti, pictures
from SFDALib.volume.dicom import pixels
from SFDALib.volume.dicom.frames import is_dicom
from SFDALib.volume.dicom.stacks import open_folder
from SFDALib.volume.geometry import Geometry, Volume, rearranged, resampled
from SFDALib.volume.image_file import ImageFile
from SFDALib.volume.refusals import FORMATS, refusals, refuse_values
from SFDALib.volume.specification import Reading

DICOM = ".dcm"
SUFFIXES = (*headed.READERS, *nifti.ENDINGS, *pictures.READERS)
LABEL_ROUNDING = 1e-4  # from a whole number, by which a label may be off
LARGEST = float(np.finfo(np.float32).max)  # of an intensity: networks take single precision


def read_volume(paths: Path | Sequence[Path], reading: Reading | None = None) -> Volume:
    """Read one image, or several files as the channels of one.

    Raises:
        RequestError: unreadable, not finite, constant, without usable spacing, or files that do not
            share one grid.
    """
    paths = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    reading = reading or Reading()
    channels: list[np.ndarray] = []
    notes: list[str] = []
    first: Volume | None = None
    for index, path in enumerate(paths):
        volume = open_image(path, reading.of_file(index)).volume()
        _check_intensities(path, volume.array, len(channels))
        if first is None:
            first = volume
        else:
            volume = _on_grid_of(first, volume, paths[0], path, reading)
        channels += list(volume.array)
        notes += volume.notes
    array = np.stack(channels) if len(paths) > 1 else first.array
    return Volume(array, first.geometry, tuple(dict.fromkeys(notes)))


def _check_intensities(path: Path, array: np.ndarray, before: int) -> None:
    """Refuse what is no number to a network, and channels with nothing in them.

    Args:
        before: channels of other files before these.
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
    """A further channel on the grid of the first: as it is, its axes in another order, or resampled
    where the user says so.
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


def read_labels(path: Path, reading: Reading | None = None) -> Volume:
    """Read a segmentation ``(1, K, J, I)`` with whole-number labels.

    Raises:
        RequestError: unreadable, or with values that are no labels.
    """
    path = Path(path)
    volume = open_image(path, reading or Reading(), labels=True).volume()
    array = volume.array
    whole = np.round(array) if np.isfinite(array).all() else array
    if array.shape[0] != 1 or not (np.abs(array - whole) <= LABEL_ROUNDING).all():
        raise RequestError(
            f"{path}: found {array.shape[0]} channel(s) with values {array.min():g} to"
            f" {array.max():g}, expected one channel of whole-number labels"
        )
    if whole.min() < 0 or whole.max() > 255:
        found = whole.min() if whole.min() < 0 else whole.max()
        raise RequestError(f"{path}: found label {found:g}, expected labels 0 to 255")
    return Volume(whole.astype(np.uint8), volume.geometry, volume.notes)


@dataclass(frozen=True)
class Header:
    """What is known of an image before its voxels are read: its grid, and their bytes in memory."""

    geometry: Geometry
    stored_bytes: int


def read_header(paths: Sequence[Path], reading: Reading | None = None) -> Header:
    """Read the headers alone of an image's files.

    Raises:
        RequestError: unreadable, as ``read_volume`` says.
    """
    reading = reading or Reading()
    images = [open_image(Path(path), reading.of_file(n)) for n, path in enumerate(paths)]
    return Header(images[0].geometry, sum(image.stored_bytes for image in images))


def open_image(path: Path, reading: Reading, labels: bool = False) -> ImageFile:
    """Read and check the header of a file, or of those of a folder.

    Raises:
        RequestError: there is none, or it is unusable.
    """
    check_name(path)
    with refusals(path):
        _check_kind(path)
        name = path.name.lower()
        if path.is_dir() or name.endswith(DICOM):
            return _open_dicom(path, reading)
        if name.endswith(tuple(headed.READERS)):
            return headed.open_headed(path, reading)
        if name.endswith(nifti.ENDINGS):
            return nifti.open_nifti(path, reading)
        if name.endswith(tuple(pictures.READERS)):
            return pictures.open_picture(path, reading, labels)
        if is_dicom(path):  # whose files often have no ending
            return _open_dicom(path, reading)
    raise RequestError(
        f'{path}: found the ending "{path.suffix}", expected {FORMATS}; convert the image'
    )


def _open_dicom(path: Path, reading: Reading) -> ImageFile:
    layout = open_folder(path, reading)
    return ImageFile(
        path,
        layout.geometry,
        pixels.stored_bytes(layout),
        layout.notes,
        lambda: (pixels.read(layout, path), ()),
    )


def _check_kind(path: Path) -> None:
    """Refuse what is no file and no folder, or may not be read.

    Raises:
        PermissionError: a folder above may not be entered, so that nobody can tell.
    """
    try:
        mode = os.stat(path).st_mode
    except PermissionError:
        raise
    except (OSError, ValueError):
        mode = 0
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a pipe or a device has no end
        raise RequestError(f"{path}: no such file; expected {FORMATS}; check the path")
    if not os.access(path, os.R_OK | (os.X_OK if stat.S_ISDIR(mode) else 0)):
        raise PermissionError  # ITK calls such a file unknown


def files_of(path: Path) -> tuple[Path, ...]:
    """The files that an image consists of: a header's voxels may lie in another one.

    Raises:
        RequestError: there is no such file, or it may not be read.
    """
    check_name(path)
    with refusals(path):
        _check_kind(path)
        if path.is_dir() or not path.name.lower().endswith(tuple(headed.READERS)):
            return (path,)
        return tuple(dict.fromkeys((path, headers.data_file(path, headers.read_fields(path)))))
