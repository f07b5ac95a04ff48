"""Read the headers of DICOM files: position, series and size of each image.

An enhanced file holds many images (frames), each with functional groups of its own or shared by
all (DICOM PS3.3, C.7.6.16).
"""

from __future__ import annotations

import logging
import math
import struct
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from SFDALib.errors import RequestError
from SFDALib.volume.dicom import check
from SFDALib.volume.geometry import FloatTriple, float_triple

# Objects with pixels that are no images to segment: segmentations, doses, presentation states
OTHER_OBJECTS = ("1.2.840.10008.5.1.4.1.1.66", "1.2.840.10008.5.1.4.1.1.481")
STORAGE = "1.2.840.10008.5.1.4.1.1."
# Kinds of objects of which GDCM applies the first image's functional group (measured with
# SimpleITK 2.5); of others it leaves rescales in functional groups alone
GROUPS_BY_GDCM = ("2.", "4.1", "4.4", "13.1.", "128.1", "130")
MOST_FRAMES = 100_000
UNSCALED = (1.0, 0.0)  # slope and intercept
CENTIMETRES = 3  # code of the unit of ultrasound's calibration
# What may tell several volumes at the same places apart, in the order in which it is tried
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
    """What a file says of the series that it belongs to; ``number`` is a text, perhaps empty."""

    uid: str
    number: str
    description: str
    modality: str


@dataclass(frozen=True)
class Frame:
    """One image of a file.

    Args:
        index: of several in the file; None where it has one.
        size: pixels along I, J.
        position: centre of the first pixel, LPS mm; None where it is not said.
        axes: unit vectors of I and J, LPS; None likewise.
        spacing: mm along I, J; None likewise.
        thickness: mm from slice to slice, or of the slice; None likewise.
        rescale: slope and intercept of its values; None where GDCM applies them to all of the file.
        number: its place by Instance Number, or in the file; None where it has none.
        stack: within its series, of what is stored apart.
        marks: values of ``MARKS``, as texts.
        uid: of the file's object.
        localizer: whether it says that it is a scout.
        bits: of all pixels of the file.
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
    """Whether a file begins like DICOM, with or without its preamble."""
    with open(path, "rb") as stream:
        start = stream.read(check.PREAMBLE + len(check.MAGIC))
    if start[check.PREAMBLE :] == check.MAGIC:
        return True
    if len(start) < 8:
        return False
    group, element = struct.unpack_from("<HH", start)
    return group in (2, 8) and element <= 0x20 and len(start) > check.PREAMBLE


def read_frames(path: Path) -> list[Frame]:
    """The images of a DICOM file; none of an object that is no image.

    Raises:
        RequestError: it is damaged.
    """
    check.check_meta(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values against the standard's letter
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            return _frames(path, header)
    except OSError:
        raise
    except RequestError:
        raise
    except Exception as error:  # a damaged file fails in every way there is
        raise RequestError(
            f"{path}: found a DICOM file that cannot be read ({type(error).__name__}:"
            f" {str(error)[:120]}), expected a whole one; it is damaged: export it again"
        ) from error


def _frames(path: Path, header: Dataset) -> list[Frame]:
    kind = str(header.get("SOPClassUID", ""))
    if "Rows" not in header or "Columns" not in header or kind.startswith(OTHER_OBJECTS):
        return []
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
    series = Series(
        *(
            str(header.get(name) or "").strip()
            for name in ("SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality")
        )
    )
    shared = _first(header, "SharedFunctionalGroupsSequence")
    own = header.get("PerFrameFunctionalGroupsSequence") or []
    if own and len(own) != count:
        raise RequestError(
            f"{path}: found {len(own)} descriptions of {count} images, expected one each; it is"
            " damaged or incomplete: export it again"
        )
    known_places = _offsets(header, count)

    def frame(index: int) -> Frame:
        def group(sequence: str) -> Dataset:
            """A functional group: the image's own, that of all, or what stands outside them."""
            found = _first(own[index], sequence) if own else None
            return found or _first(shared, sequence) or header

        place = group("PlanePositionSequence")
        position = _triple(place.get("ImagePositionPatient"))
        axes = _numbers(group("PlaneOrientationSequence").get("ImageOrientationPatient"), 6)
        if known_places is not None:
            axes, position = known_places[0], known_places[1][index]
        elif count > 1 and not own:
            position = None  # that of the first image alone
        content, values = group("FrameContentSequence"), group("PixelValueTransformationSequence")
        measures = group("PixelMeasuresSequence")
        rescale = _pair([values.get(n) for n in ("RescaleSlope", "RescaleIntercept")])
        number = _numbers([header.get("InstanceNumber")], 1) if count == 1 else (index,)
        places = (content, *(group(sequence) for sequence in MARK_SEQUENCES), header)
        kind = [str(word).upper() for word in _listed(header.get("ImageType"))]
        return Frame(
            path=path,
            index=index if count > 1 else None,
            series=series,
            size=size,
            position=position,
            axes=axes,
            spacing=_spacing(measures, header),
            thickness=_thickness(measures, header),
            rescale=rescale,
            number=None if number is None else int(number[0]),
            stack=f"{content.get('StackID', '')} {header.get('PhotometricInterpretation', '')}",
            marks=tuple(_mark(places, name) for name in MARKS),
            uid=str(header.get("SOPInstanceUID", "")),
            localizer="LOCALIZER" in kind,
            bits=bits,
        )

    found = [frame(index) for index in range(count)]
    by_gdcm = not (own or shared) or kind.removeprefix(STORAGE).startswith(GROUPS_BY_GDCM)
    if {one.rescale or UNSCALED for one in found} == {UNSCALED} or (
        by_gdcm and len({one.rescale or UNSCALED for one in found}) == 1
    ):
        return [replace(one, rescale=None) for one in found]
    return [replace(one, rescale=one.rescale or UNSCALED) for one in found]


