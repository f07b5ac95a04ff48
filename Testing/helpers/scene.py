"""A small scene defined in millimetres, and files of every kind that show it.

Two ellipsoids in LPS space, not symmetric in any axis. What a file holds of it is right if each
voxel, at the place where the file puts it, has the scene's value: ``error_of`` tells how far it is
from that, whatever grid it was read onto.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from SFDALib.volume.geometry import Geometry, Volume

# Centre and half axes, LPS mm; crooked numbers, so that no voxel's centre lies on a border
ELLIPSOIDS = (
    ((6.03, -4.07, 9.01), (15.13, 19.09, 12.11)),
    ((-12.05, 18.02, -6.04), (7.13, 6.11, 9.17)),
)
VALUES = np.array([40.0, 400.0, 900.0])  # of the background and each
ML = tuple(4 / 3 * np.pi * np.prod(axes) / 1000 for _, axes in ELLIPSOIDS)
CENTRE = np.array((0.0, 3.0, 4.0))  # of the grids around it
CT, MR, PET = (f"1.2.840.10008.5.1.4.1.1.{kind}" for kind in ("2", "4", "128"))
ENHANCED_MR, ENHANCED_PET = "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.130"


def labels_at(places: np.ndarray) -> np.ndarray:
    """The ellipsoid (0: none) at LPS places ``(..., 3)``."""
    labels = np.zeros(places.shape[:-1], np.uint8)
    for value, (centre, axes) in enumerate(ELLIPSOIDS, start=1):
        labels[(((places - centre) / axes) ** 2).sum(-1) < 1] = value
    return labels


def places_of(geometry: Geometry) -> np.ndarray:
    """The centres of all voxels ``(K, J, I, 3)``, LPS mm."""
    index = np.stack(np.indices(geometry.shape)[::-1], axis=-1)
    columns = np.array(geometry.direction).reshape(3, 3) * geometry.spacing
    return np.array(geometry.origin) + index @ columns.T


def around(
    size: tuple[int, int, int],
    spacing: tuple[float, float, float],
    direction: Sequence[float] = tuple(np.eye(3).ravel()),
) -> Geometry:
    """A grid whose middle lies in the scene's."""
    columns = np.array(direction).reshape(3, 3) * spacing
    origin = CENTRE - columns @ ((np.array(size) - 1) / 2)
    return Geometry(size, spacing, tuple(origin), tuple(direction))


GRID = around((40, 44, 18), (1.6, 1.5, 3.0))


def labels_on(geometry: Geometry) -> np.ndarray:
    """(K, J, I) uint8."""
    return labels_at(places_of(geometry))


def image_on(geometry: Geometry) -> np.ndarray:
    """(K, J, I) int16."""
    return VALUES[labels_on(geometry)].astype(np.int16)


@dataclass(frozen=True)
class Error:
    """How far a volume is from the scene.

    Args:
        dice: of each ellipsoid, by thresholds, with the scene at the voxels' places.
        ml: share by which each ellipsoid's volume differs from the true one.
        value: largest difference of the values inside and outside, away from borders.
    """

    dice: tuple[float, ...]
    ml: tuple[float, ...]
    value: float


def error_of(volume: Volume, channel: int = 0) -> Error:
    image = volume.array[channel].astype(float)
    places = places_of(volume.geometry)
    truth = labels_at(places)
    # each ellipsoid by the middle between its value and the background's, on its side of the scene
    near = np.argmin([(((places - c) / a) ** 2).sum(-1) for c, a in ELLIPSOIDS], axis=0) + 1
    found = np.where(image > (VALUES[0] + VALUES[near]) / 2, near, 0)
    dice, ml = [], []
    for value, true_ml in enumerate(ML, start=1):
        first, second = found == value, truth == value
        dice.append(2 * (first & second).sum() / max(1, first.sum() + second.sum()))
        ml.append(abs(first.sum() * volume.geometry.voxel_ml / true_ml - 1))
    inner = [labels_at(places + offset) for offset in 4 * np.vstack([np.eye(3), -np.eye(3)])]
    away = np.logical_and.reduce([other == truth for other in inner])
    difference = np.abs(image - VALUES[truth])[away]
    return Error(
        tuple(map(float, dice)), tuple(map(float, ml)), float(np.percentile(difference, 99.5))
    )


