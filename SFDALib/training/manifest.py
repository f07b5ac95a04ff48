"""The training cases, from a manifest (CSV) or nnU-Net's raw folder.

The cases are preprocessed once, as the model expects its input, and cached on the disk.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from SFDALib import json_file
from SFDALib.bundle.description import DiffusionDescription
from SFDALib.errors import RequestError
from SFDALib.results.folder import writing
from SFDALib.volume.conform import conform, conform_labels
from SFDALib.volume.geometry import Volume
from SFDALib.volume.image_file import read_labels, read_volume
from SFDALib.volume.input_spec import InputSpec
from SFDALib.volume.normalisation import unit
from SFDALib.volume.reading import Reading
from SFDALib.volume.regrid import on_grid_of

COLUMNS = ("image", "label", "split")
SPLITS = ("train", "val")
INTENSITIES = 10_000  # voxels of a case that are kept for the model's fingerprint
LIMIT = 64 << 20  # characters of a manifest


@dataclass(frozen=True)
class Entry:
    """One row of a manifest.

    Args:
        images: the image's files; several are its channels.
        label: the file of its segmentation.
        split: "train" or "val".
        relabel: pairs of a value in the file and the bundle's label that it stands for.
    """

    images: tuple[Path, ...]
    label: Path
    split: str
    relabel: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Case:
    """A preprocessed case.

    Args:
        name: of the first image file.
        image: ``(C, k, j, i)`` float32.
        labels: ``(k, j, i)`` uint8.
        spacing_kji: mm.
        intensities: ``(C, n)`` float32, of n voxels inside the labels, as stored in the image.
    """

    name: str
    image: np.ndarray
    labels: np.ndarray
    spacing_kji: tuple[float, float, float]
    intensities: np.ndarray | None = None


def read_manifest(path: Path, relabel: str = "") -> tuple[Entry, ...]:
    """Read a manifest with the columns ``image,label,split``, or nnU-Net's raw data.

    Paths are relative to the manifest; the files of several channels are joined by ``;``. Rows of
    other splits than train and val are ignored. A folder is read as nnU-Net's raw data: imagesTr,
    labelsTr and dataset.json; every case is for training.

    Args:
        path: of the CSV file or the folder.
        relabel: what labels in the files mean in the bundle, such as "1=2,2=1,4=3" for BraTS's own
            (1 necrosis, 2 edema, 4 enhancing) and a model with nnU-Net's (1 edema, 2 necrosis).

    Raises:
        RequestError: missing columns or files, or no training case.
    """
    pairs = read_relabel(relabel)
    entries = _read_raw(Path(path)) if Path(path).is_dir() else _read_csv(Path(path))
    return tuple(replace(entry, relabel=pairs) for entry in entries)


def read_relabel(words: str) -> tuple[tuple[int, int], ...]:
    """Pairs of labels from a text such as "1=2,2=1".

    Raises:
        RequestError: the text is not such a list, or a label is not from 0 to 255.
    """
    try:
        pairs = [word.split("=") for word in words.split(",")] if words else []
        found = tuple((int(old), int(new)) for old, new in pairs)
        if any(not 0 <= value <= 255 for pair in found for value in pair):
            raise ValueError
    except ValueError as error:
        raise RequestError(
            f'--relabel: found "{words[:60]}", expected pairs of labels from 0 to 255; write them'
            " as 1=2,2=1"
        ) from error
    return found


def _read_raw(folder: Path) -> list[Entry]:
    """nnU-Net's raw data: case_0000.nii.gz, case_0001.nii.gz, ... and their labels."""
    try:
        described = json_file.read(folder / "dataset.json")
        ending, channels = described["file_ending"], len(described["channel_names"])
    except (KeyError, TypeError) as error:
        raise RequestError(
            f"{folder}: found no dataset.json with file_ending and channel_names ({error!r:.80}),"
            " expected nnU-Net's raw folder or a CSV; choose one"
        ) from error
    entries = []
    for label in sorted((folder / "labelsTr").glob(f"*{ending}")):
        if label.name.startswith("."):  # what macOS leaves beside a file
            continue
        case = label.name.removesuffix(ending)
        images = tuple(folder / "imagesTr" / f"{case}_{c:04}{ending}" for c in range(channels))
        for image in images:
            if not image.exists():
                raise RequestError(f"{folder}: no such file {image}; expected it beside {label}")
        entries.append(Entry(images, label, "train"))
    if not entries:
        raise RequestError(f"{folder}: found no labelsTr/*{ending}, expected at least one case")
    return entries


