"""Read the headers of DICOM files: position, series and size of each image (frame).

A multi-frame file holds many images. In an enhanced one, functional groups describe them, each
either for one image or for all of them (DICOM PS3.3, C.7.6.16).
"""

from __future__ import annotations

import logging
import math
import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from SFDALib.errors import RequestError
from SFDALib.volume.dicom import check
from SFDALib.volume.dicom.elements import as_list, first_item, numbers, pair, triple
from SFDALib.volume.dicom.places import EvenSteps, even_steps, pixel_spacing, slice_distance

# SOP classes that have pixels but are no images to segment: segmentations and the like (66.x),
# objects of radiotherapy such as doses (481.x)
OTHER_OBJECTS = ("1.2.840.10008.5.1.4.1.1.66", "1.2.840.10008.5.1.4.1.1.481")
STORAGE = "1.2.840.10008.5.1.4.1.1."
# SOP classes for which GDCM rescales all images of a file by the first image's functional group;
# for others it ignores rescales in functional groups (measured with SimpleITK 2.5)
GROUPS_BY_GDCM = ("2.", "4.1", "4.4", "13.1.", "128.1", "130")
MOST_FRAMES = 100_000  # images in a file
UNSCALED = (1.0, 0.0)  # slope and intercept
# Elements that may distinguish volumes at the same position (time points, echoes), tried in this
# order
MARKS = (
    *("TemporalPositionIndex", "TemporalPositionIdentifier", "AcquisitionNumber"),
    *("EchoNumbers", "EffectiveEchoTime", "EchoTime", "FrameType", "ImageType", "DiffusionBValue"),
    *("NominalCardiacTriggerDelayTime", "TriggerTime", "NominalPercentageOfCardiacPhase"),
    *("FrameAcquisitionNumber", "AcquisitionTime", "AcquisitionDateTime", "ContentTime"),
)
MARK_SEQUENCES = (
    *("MREchoSequence", "MRDiffusionSequence", "CardiacSynchronizationSequence"),
    *("MRImageFrameTypeSequence", "TemporalPositionSequence", "CTImageFrameTypeSequence"),
)

logging.getLogger("pydicom").addHandler(logging.NullHandler())
logging.getLogger("pydicom").propagate = False


@dataclass(frozen=True)
class Series:
    """The series that a file belongs to; ``number`` is text and may be empty."""

    uid: str
    number: str
    description: str
    modality: str


@dataclass(frozen=True)
class Frame:
    """One image of a file.

    Args:
        index: of the image in a file with several, from 0; None in a file with one image.
        size: pixels along I, J.
        position: centre of the first pixel, LPS mm; None where the file does not state it.
        axes: unit vectors of I and J, LPS; None where the file does not state them.
        spacing: mm along I, J; None where the file does not state it.
        thickness: mm from slice to slice, or else the thickness of the slice; None where the file
            states neither.
        rescale: slope and intercept of this image; None where GDCM applies the file's.
        number: Instance Number, or the index in a file with several images; None without either.
        stack: text; images of one series that belong to different stacks differ in it.
        marks: the values of ``MARKS`` as text; "" for what the file lacks.
        uid: SOP Instance UID of the file.
        localizer: whether it is a scout image.
        bits: stored bits of all pixels of the file.
    """

    path: Path
    index: int | None
    series: Series
    size: tuple[int, int]
    position: tuple[float, float, float] | None
    axes: tuple[float, ...] | None
    spacing: tuple[float, float] | None
    thickness: float | None
    rescale: tuple[float, float] | None
    number: int | None
    stack: str
    marks: tuple[str, ...]
    uid: str
    localizer: bool
    bits: int


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do, with or without the preamble."""
    with open(path, "rb") as stream:
        start = stream.read(check.PREAMBLE + len(check.MAGIC))
    if start[check.PREAMBLE :] == check.MAGIC:
        return True
    if len(start) < 8:
        return False
    group, element = struct.unpack_from("<HH", start)
    return group in (2, 8) and element <= 0x20 and len(start) > check.PREAMBLE


def read_frames(path: Path) -> list[Frame]:
    """The images of a DICOM file; an empty list for an object that is no image.

    Raises:
        RequestError: the file is damaged, or of a kind that cannot be read correctly.
    """
    check.check_meta(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's, about values that violate the standard
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            return _frames(path, header)
    except OSError:
        raise
    except RequestError:
        raise
    except Exception as error:  # a damaged file can raise any exception
        raise RequestError(
            f"{path}: found a DICOM file that cannot be read ({type(error).__name__}:"
            f" {str(error)[:120]}), expected a whole one; it is damaged: export it again"
        ) from error


@dataclass(frozen=True)
class _File:
    """The header of a file, and what all its images have in common.

    Args:
        count: number of images.
        bits: stored bits of all pixels.
        shared: functional groups of all images; None without them.
        own: functional groups of each image; empty without them.
        series: that the file belongs to.
        steps: axes and positions of the images; None where each image states its own.
    """

    path: Path
    header: Dataset
    count: int
    bits: int
    shared: Dataset | None
    own: Sequence[Dataset]
    series: Series
    steps: EvenSteps | None

    def group(self, index: int, sequence: str) -> Dataset:
        """A functional group: the image's own, else the shared one, else the header itself."""
        found = first_item(self.own[index], sequence) if self.own else None
        return found or first_item(self.shared, sequence) or self.header


