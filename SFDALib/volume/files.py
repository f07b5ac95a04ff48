"""Read images from files, checked at the door.

NRRD, NIfTI, MetaImage and PNG/JPEG through SimpleITK, and a folder with one DICOM series.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SFDALib.errors import RequestError
from SFDALib.volume import integrity
from SFDALib.volume.geometry import Geometry, Volume

if TYPE_CHECKING:
    import SimpleITK as sitk

SUFFIXES = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd", ".png", ".jpg", ".jpeg")
FORMATS = "NRRD, NIfTI, MetaImage, PNG, JPEG or a folder with one DICOM series"
PICTURES = (".png", ".jpg", ".jpeg")
UNEVEN = "ITK_non_uniform_sampling_deviation"  # what ITK notes of a series with gaps
IMAGE_POSITION = "0020|0032"


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
    try:
        if not path.exists():
            raise RequestError(f"{path}: no such file; expected {FORMATS}; check the path")
        if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
            raise PermissionError  # ITK calls such a file unknown
        image = _read_dicom(path) if path.is_dir() else _read_file(path)
    except PermissionError as error:
        raise RequestError(f"{path}: no permission to read it; ask its owner") from error
    except RuntimeError as error:
        raise RequestError(
            f"{path}: found a file that cannot be read ({_reason(error)}), expected {FORMATS};"
            " it may be damaged or not what its name says: export it again"
        ) from error
    return _from_sitk(image, path)


def _reason(error: RuntimeError) -> str:
    """ITK's own words: the line that says most, without classes and addresses."""
    lines = [line.strip() for line in str(error).split("ERROR:", 1)[-1].splitlines()]
    lines = [line for line in lines if line] or ["unknown reason"]
    line = lines[-1] if lines[-1].startswith("[nrrd]") else lines[0]
    return re.sub(r"^\w+\(0x[0-9a-f]+\): ", "", line)[:160]


def _read_dicom(folder: Path) -> sitk.Image:
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    series = reader.GetGDCMSeriesIDs(str(folder))
    if len(series) != 1:
        found = f"{len(series)} DICOM series ({', '.join(series)})" if series else "no DICOM series"
        raise RequestError(
            f"{folder}: found {found}, expected exactly one in the folder; move each series into a"
            " folder of its own"
        )
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), series[0]))
    reader.MetaDataDictionaryArrayUpdateOn()
    image = reader.Execute()
    if image.HasMetaDataKey(UNEVEN):
        _check_gaps(reader, len(reader.GetFileNames()), folder)
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
    import SimpleITK as sitk

    if not path.name.lower().endswith(SUFFIXES):
        raise RequestError(
            f'{path}: found the ending "{path.suffix}", expected {FORMATS}; convert the image'
        )
    integrity.check(path)
    return sitk.ReadImage(str(path))


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
    spacing = (*image.GetSpacing(), 1.0)[:3]
    if not all(np.isfinite(mm) and mm > 0 for mm in spacing):
        integrity.refuse_spacing(path, spacing)
    origin = (*image.GetOrigin(), 0.0)[:3]
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
    geometry = Geometry(
        tuple(int(n) for n in array.shape[:0:-1]),
        tuple(float(mm) for mm in spacing),
        tuple(float(mm) for mm in origin),
        tuple(float(value) for value in direction.ravel()),
    )
    return Volume(np.ascontiguousarray(array), geometry)
