"""Valid files of every kind, drawn at random, and whether what is read of them is right.

Each reader's files show the scene of ``scene.py`` in some of the ways that files can: any plane,
order, unit, type, compression, rescale, with things missing or beside them. They may be refused in
a line, or read with a note that says what was assumed; read without such a note they must show the
scene. Anything else is a silent wrong result, and fails.

Used by ``Benchmarks/fuzz.py`` (thousands) and ``system/test_valid_files.py`` (some dozens).
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import scene
from hostile import Files, Reader
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset
from scene import CT, ENHANCED_MR, MR, PET, Slices, around

from SFDALib.volume.geometry import Geometry, Volume
from SFDALib.volume.image_file import read_volume
from SFDALib.volume.reading import Reading

ANSWER = ".expected.json"  # hidden: no reader takes it for an image
UNPLACED = ("left and right", "as stated")  # of notes: where voxels lie is assumed
MOVED = ("gantry tilt", "shifted in their plane")  # voxels were interpolated
SKEWED = ("off a right angle",)

angles = st.tuples(*[st.sampled_from([0.0, 0.0, 90.0, 180.0, -90.0, 7.0, -23.0])] * 3)
sometimes = st.sampled_from([False, False, False, True])
rarely = st.sampled_from([False] * 9 + [True])


def pick(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


@st.composite
def grids(draw: Callable[..., Any]) -> Geometry:
    """A grid over the scene, in any plane, right- or left-handed."""
    turn = scene.turned(draw(angles)) @ np.diag([1, 1, draw(pick(1, 1, -1))])
    spacing = tuple(draw(st.lists(pick(1.9, 2.2, 2.5, 3.0), min_size=3, max_size=3)))
    size = tuple(int(62 / mm) + draw(st.integers(0, 3)) for mm in spacing)
    return around(size, spacing, tuple(turn.ravel()))


# --- What is right -------------------------------------------------------------------------------


def check(volume: Volume, expected: Mapping[str, Any]) -> Volume:
    """The volume, if it shows the scene.

    Raises:
        AssertionError: a silent wrong result.
    """
    notes = " ".join(volume.notes)
    offset, factor = expected.get("offset", 0.0), expected.get("factor", 1.0)
    if any(words in notes for words in UNPLACED):
        if expected.get("needs_note", True):
            return volume
        raise AssertionError(f"a note on what the file says: {notes}")
    assert not expected.get("needs_note"), "nothing is said of what the file leaves open"
    shown = replace(volume, array=(volume.array.astype(float) - offset) / factor)
    interpolated = any(words in notes for words in MOVED)
    least = (0.93, 0.8) if interpolated else (0.97, 0.9) if SKEWED[0] in notes else (0.99, 0.97)
    for channel in range(len(shown.array)):
        error = scene.error_of(shown, channel)
        good = all(dice >= bound for dice, bound in zip(error.dice, least, strict=True))
        assert good and error.value < expected.get("tolerance", 0.51), f"silent: {error}"
    return volume


def _read(name: str) -> Callable[[Path], Volume]:
    """Read the image of a folder and check it by what lies beside it."""

    def read(folder: Path) -> Volume:
        expected = json.loads((folder / ANSWER).read_text())
        reading = Reading.from_dict(expected.pop("reading", {}), "reading")
        return check(read_volume(folder / name if name else folder, reading), expected)

    return read


def _with(files: dict[str, bytes], **expected: Any) -> dict[str, bytes]:
    return {**files, ANSWER: json.dumps(expected).encode()}


# --- DICOM ---------------------------------------------------------------------------------------


def _bytes(data: Dataset, syntax: str = "1.2.840.10008.1.2.1") -> bytes:
    """A file in one of the transfer syntaxes."""
    if syntax == "1.2.840.10008.1.2.2" and data.BitsAllocated == 16:
        data.PixelData = np.frombuffer(data.PixelData, "<u2").astype(">u2").tobytes()
    if syntax == "1.2.840.10008.1.2.5":
        data.compress(syntax, generate_instance_uid=False)
    data.file_meta.TransferSyntaxUID = syntax
    stream = io.BytesIO()
    data.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


@st.composite
def slices(draw: Callable[..., Any]) -> Slices:
    turn = scene.turned(draw(angles))
    spacing = (draw(pick(1.9, 2.3, 2.8)), draw(pick(2.0, 2.5)))
    size = tuple(int(62 / mm) + 1 for mm in spacing)
    step_mm = draw(pick(2.4, 3.0, 4.4)) * draw(pick(1, 1, -1))
    tilt = draw(pick(0, 0, 0, 12, -20, 3))
    count = int(60 / abs(step_mm))
    plain = Slices(size=size, spacing=spacing, step=scene.tilted(tilt, step_mm), count=count)
    kind, modality = draw(pick((CT, "CT"), (MR, "MR"), (PET, "PT")))
    scaling = draw(pick("none", "none", "one", "each"))
    slopes = {
        "none": None,
        "one": (draw(pick(1.0, 0.5, 0.037)),) * count,
        "each": tuple(draw(pick(1.0, 0.5, 0.031)) + 0.003 * (k % 7) for k in range(count)),
    }[scaling]
    intercept = draw(pick(0.0, -1024.0, 3.5)) if slopes else 0.0
    return replace(
        scene.oblique(plain, turn),
        slopes=slopes,
        intercepts=(intercept,) * count if slopes else None,
        signed=intercept > 0 or draw(st.booleans()),
        kind=kind,
        modality=modality,
    )


SYNTAXES = pick(
    *["1.2.840.10008.1.2.1"] * 5,
    *("1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.1.99"),
)
LACKING = pick(
    *[()] * 12,
    ("PixelSpacing",),
    ("ImagePositionPatient",),
    ("ImageOrientationPatient",),
    ("InstanceNumber",),
    ("SliceThickness",),
    ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"),
)


def _fits(shown: Slices) -> bool:
    """Whether the stored numbers fit their type."""
    values = np.stack([shown.values(k) for k in (0, shown.count // 2)])
    slopes, intercepts = shown.slopes or (1.0,), shown.intercepts or (0.0,)
    stored = (values - intercepts[0]) / min(slopes)
    low, high = (-32768, 32767) if shown.signed else (0, 65535)
    return bool(stored.min() >= low and stored.max() <= high)


@st.composite
def series(draw: Callable[..., Any]) -> Files:
    """The slices of a series in files of their own, perhaps with others beside them."""
    shown = draw(slices().filter(_fits))
    syntax, lacking = draw(SYNTAXES), draw(LACKING)
    missing = draw(st.sets(st.integers(0, shown.count - 1), max_size=2)) if draw(rarely) else set()
    numbers = draw(pick("right", "right", "shuffled", "same"))
    between = draw(pick(None, None, -3.0, 1.0, 7.5))
    decimals = draw(pick(6, 6, 3, 1))
    files: dict[str, bytes] = {}
    for k in range(shown.count):
        if k in missing:
            continue
        data = scene.dataset(shown, shown.stored(k), k + 1)
        data.PixelSpacing = list(shown.spacing[::-1])
        data.ImagePositionPatient = [f"{mm:.{decimals}f}" for mm in shown.position(k)]
        data.ImageOrientationPatient = [f"{x:.8f}" for x in np.ravel(shown.axes)]
        data.SliceThickness = 1.25
        data.AcquisitionTime = f"1010{k:02d}"
        if numbers != "right":
            data.InstanceNumber = (5 * k) % shown.count if numbers == "shuffled" else 1
        if between is not None:
            data.SpacingBetweenSlices = between
        if shown.slopes:
            data.RescaleSlope = f"{shown.slopes[k]:.8g}"
            data.RescaleIntercept = f"{shown.intercepts[k]:.8g}"
        for name in lacking:
            del data[name]
        files[f"{(7 * k) % 31:02d}-{k}.dcm"] = _bytes(data, syntax)
    if draw(sometimes):
        scout = replace(shown, axes=((0, 1, 0), (0, 0, -1)), series="1.2.9", number=1, slopes=None)
        data = scene.dataset(scout, scout.values(2).astype("<i2"), 1)
        data.ImagePositionPatient, data.PixelSpacing = [0, -60, 60], [2.0, 2.0]
        data.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        files["scout.dcm"] = _bytes(data)
    if draw(sometimes):
        name = sorted(files)[0]
        files |= {"copy.dcm": files[name], f"._{name}": b"\0\5\26\7" * 60, "a.txt": b"text" * 90}
    stated = draw(pick(None, None, (shown.spacing[0], shown.spacing[1], 3.0)))
    return _with(files, reading={"spacing": stated} if stated else {}, tolerance=1.0)


@st.composite
def multi_frame(draw: Callable[..., Any]) -> Files:
    """An enhanced file: frames in any order, perhaps missing, of several phases."""
    shown = replace(draw(slices().filter(_fits)), kind=draw(pick(ENHANCED_MR, scene.ENHANCED_PET)))
    order = list(draw(st.permutations(range(shown.count)))) if draw(sometimes) else None
    if draw(rarely):
        order = [k for k in range(shown.count) if k != draw(st.integers(0, shown.count - 1))]
    phases = draw(pick(1, 1, 1, 2))
    if phases > 1 and (shown.slopes is not None or not shown.signed):
        phases = 1
    number = draw(st.integers(1, phases))
    data = scene.enhanced(shown, order, phases)
    if draw(rarely):
        del data.PerFrameFunctionalGroupsSequence
    reading = {"series": [str(number)]} if phases > 1 and draw(st.booleans()) else {}
    return _with(
        {"e.dcm": _bytes(data, draw(SYNTAXES.filter(lambda syntax: not syntax.endswith(".5"))))},
        reading=reading,
        offset=1000.0 * (number - 1),
        tolerance=1.0,
    )


# --- NIfTI, NRRD, MetaImage ----------------------------------------------------------------------


@st.composite
def nifti(draw: Callable[..., Any]) -> Files:
    grid = draw(grids())
    kind = draw(pick("<i2", "<i2", ">i2", "<f4", ">f4", "<f8", "<u2", "<i4", ">i4"))
    slope, intercept = draw(pick((0.0, 0.0), (1.0, 0.0), (0.5, -8.0), (2.0, 0.0), (0.0, 5.0)))
    image = scene.image_on(grid).astype(float)
    if slope:
        image = (image - intercept) / slope
    array = image.astype(kind)
    for _ in range(draw(pick(0, 0, 1, 2))):
        array = array[None]
    form, codes = (
        scene.ras(grid),
        draw(pick((1, 1), (1, 0), (0, 1), (0, 2), (2, 1), (1, 4), (0, 0))),
    )
    change = draw(pick("none", "none", "none", "template", "shear", "much shear", "moved"))
    expected: dict[str, Any] = {"needs_note": codes == (0, 0) or None}
    if change == "template" and codes == (1, 4):
        form = np.diag([1.2, 1.2, 1.2, 1.0]) @ form
    elif change in ("shear", "much shear"):
        degrees = 0.1 if change == "shear" else 15
        middle = form[:3, :3] @ ((np.array(grid.size) - 1) / 2) + form[:3, 3]
        lean = grid.spacing[1] / grid.spacing[0] * np.tan(np.deg2rad(degrees))
        form[:3, 1] += lean * form[:3, 0]
        form[:3, 3] = middle - form[:3, :3] @ ((np.array(grid.size) - 1) / 2)
    elif change == "moved" and codes[0] and codes[1] > 1:
        form[:3, 3] += 30
    unit, factor = draw(pick((2, 1.0), (0, 1.0), (3, 1e3), (1, 1e-3)))
    scaled = replace(
        grid,
        spacing=tuple(mm * factor for mm in grid.spacing),
        origin=tuple(mm * factor for mm in grid.origin),
    )
    form[:3] *= factor
    wrong = draw(rarely)
    content = scene.nifti(
        array,
        scaled,
        sform=form if codes[1] else np.zeros((4, 4)),
        codes=codes,
        pixdim=(1.0, 1.0, 1.0) if wrong and codes[0] == 0 and codes[1] else None,
        scaling=(slope, intercept),
        unit=unit,
    )
    packed = draw(pick("plain", "gzip", "gzip", "gzip and more"))
    if packed != "plain":
        content = gzip.compress(content, 1) + (b"more" if packed == "gzip and more" else b"")
    name = {"x.nii": content}
    return _with(name, **{key: value for key, value in expected.items() if value is not None})


SPACES = {
    "left-posterior-superior": (1, 1, 1),
    "LPS": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "RAS": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
}
UNITS = {"": 1.0, "mm": 1.0, "cm": 10.0, "um": 1e-3, "m": 1e3}


@st.composite
def nrrd(draw: Callable[..., Any]) -> Files:
    grid = draw(grids())
    space, unit = draw(pick(*SPACES)), draw(pick(*UNITS, "mm", ""))
    signs, mm = np.array(SPACES[space]), UNITS[unit]
    columns = signs[:, None] * np.array(grid.direction).reshape(3, 3) * grid.spacing / mm

    def vector(values: np.ndarray) -> str:
        return "(" + ",".join(f"{value:.10g}" for value in values) + ")"

    fields = {
        "space": space,
        "space directions": " ".join(vector(column) for column in columns.T),
        "space origin": vector(signs * np.array(grid.origin) / mm),
    }
    if unit:
        fields["space units"] = " ".join([f'"{unit}"'] * 3)
    if draw(sometimes):
        fields["measurement frame"] = "(0,1,0) (1,0,0) (0,0,1)"
    image = scene.image_on(grid).astype(draw(pick("i2", "u2", "f4", "f8")))
    channels = draw(pick(0, 0, 1, 2))
    if channels:
        image = np.stack([image] * channels, axis=-1)
        fields["space directions"] = "none " + fields["space directions"]
        fields["kinds"] = "vector domain domain domain"
    if draw(rarely):
        del fields["space directions"], fields["space origin"], fields["space"]
        fields.pop("space units", None), fields.pop("measurement frame", None)
    content = scene.nrrd(fields, image, big_endian=draw(st.booleans()))
    head, _, raw = content.partition(b"\n\n")
    files = {}
    coding = draw(pick("raw", "gzip"))
    head = head.replace(b"encoding: raw", f"encoding: {coding}".encode())
    raw = gzip.compress(raw, 1) if coding == "gzip" else raw
    if draw(sometimes):
        head += b"\ndata file: " + draw(pick(b"", b"./")) + b"v.raw"
        files["v.raw"], raw = raw, b""
    return _with({"x.nhdr": head + b"\n\n" + raw, **files})


@st.composite
def meta(draw: Callable[..., Any]) -> Files:
    grid = draw(grids())
    unit = draw(pick("", "", "mm", "cm", "um"))
    mm = UNITS[unit]
    array = scene.image_on(grid).astype(draw(pick("<i2", ">i2", "<u2", "<f4", ">f4")))
    place = scene.meta_place(
        replace(
            grid,
            spacing=tuple(x / mm for x in grid.spacing),
            origin=tuple(x / mm for x in grid.origin),
        )
    )
    spacing = place.pop("ElementSpacing")
    if not draw(rarely):
        place[draw(pick("ElementSpacing", "ElementSpacing", "ElementSize"))] = spacing
    if unit:
        place["DistanceUnits"] = unit
    raw = array.tobytes()
    if draw(sometimes):
        place["CompressedData"], raw = "True", zlib.compress(raw, 1)
        place["CompressedDataSize"] = str(len(raw))
    head = scene.meta(place, array, draw(pick("LOCAL", "v.raw", "./v.raw")))
    head = head[: -len(array.tobytes())] if head.endswith(array.tobytes()) else head
    if head.rstrip().endswith(b"LOCAL"):
        return _with({"x.mhd": head + raw})
    return _with({"x.mhd": head, "v.raw": raw})


# --- Pictures ------------------------------------------------------------------------------------


@st.composite
def picture(draw: Callable[..., Any]) -> Files:
    rows, columns = draw(st.tuples(st.integers(2, 40), st.integers(2, 40)))
    values = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, (rows, columns))
    mode = draw(pick("L", "RGB", "RGBA", "LA", "P", "I;16"))
    dpi = draw(pick(None, (72, 72), (300, 150)))
    stream = io.BytesIO()
    if mode == "I;16":
        grey = (values * 251).astype(np.uint16)
        image, expected = Image.fromarray(grey), grey[None]
    elif mode == "P":
        image = Image.fromarray((values % 5).astype(np.uint8), "P")
        table = np.arange(15).reshape(5, 3) * 13
        image.putpalette(table.astype(np.uint8).ravel().tolist())
        expected = np.moveaxis(table[values % 5], -1, 0)
    else:
        planes = [Image.fromarray((values + n).astype(np.uint8)) for n in range(len(mode))]
        image = planes[0] if mode == "L" else Image.merge(mode, planes)
        expected = np.stack([np.array(plane) for plane in planes])[: 3 if "RGB" in mode else 1]
    image.save(stream, "PNG", **({"dpi": dpi} if dpi else {}))
    return _with({"x.png": stream.getvalue()}, array=expected.tolist())


def _read_picture(folder: Path) -> Volume:
    expected = np.array(json.loads((folder / ANSWER).read_text())["array"])
    volume = read_volume(folder / "x.png")
    assert np.array_equal(volume.array[:, 0], expected), "silent: other values"
    assert volume.geometry.spacing == (1.0, 1.0, 1.0) and volume.notes, "silent: a pixel size"
    return volume


def readers() -> dict[str, Reader]:
    """All of them, by name."""
    every = [
        Reader("valid DICOM series", series(), _read("")),
        Reader("valid enhanced DICOM", multi_frame(), _read("")),
        Reader("valid NIfTI", nifti(), _read("x.nii")),
        Reader("valid NRRD", nrrd(), _read("x.nhdr")),
        Reader("valid MetaImage", meta(), _read("x.mhd")),
        Reader("valid PNG", picture(), _read_picture),
    ]
    return {reader.name: reader for reader in every}