def _frames(path: Path, header: Dataset) -> list[Frame]:
    kind = str(header.get("SOPClassUID", ""))
    if "Rows" not in header or "Columns" not in header or kind.startswith(OTHER_OBJECTS):
        return []
    file = _checked_file(path, header)
    found = [_frame(file, index) for index in range(file.count)]
    rescales = {frame.rescale or UNSCALED for frame in found}
    grouped = bool(file.own or file.shared)
    by_gdcm = not grouped or kind.removeprefix(STORAGE).startswith(GROUPS_BY_GDCM)
    if rescales == {UNSCALED} or (by_gdcm and len(rescales) == 1):
        return [replace(frame, rescale=None) for frame in found]
    return [replace(frame, rescale=frame.rescale or UNSCALED) for frame in found]


def _checked_file(path: Path, header: Dataset) -> _File:
    """The file's header, with sizes and counts that agree with each other and with its length."""
    size = (int(header.Columns), int(header.Rows))
    count = int(header.get("NumberOfFrames") or 1)
    if min(size) < 1 or not 1 <= count <= MOST_FRAMES:
        raise RequestError(
            f"{path}: found {count} images of {size[0]}x{size[1]} pixels, expected sizes from 1; it"
            " is damaged: export it again"
        )
    _refuse_unknown(path, header)
    bits = math.prod(size) * count * int(header.get("BitsAllocated") or 1)
    check.check_pixels(path, bits)
    names = ("SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality")
    series = Series(*(str(header.get(name) or "").strip() for name in names))
    shared = first_item(header, "SharedFunctionalGroupsSequence")
    own = header.get("PerFrameFunctionalGroupsSequence") or []
    if own and len(own) != count:
        raise RequestError(
            f"{path}: found {len(own)} descriptions of {count} images, expected one each; it is"
            " damaged or incomplete: export it again"
        )
    return _File(path, header, count, bits, shared, own, series, even_steps(header, count))


def _frame(file: _File, index: int) -> Frame:
    header = file.header
    position = triple(file.group(index, "PlanePositionSequence").get("ImagePositionPatient"))
    orientation = file.group(index, "PlaneOrientationSequence").get("ImageOrientationPatient")
    axes = numbers(orientation, 6)
    if file.steps is not None:
        axes, position = file.steps.axes, file.steps.positions[index]
    elif file.count > 1 and not file.own:
        position = None  # the header states the first image's only
    content = file.group(index, "FrameContentSequence")
    values = file.group(index, "PixelValueTransformationSequence")
    measures = file.group(index, "PixelMeasuresSequence")
    number = numbers([header.get("InstanceNumber")], 1) if file.count == 1 else (index,)
    marked = (content, *(file.group(index, name) for name in MARK_SEQUENCES), header)
    return Frame(
        path=file.path,
        index=index if file.count > 1 else None,
        series=file.series,
        size=(int(header.Columns), int(header.Rows)),
        position=position,
        axes=axes,
        spacing=pixel_spacing(measures, header),
        thickness=slice_distance(measures, header),
        rescale=pair([values.get(name) for name in ("RescaleSlope", "RescaleIntercept")]),
        number=None if number is None else int(number[0]),
        stack=f"{content.get('StackID', '')} {header.get('PhotometricInterpretation', '')}",
        marks=tuple(_mark(marked, name) for name in MARKS),
        uid=str(header.get("SOPInstanceUID", "")),
        localizer="LOCALIZER" in _image_type(header),
        bits=file.bits,
    )


def _image_type(header: Dataset) -> list[str]:
    return [str(word).upper() for word in as_list(header.get("ImageType"))]


def _refuse_unknown(path: Path, header: Dataset) -> None:
    """Refuse what a decoder would read as something else without a warning."""
    if "MOSAIC" in _image_type(header):
        raise RequestError(
            f"{path}: found a mosaic (slices side by side in one image), expected one slice in"
            " each image; convert it, for example by dcm2niix"
        )
    if header.get("ModalityLUTSequence"):
        raise RequestError(
            f"{path}: found a Modality LUT (a table of values), expected a Rescale Slope and"
            " Intercept; export the image with these"
        )


def _mark(groups: tuple[Dataset, ...], name: str) -> str:
    return next((str(group[name].value) for group in groups if name in group), "")
