"""Where a DICOM header says that images lie, and how large their pixels are."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from SFDALib.volume.dicom.elements import as_list, first_item, numbers, pair
from SFDALib.volume.geometry import FloatTriple, float_triple

SLICE_VECTOR = 0x00540080  # Frame Increment Pointer of a file whose images differ by slice alone
CENTIMETRES = 3  # DICOM's code, for the calibration of an ultrasound image


@dataclass(frozen=True)
class EvenSteps:
    """Images at equal steps along their normal.

    Args:
        axes: unit vectors of I and J, LPS.
        positions: centre of each image's first pixel, LPS mm.
    """

    axes: tuple[float, ...]
    positions: list[FloatTriple]


def even_steps(header: Dataset, count: int) -> EvenSteps | None:
    """Axes and positions of the images of a file of nuclear medicine, which states the first
    position and the step; None for other files.

    Args:
        count: images in the file.
    """
    detector = first_item(header, "DetectorInformationSequence")
    if detector is None or count == 1:
        return None
    axes = numbers(detector.get("ImageOrientationPatient"), 6)
    first = numbers(detector.get("ImagePositionPatient"), 3)
    step = numbers([header.get("SpacingBetweenSlices")], 1)
    pointer = header.get("FrameIncrementPointer")
    only_slices = pointer is None or as_list(pointer) == [SLICE_VECTOR]
    if axes is None or first is None or step is None or not only_slices:
        return None
    (ix, iy, iz), (jx, jy, jz) = axes[:3], axes[3:]
    normal = (iy * jz - iz * jy, iz * jx - ix * jz, ix * jy - iy * jx)
    positions = [
        float_triple(p + k * step[0] * n for p, n in zip(first, normal, strict=True))
        for k in range(count)
    ]
    return EvenSteps(axes, positions)


def pixel_spacing(measures: Dataset, header: Dataset) -> tuple[float, float] | None:
    """mm along I, J: in the patient, else at the detector, else by an ultrasound's calibration."""
    names = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
    for values in (measures.get("PixelSpacing"), *(header.get(name) for name in names)):
        found = pair(values)
        if found is not None and min(found) > 0:
            return found[1], found[0]  # DICOM states the distance between rows first
    region = first_item(header, "SequenceOfUltrasoundRegions")
    if region is not None:
        units = [region.get(f"PhysicalUnits{axis}Direction") for axis in "XY"]
        found = pair([region.get(f"PhysicalDelta{axis}") for axis in "XY"])
        if found is not None and min(found) > 0 and units == [CENTIMETRES] * 2:
            return (10 * found[0], 10 * found[1])
    return None


def slice_distance(measures: Dataset, header: Dataset) -> float | None:
    """mm from slice to slice, or else the thickness of the slice; None without either."""
    for name in ("SpacingBetweenSlices", "SliceThickness"):
        found = numbers([measures.get(name) or header.get(name)], 1)
        if found is not None and found[0] != 0:
            return abs(found[0])
    return None
