"""Make cohorts of single images, and measure what methods make of them, for the cohort's judge.

    python Testing/Benchmarks/trust/frames.py DATA WORK ROWS.jsonl [--only brain-slices-t2w ...]
        [--steps 1000] [--device auto] [--minutes 60]

DATA, WORK and ROWS are as for sources.py and measure.py; WORK must lie outside the repository. Every
data set is one cohort, ``<source model>-<target>``: colonoscopy frames, and single slices of the
heart's and the brain's volumes. Targets are another hospital, another contrast, the source's own
kind (where nothing is to be gained), and its own kind with a simulated shift (named so). Cohorts of
the same kind share no image.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import measure
import numpy as np
import SimpleITK as sitk
import sources
from measure import HARMFUL, USUAL
from scipy import ndimage

IMAGES = 24  # of a cohort, at most
SLICES = 4  # of a volume
Case = tuple[str, str, Path, Path]  # id, patient, image, label

# Simulated shifts of frames (J, I, 3), values 0 to 255.
SHIFTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "dark": lambda image: 255 * (image / 255) ** 1.8 * 0.7,
    "blue": lambda image: image * np.array((0.6, 0.9, 1.4)),
    "blurred": lambda image: ndimage.gaussian_filter(image, (4, 4, 0)),
    "noisy": lambda image: image + np.random.default_rng(0).normal(0, 40, image.shape),
    "bright": lambda image: 255 * (image / 255) ** 0.5,
    "grey": lambda image: np.repeat(image.mean(-1, keepdims=True), 3, axis=-1),
}
SOURCES = {"kvasir": "kvasir-to-cvc", "cvc": "cvc-to-kvasir", "heart": "cardiac", "brain": "brain"}
TARGETS: dict[str, Sequence[str]] = {
    "kvasir": ("cvc1", "cvc2", "own", *SHIFTS),
    "cvc": ("kvasir1", "kvasir2", "own", *SHIFTS),
    "heart": ("lge", "own"),
    "brain": ("t2w", "flair", "own"),
}
METHODS = ("bn-statistics", "tent", "adami", "early-features", "self-training")  # the quick ones
# The state after each epoch, as what a method selects of single slices is often the source's.
SETTINGS = (*(replace(one, all_epochs=True) for one in USUAL if one.method in METHODS), *HARMFUL)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("data", type=Path)
    arguments.add_argument("work", type=Path)
    arguments.add_argument("rows", type=Path)
    names = [f"{source}-{target}" for source, targets in TARGETS.items() for target in targets]
    arguments.add_argument("--only", nargs="*", default=names)
    arguments.add_argument("--steps", type=int, default=sources.STEPS)
    arguments.add_argument("--device", default="auto")
    arguments.add_argument("--minutes", default="inf")
    chosen = arguments.parse_args()
    sources.STEPS = chosen.steps
    for name in chosen.only:
        make(name, chosen.data.resolve(), chosen.work.resolve(), chosen.device)
        measure.SETTINGS[name] = SETTINGS
    sys.argv[1:] = [str(chosen.work), str(chosen.rows), "--only", *chosen.only]
    sys.argv += ["--device", chosen.device, "--minutes", chosen.minutes]
    return measure.main()


def make(name: str, data: Path, work: Path, device: str) -> None:
    """The folder of one cohort: the source model and cases.csv."""
    folder = work / name
    if (folder / "cases.csv").exists():
        return
    source, target = name.split("-")
    made = work / SOURCES[source]
    if not (made / "bundle").exists():
        shutil.rmtree(made, ignore_errors=True)
        if source == "brain":
            sources.brain(data, work)
        elif source == "heart":
            sources.cardiac(data, work, device)
        else:
            domains = ("kvasir-seg", "cvc-clinicdb")
            order = domains if source == "kvasir" else domains[::-1]
            sources.polyp(data, work, *order, device)
    cases = frames if source in ("kvasir", "cvc") else slices
    found = list(cases(source, target, data, made, folder))
    if not (folder / "bundle").exists():
        shutil.copytree(made / "bundle", folder / "bundle")
    _write(folder / "cases.csv", found)


def frames(source: str, target: str, data: Path, made: Path, folder: Path) -> Iterator[Case]:
    """Frames of another hospital, or of the source's that it was not trained on."""
    origin = data / "polyp"
    hospital = target[:-1] if target[-1].isdigit() else source
    domain = {"kvasir": "kvasir-seg", "cvc": "cvc-clinicdb"}[hospital]
    rows = [row for row in _read(origin / "manifest.csv") if row["domain"] == domain]
    if hospital == source:
        held_out = {row["image"] for row in _read(made / "manifest.csv") if row["split"] == "val"}
        rows = [row for row in rows if str(origin / row["image"]) in held_out]
        part = ("own", *SHIFTS).index(target)
        rows = rows[part % 2 :: 2] if len(rows) >= 2 * IMAGES else rows
    else:  # halves by sequence, or by patient
        groups = sorted({row["sequence"] or row["id"] for row in rows})
        mine = set(groups[int(target[-1]) - 1 :: 2])
        rows = [row for row in rows if (row["sequence"] or row["id"]) in mine]
    rows = rows[:: max(1, len(rows) // IMAGES)][:IMAGES]
    for row in rows:
        image, label = folder / f"{row['id']}.png", folder / f"{row['id']}.nrrd"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(origin / row["image"]))).astype(float)
        if target in SHIFTS:
            pixels = SHIFTS[target](pixels)
        pixels = np.clip(np.round(pixels), 0, 255).astype(np.uint8)
        sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=True), str(image))
        mask = sitk.GetArrayFromImage(sitk.ReadImage(str(origin / row["mask"]))) > 0
        sitk.WriteImage(sitk.GetImageFromArray(mask.astype(np.uint8)), str(label))
        yield row["id"], row["sequence"] or row["id"], image, label