# --- DICOM ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Slices:
    """A series of slices of the scene, as a scanner would acquire it.

    Args:
        axes: directions of I, J (columns, rows), LPS.
        step: from slice to slice, LPS mm; not along the normal if the gantry is tilted.
        slopes, intercepts: of each slice; None for no rescale.
    """

    size: tuple[int, int] = (40, 44)
    spacing: tuple[float, float] = (1.6, 1.5)
    axes: tuple[tuple[float, ...], tuple[float, ...]] = ((1, 0, 0), (0, 1, 0))
    step: tuple[float, ...] = (0, 0, 3.0)
    count: int = 18
    slopes: tuple[float, ...] | None = None
    intercepts: tuple[float, ...] | None = None
    signed: bool = True
    kind: str = CT
    modality: str = "CT"
    series: str = "1.2.826.0.1.3680043.8.498.1"
    description: str = "axial"
    number: int = 2

    @property
    def first(self) -> np.ndarray:
        """The centre of the first slice's first pixel."""
        axes = np.array(self.axes, float)
        half = (np.array(self.size) - 1) / 2 * self.spacing
        middle = (self.count - 1) / 2 * np.array(self.step, float)
        return CENTRE - half @ axes - middle

    def position(self, k: int) -> np.ndarray:
        return self.first + k * np.array(self.step, float)

    def values(self, k: int) -> np.ndarray:
        """(J, I) of the scene at the slice's pixels."""
        columns, rows = self.size
        i, j = np.meshgrid(np.arange(columns), np.arange(rows))
        axes = np.array(self.axes, float) * np.array(self.spacing)[:, None]
        places = self.position(k) + i[..., None] * axes[0] + j[..., None] * axes[1]
        return VALUES[labels_at(places)]

    def stored(self, k: int) -> np.ndarray:
        """(J, I) as it is in the file, before its rescale."""
        values = self.values(k)
        if self.slopes is not None:
            values = (values - (self.intercepts or (0,) * self.count)[k]) / self.slopes[k]
        return np.rint(values).astype("<i2" if self.signed else "<u2")


def dataset(slices: Slices, pixels: np.ndarray, number: int) -> Dataset:
    """What every object has: patient, study, series and pixels."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = slices.kind
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"{slices.series}.{number}"
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498", slices.series
    data.SeriesNumber, data.SeriesDescription = slices.number, slices.description
    data.Modality, data.InstanceNumber = slices.modality, number
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.Rows, data.Columns = pixels.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8 * pixels.dtype.itemsize
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.PixelData = pixels.tobytes()
    return data


def write_series(
    folder: Path,
    slices: Slices,
    change: Callable[[Dataset, int], Dataset | None] = lambda data, k: data,
    name: str = "s",
) -> Path:
    """A file a slice, in an order that is not theirs in space.

    Args:
        change: what to change in a slice's dataset; None leaves it out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(slices.count):
        data = dataset(slices, slices.stored(k), k + 1)
        data.PixelSpacing = list(slices.spacing[::-1])
        data.ImagePositionPatient = [f"{mm:.6f}" for mm in slices.position(k)]
        data.ImageOrientationPatient = [f"{x:.8f}" for x in np.ravel(slices.axes)]
        data.SliceThickness = float(np.linalg.norm(slices.step))
        if slices.slopes is not None:
            data.RescaleSlope = f"{slices.slopes[k]:.8g}"
            data.RescaleIntercept = f"{(slices.intercepts or (0,) * slices.count)[k]:.8g}"
        data = change(data, k)
        if data is not None:
            file = folder / f"{name}{(7 * k) % slices.count:03d}-{k}.dcm"
            data.save_as(file, enforce_file_format=True)
    return folder


