"""Segmentations and maps as NRRD, in the input's geometry, as 3D Slicer reads them.

The header of a ``.seg.nrrd`` holds names, colours, terminology and algorithm of every segment, with
the keys of vtkMRMLSegmentationStorageNode of Slicer 5; they suffice for Slicer's export to DICOM
SEG.
"""

from __future__ import annotations

import errno
import gzip
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from SFDALib import __version__
from SFDALib.bundle.description import Label
from SFDALib.volume.geometry import Geometry


def write_segmentation(
    path: str | os.PathLike[str],
    segmentation: np.ndarray,
    geometry: Geometry,
    labels: Sequence[Label],
    method: str,
) -> None:
    """Write a label map as a Slicer segmentation.

    Every label becomes a segment, also without a voxel, so that two results of one bundle have the
    same segments.

    Args:
        path: ends in ``.seg.nrrd``.
        segmentation: ``(K, J, I)``, integers; 0 is background.
        geometry: where the voxels lie; ``geometry.shape`` is ``(K, J, I)``.
        labels: name, colour and terminology of every value.
        method: what made it, at most 40 characters; with the version of this software it becomes
            the DICOM attribute Segment Algorithm Name.

    Raises:
        ValueError: wrong shape or type, or a value without a label.
        OSError: the disk is full.
    """
    if not np.issubdtype(segmentation.dtype, np.integer):
        raise ValueError(f"a segmentation holds integers, not {segmentation.dtype}")
    unexplained = set(np.unique(segmentation).tolist()) - {0, *(label.value for label in labels)}
    if unexplained:
        raise ValueError(f"no label explains the values {sorted(unexplained)}")
    largest = max((label.value for label in labels), default=0)
    image = _image(segmentation.astype(np.uint8 if largest < 256 else np.uint16), geometry)
    for key, value in _segment_metadata(geometry, labels, method):
        image.SetMetaData(key, value)
    _write(image, path)


def read_segment_names(path: str | os.PathLike[str]) -> dict[int, str]:
    """The segments' names by label value, from a ``.seg.nrrd``; empty for any other image."""
    if not os.fspath(path).lower().endswith(".nrrd"):
        return {}
    reader = sitk.ImageFileReader()
    reader.SetFileName(os.fspath(path))
    reader.ReadImageInformation()
    names = {}
    for key in reader.GetMetaDataKeys():
        segment = key.removesuffix("_LabelValue")
        if segment != key and reader.HasMetaDataKey(f"{segment}_Name"):
            names[int(reader.GetMetaData(key))] = reader.GetMetaData(f"{segment}_Name")
    return names


def write_map(path: str | os.PathLike[str], array: np.ndarray, geometry: Geometry) -> None:
    """Write a map, such as an uncertainty or a generated sample, as float32.

    Args:
        path: ends in ``.nrrd``.
        array: ``(K, J, I)``, finite.
        geometry: where the voxels lie.

    Raises:
        ValueError: a value is NaN or infinite, or the shape is wrong.
        OSError: the disk is full.
    """
    with np.errstate(over="ignore"):  # becomes infinite, and is refused
        values = array.astype(np.float32)
    bad = np.count_nonzero(~np.isfinite(values))
    if bad:
        raise ValueError(f"{Path(path).name}: {bad} of {values.size} values are not finite")
    _write(_image(values, geometry), path)


def write_bytes(
    path: str | os.PathLike[str],
    array: np.ndarray,
    geometry: Geometry,
    header: Mapping[str, str],
) -> None:
    """Write an image of several channels.

    Args:
        path: ends in ``.nrrd``.
        array: ``(K, J, I, channels)`` uint8.
        geometry: where the voxels lie.
        header: further fields of the file's header.

    Raises:
        ValueError: the shape is wrong.
        OSError: the disk is full.
    """
    if array.shape[:3] != geometry.shape:
        raise ValueError(f"an array of shape {array.shape} on a grid of shape {geometry.shape}")
    image = sitk.GetImageFromArray(array, isVector=True)
    geometry.apply(image)
    for key, value in header.items():
        image.SetMetaData(key, value)
    _write(image, path)


def _segment_metadata(
    geometry: Geometry, labels: Sequence[Label], method: str
) -> Iterator[tuple[str, str]]:
    yield "Segmentation_MasterRepresentation", "Binary labelmap"  # read by Slicer before 5.4
    yield "Segmentation_SourceRepresentation", "Binary labelmap"
    yield "Segmentation_ContainedRepresentationNames", "Binary labelmap|"
    yield "Segmentation_ReferenceImageExtentOffset", "0 0 0"
    # Slicer clips the whole shared layer to the extent of its first segment, so all have the same.
    extent = " ".join(f"0 {size - 1}" for size in geometry.size)
    for index, label in enumerate(labels):
        segment = f"Segment{index}_"
        yield segment + "ID", f"Segment_{label.value}"
        yield segment + "Name", label.name
        yield segment + "NameAutoGenerated", "0"
        yield segment + "Color", " ".join(f"{part / 255:.6g}" for part in label.color)
        yield segment + "ColorAutoGenerated", "0"
        yield segment + "LabelValue", str(label.value)
        yield segment + "Layer", "0"
        yield segment + "Extent", extent
        tags = {
            "TerminologyEntry": label.terminology,
            "DICOM.SegmentAlgorithmType": "AUTOMATIC",
            "DICOM.SegmentAlgorithmName": f"{method} (SFDA {__version__})",
        }
        yield segment + "Tags", "".join(f"{name}:{value}|" for name, value in tags.items())


def _image(array: np.ndarray, geometry: Geometry) -> sitk.Image:
    if array.shape != geometry.shape:
        raise ValueError(f"an array of shape {array.shape} on a grid of shape {geometry.shape}")
    image = sitk.GetImageFromArray(array)
    geometry.apply(image)
    return image


def _write(image: sitk.Image, path: str | os.PathLike[str]) -> None:
    """Write, then read the compressed data to the end.

    On a full disk NrrdIO may report success and leave a file that lacks up to a block at its end.
    """
    try:
        sitk.WriteImage(image, os.fspath(path), useCompression=True)
    except RuntimeError:  # names no cause; the system names it when more is written there
        with open(path, "ab") as file:
            file.write(bytes(1 << 20))
        raise
    with open(path, "rb") as file:
        while file.readline().strip():  # the header ends with an empty line
            pass
        try:
            with gzip.GzipFile(fileobj=file) as data:
                while data.read(1 << 20):
                    pass
        except EOFError as error:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(path)) from error