def slices(source: str, target: str, data: Path, made: Path, folder: Path) -> Iterator[Case]:
    """Single slices of volumes, each an image by itself."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, patient, image, label in _volumes(source, target, data, made):
        volume, truth = sitk.ReadImage(str(image)), sitk.ReadImage(str(label))
        shown = np.flatnonzero(sitk.GetArrayViewFromImage(truth).any(axis=(1, 2)))
        for k in np.unique(
            shown[np.linspace(0, len(shown) - 1, SLICES + 2).round().astype(int)[1:-1]]
        ):
            paths = folder / f"{name}_{k}.nrrd", folder / f"{name}_{k}_label.nrrd"
            for one, path in zip((volume, truth), paths, strict=True):
                sitk.WriteImage(one[:, :, int(k) : int(k) + 1], str(path))
            yield f"{name}_{k}", patient, *paths


def _volumes(source: str, target: str, data: Path, made: Path) -> Iterator[Case]:
    """The volumes with a reference of one target."""
    if source == "brain":
        origin = data / "open_ms_skullstrip"
        trained = {"patient01", "patient20"} if target == "own" else set()
        for row in _read(origin / "manifest.csv"):
            right = row["domain"] == target.replace("own", "t1w")
            if right and row["subject"] not in trained | {"patient04"}:
                yield row["id"], row["subject"], origin / row["image"], origin / row["mask"]
        return
    if target == "own":
        for row in _read(made / "manifest.csv"):
            if row["split"] == "val":
                name = Path(row["image"]).name.split("_")[0]
                yield name, name, Path(row["image"]), Path(row["label"])
        return
    for row in _read(made / "cases.csv"):
        if row["label"]:
            yield row["id"], row["patient"], Path(row["image"]), Path(row["label"])


def _read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _write(path: Path, cases: Sequence[Case]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("id", "patient", "image", "label"))
        writer.writerows(cases)


if __name__ == "__main__":
    sys.exit(main())