def enhanced(
    slices: Slices,
    order: Sequence[int] | None = None,
    phases: int = 1,
    change: Callable[[Dataset, int], Any] = lambda group, k: None,
) -> Dataset:
    """One enhanced multi-frame object of the slices.

    Args:
        order: of the frames in the file; what is not in it is missing.
        phases: how many times all of it was acquired; later ones are brighter by 1000.
        change: changes a frame's functional groups.
    """
    order = list(range(slices.count)) if order is None else list(order)
    frames = [(phase, k) for phase in range(phases) for k in order]
    pixels = np.stack([slices.stored(k) + 1000 * phase for phase, k in frames])
    data = dataset(slices, pixels.astype("<i2" if slices.signed else "<u2"), 1)
    data.NumberOfFrames = len(frames)
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = list(slices.spacing[::-1])
    measures.SliceThickness = float(np.linalg.norm(slices.step))
    plane.ImageOrientationPatient = [float(x) for x in np.ravel(slices.axes)]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    data.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for phase, k in frames:
        group, place, content = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [float(mm) for mm in slices.position(k)]
        content.StackID, content.InStackPositionNumber = "1", k + 1
        content.TemporalPositionIndex = phase + 1
        group.PlanePositionSequence, group.FrameContentSequence = [place], [content]
        if slices.slopes is not None:
            values = Dataset()
            values.RescaleSlope = f"{slices.slopes[k]:.8g}"
            values.RescaleIntercept = f"{(slices.intercepts or (0,) * slices.count)[k]:.8g}"
            values.RescaleType = "US"
            group.PixelValueTransformationSequence = [values]
        change(group, k)
        groups.append(group)
    data.PerFrameFunctionalGroupsSequence = groups
    return data