def _refuse_unknown(path: Path, header: Dataset) -> None:
    """Refuse what a decoder would take for something else without a word."""
    if "MOSAIC" in [str(word).upper() for word in _listed(header.get("ImageType"))]:
        raise RequestError(
            f"{path}: found a mosaic (slices side by side in one image), expected slices of their"
            " own; convert it, for example by dcm2niix"
        )
    if header.get("ModalityLUTSequence"):
        raise RequestError(
            f"{path}: found a Modality LUT (a table of values), expected a Rescale Slope and"
            " Intercept; export the image with these"
        )


def _offsets(header: Dataset, count: int) -> tuple[tuple[float, ...], list[Any]] | None:
    """The axes and positions of the images of a file that states the first one's and steps along
    the normal: nuclear medicine's reconstructions.
    """
    detector = _first(header, "DetectorInformationSequence")
    if detector is None or count == 1:
        return None
    axes = _numbers(detector.get("ImageOrientationPatient"), 6)
    first = _numbers(detector.get("ImagePositionPatient"), 3)
    step = _numbers([header.get("SpacingBetweenSlices")], 1)
    pointer = header.get("FrameIncrementPointer")
    only_slices = pointer is None or _listed(pointer) == [0x00540080]
    if axes is None or first is None or step is None or not only_slices:
        return None
    (ix, iy, iz), (jx, jy, jz) = axes[:3], axes[3:]
    normal = (iy * jz - iz * jy, iz * jx - ix * jz, ix * jy - iy * jx)
    return axes, [
        tuple(p + k * step[0] * n for p, n in zip(first, normal, strict=True)) for k in range(count)
    ]


def _spacing(measures: Dataset, header: Dataset) -> tuple[float, float] | None:
    """mm along I, J: of the patient, else of the detector, else as an ultrasound is calibrated."""
    names = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
    for values in (measures.get("PixelSpacing"), *(header.get(name) for name in names)):
        found = _pair(values)
        if found is not None and min(found) > 0:
            return found[1], found[0]  # DICOM states the distance of rows first
    region = _first(header, "SequenceOfUltrasoundRegions")
    if region is not None:
        units = [region.get(f"PhysicalUnits{axis}Direction") for axis in "XY"]
        found = _pair([region.get(f"PhysicalDelta{axis}") for axis in "XY"])
        if found is not None and min(found) > 0 and units == [CENTIMETRES] * 2:
            return (10 * found[0], 10 * found[1])
    return None


def _thickness(measures: Dataset, header: Dataset) -> float | None:
    for name in ("SpacingBetweenSlices", "SliceThickness"):
        found = _numbers([measures.get(name) or header.get(name)], 1)
        if found is not None and found[0] != 0:
            return abs(found[0])
    return None


def _mark(places: tuple[Dataset, ...], name: str) -> str:
    return next((str(place[name].value) for place in places if name in place), "")


def _first(parent: Dataset | None, sequence: str) -> Dataset | None:
    """The first item of a sequence; None where there is none."""
    items = None if parent is None else parent.get(sequence)
    return items[0] if items else None


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple | MultiValue) else [value]


def _numbers(values: Any, count: int) -> tuple[float, ...] | None:
    """``count`` finite numbers; None where the file has not all of them.

    Raises:
        ValueError: they are there, and no finite numbers.
    """
    found = _listed(values)
    if len(found) != count or any(value is None or value == "" for value in found):
        return None
    numbers = tuple(float(value) for value in found)
    if not all(math.isfinite(number) and abs(number) < 1e9 for number in numbers):
        raise ValueError(f"the numbers {numbers}")
    return numbers


def _pair(values: Any) -> tuple[float, float] | None:
    found = _numbers(values, 2)
    return None if found is None else (found[0], found[1])


def _triple(values: Any) -> FloatTriple | None:
    found = _numbers(values, 3)
    return None if found is None else float_triple(found)
