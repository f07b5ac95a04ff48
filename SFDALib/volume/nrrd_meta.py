"""NRRD and MetaImage files, read by ITK after their text headers were checked (``text_header``).

Measured with SimpleITK 2.5: ITK takes an unknown spacing for 1 mm, lets a negative one flip the
axis, and every unit for mm.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import numpy as np

from SFDALib.errors import RequestError
from SFDALib.volume import itk, text_header
from SFDALib.volume.formats import METAIMAGE, NRRD
from SFDALib.volume.geometry import Geometry, IntTriple, int_triple, right_angled
from SFDALib.volume.opened_file import OpenedFile, Voxels
from SFDALib.volume.reading import Reading
from SFDALib.volume.refusals import (
    LARGEST_MM,
    check_promise,
    check_spacing,
    refusals,
    stated_spacing,
)

READERS = {**dict.fromkeys(NRRD, "NrrdImageIO"), **dict.fromkeys(METAIMAGE, "MetaImageIO")}
SPATIAL = ("domain", "space")  # kinds of NRRD axes that have a spacing in mm
UNITS = {
    **dict.fromkeys(("", "?", "mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1.0),
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometre"), 1e-3),
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1e-6),
    **dict.fromkeys(("cm", "centimeter", "centimeters", "centimetre"), 10.0),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1000.0),
    **dict.fromkeys(("in", "inch", "inches"), 25.4),
}
PATIENT_SPACES = ("left", "right", "lps", "ras", "las")  # how the names of those begin


def open_nrrd_or_metaimage(path: Path, reading: Reading) -> OpenedFile:
    """Read the header of a NRRD or a MetaImage.

    Raises:
        RequestError: damaged, truncated, or without usable spacing.
    """
    fields = text_header.read_fields(path)
    files = tuple(dict.fromkeys((path, text_header.data_file(path, fields))))
    nrrd = text_header.is_nrrd(path)
    spacing = _nrrd_spacing(fields) if nrrd else _meta_spacing(fields, path)
    if spacing is not None:
        check_spacing(path, spacing)
    with refusals(path):
        reader = itk.opened(path, READERS[path.suffix.lower()])
        promised = itk.voxel_bytes(reader)
        dimension = min(reader.GetDimension(), 3)
        size = int_triple((*reader.GetSize(), 1, 1)[:3])
        steps = np.array((*reader.GetSpacing(), 1.0)[:3])
        origin = np.array((*reader.GetOrigin(), 0.0)[:3])
        directions = np.eye(3)
        every = np.array(reader.GetDirection()).reshape(reader.GetDimension(), -1)
        directions[:dimension, :dimension] = every[:dimension, :dimension]
    if not np.allclose(np.linalg.norm(directions, axis=0), 1, atol=1e-3):
        _refuse_axes(path)
    notes: list[str] = []
    if spacing is None:
        stated, note = stated_spacing(
            path, reading, "found no voxel spacing in the header", picture=dimension == 2
        )
        steps = np.array(stated)
        notes.append(note)
    else:
        units = _nrrd_units(fields, path) if nrrd else _meta_units(fields, path)
        # a 2D image's third axis has no unit
        axes, world = (np.append(unit[:dimension], [1.0] * 3)[:3] for unit in units)
        directions = world[:, None] * directions
        steps, origin = steps * axes, origin * world
    if nrrd and dimension == 3 and not _lies_in_patient(fields):
        notes.append(
            f"{path.name} does not say how its axes lie in the patient: they were taken as left,"
            " posterior and superior; check left and right."
        )
    return OpenedFile(
        path,
        files,
        _placed(path, size, directions * steps, origin, notes),
        promised,
        tuple(notes),
        lambda: _voxels(path, reader, promised, files),
    )


def _placed(
    path: Path, size: IntTriple, columns: np.ndarray, origin: np.ndarray, notes: list[str]
) -> Geometry:
    """The grid of these steps from voxel to voxel; adds a note if axes were corrected."""
    check_spacing(path, np.linalg.norm(columns, axis=0))
    if not (np.abs(origin) <= LARGEST_MM).all():
        raise RequestError(
            f"{path}: found the origin {tuple(origin.tolist())} mm, expected finite numbers;"
            " correct the image's header"
        )
    found = right_angled(size, columns, origin)
    if found is None:
        _refuse_axes(path)
    if found[1]:
        notes.append(f"{path.name}: {found[1]}")
    return found[0]


def _refuse_axes(path: Path) -> NoReturn:
    raise RequestError(
        f"{path}: found axes that are not at right angles, expected an orthogonal direction"
        " matrix; resample the image to a grid at right angles"
    )


def _voxels(path: Path, reader: itk.Reader, promised: int, files: tuple[Path, ...]) -> Voxels:
    check_promise(path, promised, sum(file.stat().st_size for file in files))
    with refusals(path):
        return itk.channels_first(reader.Execute(), path), ()


def _nrrd_spacing(fields: Mapping[str, str]) -> list[float] | None:
    """The spacings of the axes in space that a NRRD states outside of its directions; None where it
    has neither.
    """
    try:
        every = [float(value) for value in fields.get("spacings", "").split()]
    except ValueError:
        return []  # ITK refuses it
    spacing = _of_space(every, fields)
    if spacing and not all(math.isnan(mm) for mm in spacing):
        return spacing
    directions = fields.get("spacedirections", "")
    return [] if re.search(r"\(", directions) else None


def _meta_spacing(fields: Mapping[str, str], path: Path) -> list[float] | None:
    """The spacings that a MetaImage states; None where it states none."""
    names = [name for name in ("elementspacing", "elementsize") if name in fields]
    for name in names:
        if len(fields[name].split()) != int(fields["ndims"]):
            raise RequestError(
                f'{path}: found the spacing "{fields[name][:60]}" of {fields["ndims"]} dimensions,'
                " expected a number for each; correct the header"
            )
    try:
        values = [float(value) for name in names for value in fields[name].split()]
    except ValueError:
        return []  # ITK refuses it
    return values if names else None


def _of_space(values: list[float], fields: Mapping[str, str]) -> list[float]:
    """Of values for each axis those of the axes in space."""
    kinds = fields.get("kinds", "").split()
    if len(kinds) != len(values):
        return values
    return [value for value, kind in zip(values, kinds, strict=True) if kind in SPATIAL]


def _nrrd_units(fields: Mapping[str, str], path: Path) -> tuple[list[float], list[float]]:
    """mm of the unit along each axis, and of space's along x, y, z."""
    along = re.findall(r'"([^"]*)"', fields.get("units", ""))
    used = "spacings" in fields and "spacedirections" not in fields
    axes = [_unit(word, path) for word in along] if used else []
    space = [_unit(word, path) for word in re.findall(r'"([^"]*)"', fields.get("spaceunits", ""))]
    return (_of_space(axes, fields) or [1.0] * 3), (space or [1.0] * 3)


def _meta_units(fields: Mapping[str, str], path: Path) -> tuple[list[float], list[float]]:
    unit = _unit(fields.get("distanceunits", ""), path)
    return [1.0] * 3, [unit] * 3


def _unit(word: str, path: Path) -> float:
    if word.strip().lower() not in UNITS:
        raise RequestError(
            f'{path}: found the unit "{word[:20]}" of its space, expected mm, cm, m or um; correct'
            " the header"
        )
    return UNITS[word.strip().lower()]


def _lies_in_patient(fields: Mapping[str, str]) -> bool:
    return fields.get("space", "").lower().startswith(PATIENT_SPACES)