def _read_csv(path: Path) -> list[Entry]:
    """The rows of a manifest; every file exists."""
    try:
        if not os.path.isfile(path):  # a pipe or a device has no end
            raise RequestError(f"{path}: no such file, expected a CSV file; check the path")
        with open(path, newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(io.StringIO(stream.read(LIMIT), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RequestError(f"{path}: cannot be read as CSV ({error})") from error
    missing = [column for column in COLUMNS if not rows or column not in rows[0]]
    if missing:
        raise RequestError(
            f"{path}: found no column {', '.join(missing)}, expected {','.join(COLUMNS)} in the"
            " first line; add them"
        )
    entries = []
    for number, row in enumerate(rows, start=2):
        if row["split"] not in SPLITS:
            continue
        if not row["image"] or not row["label"]:
            raise RequestError(f"{path}, line {number}: found no image or label, expected both")
        images = tuple(path.parent / name for name in row["image"].split(";"))
        entry = Entry(images, path.parent / row["label"], row["split"])
        for file in (*entry.images, entry.label):
            if not os.path.exists(file):
                raise RequestError(f"{path}, line {number}: no such file {file}; correct the path")
        entries.append(entry)
    if not any(entry.split == "train" for entry in entries):
        raise RequestError(f"{path}: found no row with split train, expected at least one")
    return entries


def read_case(entry: Entry, spec: InputSpec, classes: int, reading: Reading | None = None) -> Case:
    """Read an image and its labels, and preprocess both.

    Args:
        entry: their files.
        spec: what the model expects of its input.
        classes: K, background included.
        reading: how the user says that the image's files are to be read.

    Raises:
        RequestError: labels on another grid than their image, or outside the bundle's classes.
    """
    volume, labels = read_volume(entry.images, reading), read_labels(entry.label)
    matching = labels
    if not labels.geometry.matches(volume.geometry):
        moved = on_grid_of(labels, volume.geometry)
        if moved is None:
            raise RequestError(
                f"{entry.label}: found another grid than that of {entry.images[0]}, expected"
                " labels on the image's grid; resample them"
            )
        matching = moved
    array = relabelled(matching.array, entry.relabel)[0]
    if array.max() >= classes:
        raise RequestError(
            f"{entry.label}: found label {array.max()}, expected at most"
            f" {classes - 1} as described; correct the labels or the description"
        )
    conformed = conform(volume, spec)
    return Case(
        entry.images[0].name,
        conformed.array,
        conform_labels(array, conformed),
        _floats(conformed.geometry.spacing_kji),
        _inside(volume, array),
    )


def load_cases(
    entries: Sequence[Entry], split: str, spec: InputSpec, classes: int, cache: Path
) -> list[Case]:
    """The preprocessed cases of one split, cached on the disk and mapped into memory.

    Args:
        entries: of every split.
        split: "train" or "val".
        spec: what the model expects of its input.
        classes: K, background included.
        cache: the folder for the arrays.

    Raises:
        RequestError: labels on another grid than their image, or outside the bundle's classes.
    """
    cases = []
    for entry in entries:
        if entry.split != split:
            continue
        stem = cache / _key(entry, spec)
        image_file, label_file = stem.with_suffix(".image.npy"), stem.with_suffix(".label.npy")
        if not label_file.exists():
            case = read_case(entry, spec, classes)
            with writing(cache):
                cache.mkdir(parents=True, exist_ok=True)
                _save(image_file, case.image)
                _save(stem.with_suffix(".spacing.npy"), np.asarray(case.spacing_kji))
                if case.intensities is not None:
                    _save(stem.with_suffix(".intensities.npy"), case.intensities)
                partial = stem.with_suffix(".partial.npy")
                _save(partial, case.labels)
                os.replace(partial, label_file)  # last: where it exists, all are complete
            del case
        spacing = np.load(stem.with_suffix(".spacing.npy"))
        intensities = stem.with_suffix(".intensities.npy")
        cases.append(
            Case(
                entry.images[0].name,
                np.load(image_file, mmap_mode="r"),
                np.load(label_file, mmap_mode="r"),
                _floats(spacing),
                np.load(intensities) if intensities.exists() else None,
            )
        )
    return cases


def _save(path: Path, array: np.ndarray) -> None:
    """Write an array through Python, which raises on a full disk; NumPy alone may not."""
    with open(path, "wb") as file:
        np.lib.format.write_array(SimpleNamespace(write=file.write), array)


def _inside(volume: Volume, labels: np.ndarray) -> np.ndarray:
    """About ``INTENSITIES`` voxels inside the labels at equal distances, ``(C, n)``."""
    inside = volume.array[:, labels > 0]
    return inside[:, :: max(1, inside.shape[1] // INTENSITIES)].astype(np.float32)


def relabelled(labels: np.ndarray, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """The labels with each first value of the pairs replaced by the second."""
    meaning = np.arange(256, dtype=np.uint8)
    for old, new in pairs:
        meaning[old] = new
    return meaning[labels]


def _key(entry: Entry, spec: InputSpec) -> str:
    """The name of a cached case; it changes with the files and with the model's input."""
    files = [
        (str(file.resolve()), status.st_size, status.st_mtime_ns)
        for file in (*entry.images, entry.label)
        for status in [file.stat()]
    ]
    return hashlib.sha256(repr((files, entry.relabel, spec)).encode()).hexdigest()[:16]


def _floats(spacing: Iterable[float]) -> tuple[float, float, float]:
    k, j, i = (float(mm) for mm in spacing)
    return k, j, i


def diffusion_input_spec(spec: InputSpec, diffusion: DiffusionDescription) -> InputSpec:
    """The input of a diffusion model: the segmentation model's ``spec``, at the diffusion model's
    spacing and with intensities from 0 to 1.
    """
    return replace(spec, spacing=diffusion.spacing, normalisation=unit(spec.normalisation))
