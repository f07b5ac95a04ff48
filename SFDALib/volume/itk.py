"""SimpleITK's readers: the header first, the voxels later."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import NoReturn

import numpy as np
import SimpleITK as sitk

from SFDALib.errors import RequestError

Reader = sitk.ImageFileReader


def opened(path: Path, image_io: str) -> Reader:
    """A reader that has read the header, but no voxels.

    Args:
        image_io: the class of ITK that reads it; without one ITK chooses by the content.
    """
    reader = sitk.ImageFileReader()
    reader.SetImageIO(image_io)
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return reader


def voxel_bytes(reader: Reader) -> int:
    """Bytes of the voxels that a header states."""
    kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())  # such as "vector of 64-bit float"
    found = re.search(r"\d+", kind)
    bits = int(found[0] if found else 8) * (2 if "complex" in kind else 1)
    return math.prod(reader.GetSize()) * reader.GetNumberOfComponents() * bits // 8


def channels_first(image: sitk.Image, path: Path) -> np.ndarray:
    """The voxels ``(C, K, J, I)`` of an image of 2 or 3 dimensions, or of a fourth for channels.

    Raises:
        RequestError: complex numbers, or other dimensions.
    """
    array = sitk.GetArrayFromImage(image)
    if np.iscomplexobj(array):
        refuse_complex(path)
    if image.GetNumberOfComponentsPerPixel() > 1:
        array = np.moveaxis(array, -1, 0)
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
    return array


def refuse_complex(path: Path) -> NoReturn:
    """Refuse an image of complex numbers."""
    raise RequestError(f"{path}: found complex numbers, expected intensities; export the magnitude")