def save(data: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def tilted(degrees: float, step_mm: float = 3.0) -> tuple[float, float, float]:
    """The step of axial slices in a gantry that is tilted about the patient's left-right axis."""
    angle = np.deg2rad(degrees)
    return (0.0, float(step_mm * np.tan(angle)), step_mm)


def turned(degrees: tuple[float, float, float]) -> np.ndarray:
    """A rotation about x, then y, then z."""
    a, b, c = np.deg2rad(degrees)
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return z @ y @ x


def oblique(slices: Slices, rotation: np.ndarray, step_mm: float | None = None) -> Slices:
    """The slices with their plane turned."""
    axes = [tuple(rotation @ np.array(axis, float)) for axis in slices.axes]
    step = rotation @ (np.array(slices.step) if step_mm is None else np.array((0, 0, step_mm)))
    return replace(slices, axes=tuple(axes), step=tuple(step))


# --- Other formats -------------------------------------------------------------------------------


def nrrd(
    fields: dict[str, str], array: np.ndarray, version: int = 5, big_endian: bool = False
) -> bytes:
    """An NRRD file with these fields beside type, sizes and encoding; array (..., J, I)."""
    kinds = {"i2": "int16", "u2": "uint16", "u1": "uint8", "f4": "float", "f8": "double"}
    kind = kinds[array.dtype.str[1:]]
    head = {
        "type": kind,
        "dimension": str(array.ndim),
        "sizes": " ".join(str(n) for n in array.shape[::-1]),
        "endian": "big" if big_endian else "little",
        "encoding": "raw",
        **fields,
    }
    lines = [f"NRRD000{version}", *(f"{name}: {value}" for name, value in head.items()), "", ""]
    data = array.astype(array.dtype.newbyteorder(">" if big_endian else "<"))
    return "\n".join(lines).encode() + (b"" if "data file" in fields else data.tobytes())


def nrrd_place(geometry: Geometry, unit_mm: float = 1.0) -> dict[str, str]:
    """The fields that place a grid in LPS."""

    def vector(values: np.ndarray) -> str:
        return "(" + ",".join(f"{value:.9g}" for value in values) + ")"

    columns = np.array(geometry.direction).reshape(3, 3) * geometry.spacing / unit_mm
    return {
        "space": "left-posterior-superior",
        "space directions": " ".join(vector(column) for column in columns.T),
        "space origin": vector(np.array(geometry.origin) / unit_mm),
    }


def meta(fields: dict[str, str], array: np.ndarray, data_file: str = "LOCAL") -> bytes:
    """A MetaImage with these fields beside what every one has."""
    kinds = {"i2": "MET_SHORT", "u2": "MET_USHORT", "u1": "MET_UCHAR", "f4": "MET_FLOAT"}
    big = array.dtype.byteorder == ">"
    head = {
        "ObjectType": "Image",
        "NDims": str(array.ndim),
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": str(big),
        "DimSize": " ".join(str(n) for n in array.shape[::-1]),
        **fields,
        "ElementType": kinds[array.dtype.str[1:]],
        "ElementDataFile": data_file,
    }
    lines = [f"{name} = {value}" for name, value in head.items()]
    return "\n".join([*lines, ""]).encode() + (array.tobytes() if data_file == "LOCAL" else b"")


def meta_place(geometry: Geometry) -> dict[str, str]:
    columns = np.array(geometry.direction).reshape(3, 3)
    return {
        "TransformMatrix": " ".join(f"{x:.9g}" for x in columns.T.ravel()),
        "Offset": " ".join(f"{mm:.9g}" for mm in geometry.origin),
        "ElementSpacing": " ".join(f"{mm:.9g}" for mm in geometry.spacing),
    }


def ras(geometry: Geometry) -> np.ndarray:
    """The 4x4 affine of NIfTI."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(geometry.direction).reshape(3, 3) * geometry.spacing
    affine[:3, 3] = geometry.origin
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def nifti(  # noqa: PLR0913  an argument for each field of the header
    array: np.ndarray,
    geometry: Geometry,
    sform: np.ndarray | None = None,
    codes: tuple[int, int] = (1, 1),
    pixdim: Sequence[float] | None = None,
    scaling: tuple[float, float] = (0.0, 0.0),
    unit: int = 2,
    intent: int = 0,
) -> bytes:
    """A NIfTI-1 file, field by field; array (..., K, J, I) with the byte order that it has.

    Args:
        sform: 4x4 in RAS; the geometry's if None. The qform is always the geometry's.
        codes: of qform and sform.
    """
    order = ">" if array.dtype.byteorder == ">" else "<"
    codes_of = {"u1": (2, 8), "i2": (4, 16), "i4": (8, 32), "f4": (16, 32), "f8": (64, 64)}
    codes_of |= {"i1": (256, 8), "u2": (512, 16)}
    code, bits = codes_of[array.dtype.str[1:]]
    affine = ras(geometry)
    rotation = affine[:3, :3] / np.array(geometry.spacing)
    sign = 1.0 if np.linalg.det(rotation) > 0 else -1.0
    rotation[:, 2] *= sign
    w = np.sqrt(max(0.0, 1 + np.trace(rotation))) / 2
    if w > 1e-3:
        skew = rotation - rotation.T
        quaternion = [skew[2, 1] / (4 * w), skew[0, 2] / (4 * w), skew[1, 0] / (4 * w)]
    else:
        values, vectors = np.linalg.eigh((rotation + rotation.T) / 2)
        quaternion = list(vectors[:, values.argmax()])
    header = bytearray(352)

    def pack(at: int, kind: str, *values: float) -> None:
        struct.pack_into(order + kind, header, at, *values)

    sizes = array.shape[::-1]
    pack(0, "i", 348)
    pack(40, "8h", len(sizes), *sizes, *[1] * (7 - len(sizes)))
    pack(68, "3h", intent, code, bits)
    pack(76, "8f", sign, *(geometry.spacing if pixdim is None else pixdim), 1, 1, 1, 1)
    pack(108, "3f", 352, *scaling)
    header[123] = unit
    pack(252, "2h", *codes)
    pack(256, "6f", *quaternion, *affine[:3, 3])
    pack(280, "12f", *(affine if sform is None else sform)[:3].ravel())
    header[344:348] = b"n+1\0"
    return bytes(header) + array.tobytes()
