"""Read images from files, checked at the door.

NRRD, NIfTI, MetaImage and PNG/JPEG through SimpleITK, and a folder with one DICOM series.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from SFDALib import ram
from SFDALib.errors import RequestError, check_name
from SFDALib.volume import dicom, headers, integrity
from SFDALib.volume.geometry import Geometry, Volume

if TYPE_CHECKING:
    import SimpleITK as sitk

# ITK's reader of each ending: left to itself, it takes what the content looks like
READERS = {
    **dict.fromkeys((".nrrd", ".nhdr"), "NrrdImageIO"),
    **dict.fromkeys((".nii", ".nii.gz"), "NiftiImageIO"),
    **dict.fromkeys((".mha", ".mhd"), "MetaImageIO"),
    **dict.fromkeys((".jpg", ".jpeg"), "JPEGImageIO"),
    ".png": "PNGImageIO",
}
HEADERS_APART = ("NrrdImageIO", "MetaImageIO")  # whose voxels may lie in another file
DICOM_READER = "GDCMImageIO"
SUFFIXES = tuple(READERS)
FORMATS = "NRRD, NIfTI, MetaImage, PNG, JPEG or a folder with one DICOM series"
PICTURES = (".png", ".jpg", ".jpeg")
GROWTH = 1032  # bytes that a byte of a deflated stream can become
COPIES = 3  # of the voxels, while they are read
LARGEST_MM = 1e9  # of a spacing or an origin
UNEVEN = "ITK_non_uniform_sampling_deviation"  # what ITK notes of a series with gaps
IMAGE_POSITION = "0020|0032"

T = TypeVar("T")


def read_volume(paths: Path | Sequence[Path]) -> Volume:
    """Read one image, or several files as the channels of one.

    Raises:
        RequestError: unreadable, not finite, constant, without usable spacing, or files that do not
            share one grid.
    """
    paths = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    volumes = [_read_one(path) for path in paths]
    for path, volume in zip(paths[1:], volumes[1:], strict=True):
        if not volume.geometry.matches(volumes[0].geometry):
            raise RequestError(
                f"{path}: found another grid than that of {paths[0]}, expected channels on one grid"
                " (size, spacing, origin and direction); resample it to the first image"
            )
    array = np.concatenate([volume.array for volume in volumes])
    if not np.isfinite(array).all():
        integrity.refuse_values(paths[0], int(array.size - np.isfinite(array).sum()))
    for index, channel in enumerate(array):
        if channel.min() == channel.max():
            raise RequestError(
                f"{paths[0]}: found the same value {channel.min():g} in every voxel of channel"
                f" {index + 1}, expected an image; choose the right file"
            )
    return Volume(array, volumes[0].geometry)


def read_labels(path: Path) -> Volume:
    """Read a segmentation ``(1, K, J, I)`` with whole-number labels.

    Raises:
        RequestError: unreadable, or with values that are no labels.
    """
    volume = _read_one(Path(path))
    array = volume.array
    if array.shape[0] != 1 or not np.isfinite(array).all() or (array != np.round(array)).any():
        raise RequestError(
            f"{path}: found {array.shape[0]} channel(s) with values {array.min():g} to"
            f" {array.max():g}, expected one channel of whole-number labels"
        )
    if array.min() < 0 or array.max() > 255:
        raise RequestError(f"{path}: found label {array.max():g}, expected labels 0 to 255")
    return Volume(array.astype(np.uint8), volume.geometry)


def _read_one(path: Path) -> Volume:
    def read(path: Path) -> sitk.Image:
        return _read_dicom(path) if path.is_dir() else _read_file(path)

    return _from_sitk(_refusing(path, read), path)


def _refusing(path: Path, read: Callable[[Path], T]) -> T:
    """What ``read`` makes of a file or folder; the system's and ITK's words become a refusal."""
    check_name(path)
    try:
        if not _is_file_or_folder(path):  # a pipe or a device has no end
            raise RequestError(f"{path}: no such file; expected {FORMATS}; check the path")
        if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
            raise PermissionError  # ITK calls such a file unknown
        return read(path)
    except PermissionError as error:
        raise RequestError(f"{path}: no permission to read it; ask its owner") from error
    except RuntimeError as error:
        raise RequestError(
            f"{path}: found a file that cannot be read ({_reason(error)}), expected {FORMATS};"
            " it may be damaged or not what its name says: export it again"
        ) from error


def _is_file_or_folder(path: Path) -> bool:
    """
    Raises:
        PermissionError: a folder above may not be entered, so that nobody can tell.
    """
    try:
        mode = os.stat(path).st_mode
    except PermissionError:
        raise
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


@dataclass(frozen=True)
class Header:
    """What is known of an image before its voxels are read: its grid, and their bytes in memory."""

    geometry: Geometry
    stored_bytes: int


def read_header(paths: Sequence[Path]) -> Header:
    """Read the headers alone of an image's files; the slices of a DICOM series count as evenly
    spaced.

    Raises:
        RequestError: unreadable, as ``read_volume`` says.
    """
    readers = [(path, *_refusing(path, _read_header)) for path in paths]
    path, reader, slices, _ = readers[0]
    size = (*reader.GetSize(), 1, 1)[:3]
    geometry = _geometry(reader, path, (*size[:2], size[2] * slices))
    return Header(geometry, sum(stored for _, _, _, stored in readers))


def _read_header(path: Path) -> tuple[sitk.ImageFileReader, int, int]:
    """A file's reader, or the first slice's; the number of slices; the bytes of all voxels."""
    if path.is_dir():
        names = _series(path)
        reader = _opened(names[0], DICOM_READER)
        return reader, len(names), len(names) * _voxel_bytes(reader)
    reader = _open_file(path)
    return reader, 1, _voxel_bytes(reader)


def _reason(error: RuntimeError) -> str:
    """ITK's own words: the line that says most, without classes and addresses."""
    lines = [line.strip() for line in str(error).split("ERROR:", 1)[-1].splitlines()]
    lines = [line for line in lines if line] or ["unknown reason"]
    line = lines[-1] if lines[-1].startswith("[nrrd]") else lines[0]
    return re.sub(r"^\w+\(0x[0-9a-f]+\): ", "", line)[:160]


