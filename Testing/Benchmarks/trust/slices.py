"""Measure cohorts of single slices of the brain volumes, for the verdict on a cohort.

    python Testing/Benchmarks/trust/slices.py DATA WORK ROWS.jsonl [--only brain-slices-t2w ...]
        [--device auto] [--minutes 60]

DATA, WORK and ROWS are as for sources.py and measure.py. Slices of T2W and FLAIR volumes and, where
nothing is to be gained, of T1W volumes are images by themselves. Methods adapt the shipped bundle
once to all of them; the state after each epoch is judged, as what a method selects for single
slices, whose volume it does not know, is often the source's.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import measure
import numpy as np
import SimpleITK as sitk
from settings import HARMFUL, SETTINGS, USUAL
from sources import BRAIN

SLICES = 4  # of a volume, evenly over those with a label
DOMAINS = {"t2w": "t2w", "flair": "flair", "own": "t1w"}
TRAINED = ("patient01", "patient20")  # the bundle's own patients
DEMO = "patient04"
METHODS = ("bn-statistics", "tent", "adami", "early-features", "self-training")  # the quick ones
Case = tuple[str, str, Path, Path]  # id, patient, image, label


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("data", type=Path)
    arguments.add_argument("work", type=Path)
    arguments.add_argument("rows", type=Path)
    names = [f"brain-slices-{kind}" for kind in DOMAINS]
    arguments.add_argument("--only", nargs="*", choices=names, default=names)
    arguments.add_argument("--device", default="auto")
    arguments.add_argument("--minutes", default="inf")
    chosen = arguments.parse_args()
    for name in chosen.only:
        make(name, chosen.data.resolve(), chosen.work.resolve() / name)
        usual = [replace(one, all_epochs=True) for one in USUAL if one.method in METHODS]
        SETTINGS[name] = (*usual, *HARMFUL)
    sys.argv[1:] = [str(chosen.work), str(chosen.rows), "--only", *chosen.only]
    sys.argv += ["--device", chosen.device, "--minutes", chosen.minutes]
    return measure.main()


def make(name: str, data: Path, folder: Path) -> None:
    """The folder of one cohort, as measure.py reads it."""
    if (folder / "cases.csv").exists():
        return
    folder.mkdir(parents=True)
    shutil.copytree(BRAIN, folder / "bundle")
    kind = name.rpartition("-")[2]
    with open(folder / "cases.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("id", "patient", "image", "label"))
        writer.writerows(slices(kind, data / "open_ms_skullstrip", folder))


def slices(kind: str, origin: Path, folder: Path) -> Iterator[Case]:
    """Every slice as an image of its own."""
    left_out = (DEMO, *TRAINED) if kind == "own" else (DEMO,)
    with open(origin / "manifest.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        if row["domain"] != DOMAINS[kind] or row["subject"] in left_out:
            continue
        volume, truth = (sitk.ReadImage(str(origin / row[name])) for name in ("image", "mask"))
        shown = np.flatnonzero(sitk.GetArrayViewFromImage(truth).any(axis=(1, 2)))
        places = np.linspace(0, len(shown) - 1, SLICES + 2).round().astype(int)[1:-1]
        for k in map(int, shown[places]):
            paths = folder / f"{row['id']}_{k}.nrrd", folder / f"{row['id']}_{k}_label.nrrd"
            for one, path in zip((volume, truth), paths, strict=True):
                sitk.WriteImage(one[:, :, k : k + 1], str(path))
            yield f"{row['id']}_{k}", row["subject"], *paths


if __name__ == "__main__":
    sys.exit(main())
