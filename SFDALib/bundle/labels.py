"""The labels of a model: what is known of each structure, and how it is read from metadata.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from SFDALib.bundle import terminology
from SFDALib.errors import RequestError
from SFDALib.json_fields import Fields


@dataclass(frozen=True)
class Label:
    """One foreground class.

    Args:
        value: its value in label maps, 1..K-1 without gaps.
        name: as shown in Slicer.
        color: as shown in Slicer, RGB 0..255.
        terminology: its codes, as ``bundle.terminology`` describes; found by the name where none
            is given.
        size_ml: smallest and largest plausible volume, in ml.
        mean_ml: mean volume over the source's training cases, in ml.
        slice_area_mm2: mean area over the source's slices that contain it, in mm2 (2D models).
        piece_ml: smallest plausible volume of one of its connected components, in ml.
        radius_mm: how far its voxels may lie from the centre of its largest component, in mm.
        shape: its plausible shape.
    """

    value: int
    name: str
    color: tuple[int, int, int]
    terminology: str = ""
    size_ml: tuple[float, float] | None = None
    mean_ml: float | None = None
    slice_area_mm2: float | None = None
    piece_ml: float | None = None
    radius_mm: float | None = None
    shape: PlausibleShape | None = None

    def __post_init__(self) -> None:
        if not self.terminology:
            object.__setattr__(self, "terminology", terminology.of_name(self.name))


@dataclass(frozen=True)
class PlausibleShape:
    """The ranges, smallest and largest, of the numbers of ``volume.shape.Shape``.

    Args:
        length_mm, width_mm, thickness_mm, fill, distance_mm: as there; ``distance_mm`` is None for
            a model with one structure.
    """

    length_mm: tuple[float, float]
    width_mm: tuple[float, float]
    thickness_mm: tuple[float, float]
    fill: tuple[float, float]
    distance_mm: tuple[float, float] | None = None


def read_labels(sfda: Fields) -> tuple[Label, ...]:
    """The labels 1, 2, 3, ...

    Raises:
        RequestError: there is none, their values have gaps, or a field is wrong.
    """
    labels = []
    for index, values in enumerate(sfda.get("labels", list)):
        one = Fields(values, f"{sfda.where}, labels[{index}]")
        color = one.get("color", list)
        if len(color) != 3 or not all(type(c) is int and 0 <= c <= 255 for c in color):
            raise RequestError(
                f'{one.where}, field "color": found {color!r:.60}, expected three whole numbers 0'
                " to 255; correct it"
            )
        labels.append(
            Label(
                value=one.get("value", int),
                name=one.get("name", str),
                color=tuple(color),
                terminology=_terminology(one),
                size_ml=_range(one, "size_ml", None),
                mean_ml=one.number("mean_ml", None),
                slice_area_mm2=one.number("slice_area_mm2", None),
                piece_ml=one.number("piece_ml", None),
                radius_mm=one.number("radius_mm", None),
                shape=_shape(one),
            )
        )
    values = [label.value for label in labels]
    if not labels or values != list(range(1, len(values) + 1)) or len(values) > 254:
        raise RequestError(
            f'{sfda.where}, field "labels": found the values {values!r:.80}, expected 1, 2, 3, ...'
            " without gaps; correct it"
        )
    return tuple(labels)


def _range(fields: Fields, key: str, default: Any = ...) -> Any:
    """The smallest and the largest value of a number."""
    found = fields.numbers(key, 2, default)
    if found and found[0] > found[1]:
        raise RequestError(
            f'{fields.where}, field "{key}": found {list(found)}, expected the smallest before the'
            " largest; correct it"
        )
    return found


def _shape(label: Fields) -> PlausibleShape | None:
    """The plausible shape of a label; None where it has none."""
    values = label.get("shape", dict, None)
    if values is None:
        return None
    one = Fields(values, f"{label.where}, shape")
    return PlausibleShape(
        length_mm=_range(one, "length_mm"),
        width_mm=_range(one, "width_mm"),
        thickness_mm=_range(one, "thickness_mm"),
        fill=_range(one, "fill"),
        distance_mm=_range(one, "distance_mm", None),
    )


def _terminology(label: Fields) -> str:
    """The terminology of a label; "" where it has none, so that its name decides."""
    entry = label.get("terminology", str, None) or ""
    lack = entry and terminology.fault(entry)
    if lack:
        raise RequestError(
            f'{label.where}, field "terminology": found {entry!r:.80}, expected {lack}, as Slicer'
            " stores it; correct it, or leave the field out to have it found by the label's name"
        )
    return entry