def _series(folder: Path) -> tuple[str, ...]:
    """The files of the one DICOM series in a folder, in order."""
    import SimpleITK as sitk

    for entry in folder.iterdir():
        check_name(entry)
        if not (entry.is_file() or entry.is_dir()):
            raise RequestError(
                f"{folder}: found a pipe or a broken link in it, expected files; remove it"
            )
        if entry.is_file():
            dicom.check_meta(entry)
    reader = sitk.ImageSeriesReader()
    series = reader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        found = f"{len(series)} DICOM series ({', '.join(series)})" if series else "no DICOM series"
        raise RequestError(
            f"{folder}: found {found}, expected exactly one in the folder; move each series into a"
            " folder of its own"
        )
    return reader.GetGDCMSeriesFileNames(str(folder), series[0])


def _read_dicom(folder: Path) -> sitk.Image:
    import SimpleITK as sitk

    names = _series(folder)
    promised = 0
    for name in names:
        header = _opened(name, DICOM_READER)
        fields = {key: header.GetMetaData(key) for key in header.GetMetaDataKeys()}
        dicom.check_pixels(Path(name), fields)
        promised += _voxel_bytes(header)
    _check_promise(folder, promised, sum(os.path.getsize(name) for name in names))
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO(DICOM_READER)
    reader.SetFileNames(names)
    reader.MetaDataDictionaryArrayUpdateOn()
    image = reader.Execute()
    if image.HasMetaDataKey(UNEVEN):
        _check_gaps(reader, len(names), folder)
    return image


def _check_gaps(reader: sitk.ImageSeriesReader, count: int, folder: Path) -> None:
    """Refuse a series with slices missing: ITK spreads the others evenly over the gap."""
    positions = [reader.GetMetaData(k, IMAGE_POSITION).split("\\") for k in range(count)]
    gaps = np.linalg.norm(np.diff(np.array(positions, float), axis=0), axis=1)
    if gaps.max() > 1.1 * gaps.min():  # scanners round by less
        raise RequestError(
            f"{folder}: found slices {gaps.min():.3g} to {gaps.max():.3g} mm apart, expected an"
            " even spacing; some are missing or belong to another scan: export the whole series"
        )


def _read_file(path: Path) -> sitk.Image:
    reader = _open_file(path)
    integrity.check(path)
    _check_promise(path, _voxel_bytes(reader), sum(file.stat().st_size for file in files_of(path)))
    return reader.Execute()


