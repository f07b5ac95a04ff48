"""The voxels of a stack's slices.

GDCM (through SimpleITK) decodes all compressions and applies a file's rescale slope and intercept.
In a file with several images it applies the first image's to all of them; files whose images have
different rescales are therefore decoded by pydicom.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from scipy.ndimage import shift

from SFDALib.errors import RequestError
from SFDALib.volume import itk
from SFDALib.volume.dicom.frames import UNSCALED, Frame
from SFDALib.volume.dicom.layout import Layout
from SFDALib.volume.dicom.stacks import open_folder
from SFDALib.volume.geometry import Geometry
from SFDALib.volume.opened_file import OpenedFile
from SFDALib.volume.reading import Reading
from SFDALib.volume.refusals import check_promise, refusals

READER = "GDCMImageIO"


def open_dicom(path: Path, reading: Reading) -> OpenedFile:
    """Read the headers of a DICOM file, or of the files of a folder.

    Raises:
        RequestError: there is no image, the user has to choose one of several, or it is no complete
            volume.
    """
    layout = open_folder(path, reading)
    size = stored_bytes(layout)
    return OpenedFile(
        path,
        (path,),
        layout.geometry,
        size,
        layout.notes,
        lambda: (read(layout, path, size), ()),
    )


def stored_bytes(layout: Layout) -> int:
    """Bytes of the decoded voxels of all files: computed from the first file, from which the others
    rarely differ, and at least what their headers state.
    """
    files = {frame.path: frame.bits // 8 for frame in layout.frames}
    first = next(iter(files))
    with refusals(first):
        return max(itk.voxel_bytes(itk.opened(first, READER)) * len(files), sum(files.values()))


def read(layout: Layout, path: Path, size: int) -> np.ndarray:
    """Voxels ``(C, K, J, I)`` on the layout's grid, of a type that holds the values of all slices.

    Args:
        size: bytes of the stored voxels, as ``stored_bytes`` returns them.

    Raises:
        RequestError: a file cannot be decoded.
    """
    files = _files(layout)
    check_promise(path, size, sum(os.path.getsize(file) for file in files))
    slices: list[np.ndarray] = [np.empty(0)] * len(layout.frames)
    for file in files:
        mine = [(k, frame) for k, frame in enumerate(layout.frames) if frame.path == file]
        for (k, _), image in zip(mine, _decoded(file, [f for _, f in mine]), strict=True):
            slices[k] = image
    if len({(image.shape[0], image.shape[1:]) for image in slices}) > 1:
        raise RequestError(
            f"{path}: found slices of different sizes or numbers of channels, expected the same for"
            " all; export the series again"
        )
    kind = np.result_type(*{image.dtype for image in slices})
    if layout.shifts is None:
        return np.stack([image.astype(kind, copy=False) for image in slices], axis=1)
    return _moved(slices, layout.geometry, layout.shifts, kind)


def _files(layout: Layout) -> list[Path]:
    return list(dict.fromkeys(frame.path for frame in layout.frames))


def _decoded(path: Path, frames: Sequence[Frame]) -> list[np.ndarray]:
    """Slices ``(C, J, I)`` of one file, rescaled."""
    if frames[0].rescale is not None:
        return _rescaled(path, frames)
    with refusals(path):
        image = itk.opened(path, READER).Execute()
        array = itk.channels_first(image, path)
    whole = array.shape[1]
    if any((frame.index or 0) >= whole for frame in frames):
        raise RequestError(
            f"{path}: found {whole} decoded images, expected more; it is damaged: export it again"
        )
    return [array[:, frame.index or 0] for frame in frames]


def _rescaled(path: Path, frames: Sequence[Frame]) -> list[np.ndarray]:
    """Slices of a file in which each image has its own rescale slope and intercept, by pydicom."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stored = pydicom.dcmread(path, force=True).pixel_array
    except Exception as error:  # a damaged file can raise any exception
        raise RequestError(
            f"{path}: found images with a rescale slope of their own that cannot be decoded"
            f" ({str(error)[:120]}), expected uncompressed pixels; export it uncompressed"
        ) from error
    stored = stored[None] if stored.ndim == 2 else stored
    if stored.ndim != 3:
        raise RequestError(f"{path}: found colours with a rescale slope, expected intensities")
    found = []
    for frame in frames:
        slope, intercept = frame.rescale or UNSCALED
        found.append((stored[frame.index or 0] * slope + intercept)[None])
    return found


def _moved(
    slices: list[np.ndarray], geometry: Geometry, shifts: np.ndarray, kind: np.dtype
) -> np.ndarray:
    """Slices moved to their places on the enclosing grid; around them the smallest value of all."""
    columns, rows, _ = geometry.size
    outside = min(image.min() for image in slices)
    result = np.full((len(slices[0]), len(slices), rows, columns), outside, kind)
    for k, (image, (along_i, along_j)) in enumerate(zip(slices, shifts, strict=True)):
        i, j = int(along_i + 1e-6), int(along_j + 1e-6)
        for c, channel in enumerate(image):
            canvas = np.full((rows, columns), float(outside))
            canvas[j : j + channel.shape[0], i : i + channel.shape[1]] = channel
            moved = shift(canvas, (along_j - j, along_i - i), order=1, cval=float(outside))
            result[c, k] = np.rint(moved) if np.issubdtype(kind, np.integer) else moved
    return result
