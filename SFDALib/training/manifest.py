"""The training cases: a manifest CSV, and the cases on the model's grid, cached on the disk."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from SFDALib.bundle.description import Description
from SFDALib.errors import RequestError
from SFDALib.volume.files import read_labels, read_volume
from SFDALib.volume.grid import conform, conform_labels
from SFDALib.volume.specification import Grid, unit

COLUMNS = ("image", "label", "split")
SPLITS = ("train", "val")


@dataclass(frozen=True)
class Entry:
    """One row of a manifest: the image's files (several are its channels) and its labels."""

    images: tuple[Path, ...]
    label: Path
    split: str


@dataclass(frozen=True)
class Case:
    """A case on the model's grid: ``image`` (C, k, j, i) float32, ``labels`` (k, j, i) uint8."""

    name: str
    image: np.ndarray
    labels: np.ndarray
    spacing_kji: tuple[float, float, float]


def read_manifest(path: Path) -> tuple[Entry, ...]:
    """Read ``image,label,split``; paths are relative to the manifest, channels joined by ``;``.

    Rows of other splits than train and val are left out.

    Raises:
        RequestError: missing columns or files, or no training case.
    """
    path = Path(path)
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
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
            if not file.exists():
                raise RequestError(f"{path}, line {number}: no such file {file}; correct the path")
        entries.append(entry)
    if not any(entry.split == "train" for entry in entries):
        raise RequestError(f"{path}: found no row with split train, expected at least one")
    return tuple(entries)


def load_cases(
    entries: Sequence[Entry], split: str, grid: Grid, classes: int, cache: Path
) -> list[Case]:
    """Conform the cases of one split to ``grid``, once: arrays are cached and mapped to memory.

    Raises:
        RequestError: labels on another grid than their image, or outside the bundle's classes.
    """
    cases = []
    for entry in entries:
        if entry.split != split:
            continue
        stem = cache / _key(entry, grid)
        image_file, label_file = stem.with_suffix(".image.npy"), stem.with_suffix(".label.npy")
        volume = labels = None
        if not label_file.exists():
            volume, labels = read_volume(entry.images), read_labels(entry.label)
            if not labels.geometry.matches(volume.geometry, tolerance=1e-2):
                raise RequestError(
                    f"{entry.label}: found another grid than that of {entry.images[0]}, expected"
                    " labels on the image's grid; resample them"
                )
            if labels.array.max() >= classes:
                raise RequestError(
                    f"{entry.label}: found label {labels.array.max()}, expected at most"
                    f" {classes - 1} as described; correct the labels or the description"
                )
            conformed = conform(volume, grid)
            cache.mkdir(parents=True, exist_ok=True)
            np.save(image_file, conformed.array)
            np.save(stem.with_suffix(".spacing.npy"), conformed.geometry.spacing_kji)
            partial = stem.with_suffix(".partial.npy")
            np.save(partial, conform_labels(labels.array[0], conformed))
            os.replace(partial, label_file)  # last and at once: where it is, all are whole
        spacing = np.load(stem.with_suffix(".spacing.npy"))
        cases.append(
            Case(
                entry.images[0].name,
                np.load(image_file, mmap_mode="r"),
                np.load(label_file, mmap_mode="r"),
                tuple(float(mm) for mm in spacing),
            )
        )
    return cases


def _key(entry: Entry, grid: Grid) -> str:
    """Names a conformed case: other or changed files, or another grid, have another key."""
    files = [
        (str(file.resolve()), status.st_size, status.st_mtime_ns)
        for file in (*entry.images, entry.label)
        for status in [file.stat()]
    ]
    return hashlib.sha256(repr((files, grid)).encode()).hexdigest()[:16]


def diffusion_grid(description: Description) -> Grid:
    """The grid of a bundle's diffusion model: the segmentation model's, at its own spacing and with
    intensities from 0 to 1.
    """
    grid = description.grid
    return replace(
        grid, spacing=description.diffusion.spacing, normalisation=unit(grid.normalisation)
    )