def _open_file(path: Path) -> sitk.ImageFileReader:
    """A reader that has read the header of a file whose header is sound."""
    ending = max((s for s in SUFFIXES if path.name.lower().endswith(s)), key=len, default=None)
    if ending is None:
        raise RequestError(
            f'{path}: found the ending "{path.suffix}", expected {FORMATS}; convert the image'
        )
    integrity.check(path, voxels=False)
    return _opened(str(path), READERS[ending])


def files_of(path: Path) -> tuple[Path, ...]:
    """The files that an image consists of: a header's voxels may lie in another one.

    Raises:
        RequestError: there is no such file, or it may not be read.
    """

    def found(path: Path) -> tuple[Path, ...]:
        if path.is_dir() or READERS.get(path.suffix.lower()) not in HEADERS_APART:
            return (path,)
        return tuple(dict.fromkeys((path, headers.data_file(path))))

    return _refusing(path, found)


def _opened(name: str, image_io: str) -> sitk.ImageFileReader:
    """A reader that has read the header alone."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO(image_io)
    reader.SetFileName(name)
    reader.ReadImageInformation()
    return reader


def _voxel_bytes(reader: sitk.ImageFileReader) -> int:
    """Bytes of the voxels that a header promises."""
    import SimpleITK as sitk

    kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())  # such as "vector of 64-bit float"
    bits = int(re.search(r"\d+", kind)[0]) * (2 if "complex" in kind else 1)
    return math.prod(reader.GetSize()) * reader.GetNumberOfComponents() * bits // 8


def _check_promise(path: Path, promised: int, size: int) -> None:
    """Refuse a header that promises more than its files can hold, or than fits into memory."""
    if promised > GROWTH * size:
        raise RequestError(
            f"{path}: found a header of {promised} bytes of voxels in {size} bytes, expected all of"
            " them; it may be damaged or not what its name says: export it again"
        )
    ram.refuse_beyond(
        COPIES * promised, f"{path}: reading it", "crop or resample it, or close other programs"
    )


def _from_sitk(image: sitk.Image, path: Path) -> Volume:
    import SimpleITK as sitk

    array = sitk.GetArrayFromImage(image)
    if np.iscomplexobj(array):
        raise RequestError(
            f"{path}: found complex numbers, expected intensities; export the magnitude"
        )
    if image.GetNumberOfComponentsPerPixel() > 1:
        array = np.moveaxis(array, -1, 0)
        if array.shape[0] == 4 and path.name.lower().endswith(PICTURES):
            array = array[:3]  # an alpha channel is no intensity
    elif image.GetDimension() < 4:
        array = array[None]
    if image.GetDimension() == 2:
        array = array[:, None]
    if image.GetDimension() not in (2, 3, 4) or array.ndim != 4:
        raise RequestError(
            f"{path}: found an image of {image.GetDimension()} dimensions with"
            f" {image.GetNumberOfComponentsPerPixel()} components, expected 2 or 3 dimensions, or a"
            " fourth one for the channels; split it"
        )
    geometry = _geometry(image, path, tuple(int(n) for n in array.shape[:0:-1]))
    return Volume(np.ascontiguousarray(array), geometry)


def _geometry(
    image: sitk.Image | sitk.ImageFileReader, path: Path, size: tuple[int, int, int]
) -> Geometry:
    """The grid that an image, or a header that was read, states."""
    spacing = (*image.GetSpacing(), 1.0)[:3]
    if not all(1 / LARGEST_MM <= mm <= LARGEST_MM for mm in spacing):
        integrity.refuse_spacing(path, spacing)
    origin = (*image.GetOrigin(), 0.0)[:3]
    if not all(abs(mm) <= LARGEST_MM for mm in origin):
        raise RequestError(
            f"{path}: found the origin {origin} mm, expected finite numbers; correct the image's"
            " header"
        )
    dimension = image.GetDimension()
    direction = np.eye(3)
    inner = min(dimension, 3)
    direction[:inner, :inner] = np.array(image.GetDirection()).reshape(dimension, dimension)[
        :inner, :inner
    ]
    if not np.allclose(direction.T @ direction, np.eye(3), atol=1e-3):
        raise RequestError(
            f"{path}: found axes that are not at right angles, expected an orthogonal direction"
            " matrix; resample the image (in Slicer: Transforms, Harden)"
        )
    return Geometry(
        size,
        tuple(float(mm) for mm in spacing),
        tuple(float(mm) for mm in origin),
        tuple(float(value) for value in direction.ravel()),
    )
