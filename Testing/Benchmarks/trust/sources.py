"""Make what the judge is measured on: images with references, and a source model for each data set.

    python Testing/Benchmarks/trust/sources.py DATA WORK [--only polyp ...] [--device auto]

DATA holds the folders polyp, cardiac, hippocampus, nuclei and open_ms_skullstrip with their
manifest.csv. WORK is to lie outside the repository: most of these images, and the weights trained
on them, may not be passed on. For each data set WORK gets ``<name>/bundle`` and
``<name>/cases.csv`` (id, patient, image, label), the target cases; brain-t1w, cardiac-cine and
hippocampus-t1w are of the source's own kind, where nothing is to be gained. The shifts of
hippocampus-inverted and hippocampus-degraded are simulated (``simulated_shifts.py``).

Networks are small: those with batch normalisation train for a minute or two on a GPU, an hour on a
CPU; those with instance normalisation for about ten minutes on one core. Sources that do well at
home and fail on their target in earnest are what a judge has to see.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from simulated_shifts import SHIFTS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
BRAIN = ROOT / "SFDASegmenter" / "Resources" / "Samples" / "brain-t1w"
FRAMES = 24  # target frames of a polyp data set, evenly over its list
IMAGES = 12  # stained images of nuclei, evenly over their list
PATIENTS = 10  # of the hippocampus, evenly over the list of the second population
UNSHIFTED = 5  # volumes of the source's own kind
CINE_MM = (1.5, 1.5, 10.0)  # of ACDC, whose own was lost: the usual one, for volumes in ml alone

Row = dict[str, str]


@dataclass(frozen=True)
class Training:
    """How a source is trained: the file of its configuration, and how long.

    Args:
        config: name of the JSON file beside this one.
        steps, head_steps: of the network, and of its head on early features.
        batch: patches of a step.
    """

    config: str
    steps: int = 2500
    head_steps: int = 200
    batch: int = 16


CARDIAC = Training("cardiac")
INSTANCE = Training("cardiac-instance", 1100, 60, 8)
NUCLEI = Training("nuclei", 900, 60, 8)
HIPPOCAMPUS = Training("hippocampus", 900, 60, 4)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("data", type=Path)
    arguments.add_argument("work", type=Path)
    arguments.add_argument("--only", nargs="*", help="names of data sets")
    arguments.add_argument("--device", default="auto")
    chosen = arguments.parse_args()
    data, work, device = chosen.data.resolve(), chosen.work.resolve(), chosen.device
    makers = {
        "brain": lambda: brain(data, work),
        "kvasir-to-cvc": lambda: polyp(data, work, "kvasir-seg", "cvc-clinicdb", device),
        "cardiac": lambda: cardiac(data, work, device),
        "cvc-to-kvasir": lambda: polyp(data, work, "cvc-clinicdb", "kvasir-seg", device),
        "brain-t1w": lambda: brain_unshifted(data, work),
        "cardiac-cine": lambda: cardiac_unshifted(work),
        "hippocampus-t1w": lambda: hippocampus(data, work, device),
        "hippocampus-inverted": lambda: hippocampus_shifted(data, work, "inverted"),
        "hippocampus-degraded": lambda: hippocampus_shifted(data, work, "degraded"),
        "cardiac-instance": lambda: cardiac(data, work, device, INSTANCE),
        "nuclei": lambda: nuclei(data, work, device),
    }
    for name in chosen.only or makers:
        if not (work / name / "bundle").exists():
            makers[name]()
    return 0


def brain(data: Path, work: Path) -> None:
    """The shipped bundle on the T2W and FLAIR volumes: cases are volumes.

    Patient 04 is left out, on whom the demo shows the judge.
    """
    folder = work / "brain"
    origin = data / "open_ms_skullstrip"
    rows = [
        (row["id"], row["subject"], origin / row["image"], origin / row["mask"])
        for row in _manifest(origin)
        if row["domain"] != "t1w" and row["subject"] != "patient04"
    ]
    _write(folder / "cases.csv", ("id", "patient", "image", "label"), rows)
    shutil.copytree(BRAIN, folder / "bundle")


def brain_unshifted(data: Path, work: Path) -> None:
    """The shipped bundle on the T1W volumes of a patient that it was not trained on."""
    folder, origin = work / "brain-t1w", data / "open_ms_skullstrip"
    rows = [
        (row["id"], row["subject"], origin / row["image"], origin / row["mask"])
        for row in _manifest(origin)
        if (row["domain"], row["subject"]) == ("t1w", "patient12")
    ]
    _write(folder / "cases.csv", ("id", "patient", "image", "label"), rows)
    shutil.copytree(BRAIN, folder / "bundle")


def polyp(data: Path, work: Path, source: str, target: str, device: str) -> None:
    """Frames of one hospital to those of another: cases are frames."""
    name = "-to-".join(domain.partition("-")[0] for domain in (source, target))
    rows = _manifest(data / "polyp")
    tested = _evenly([row for row in rows if row["domain"] == target], FRAMES)
    training = [row for row in rows if row["domain"] == source]
    _images(work / name, data / "polyp", training, tested, Training("polyp"), device)


def nuclei(data: Path, work: Path, device: str) -> None:
    """Fluorescence to stained histology, which is dark on bright: cases are images.

    Which images are of one patient is not known.
    """
    rows = _manifest(data / "nuclei")
    training = [row for row in rows if row["domain"] == "fluorescence"]
    tested = _evenly([row for row in rows if row["domain"] == "histology"], IMAGES)
    _images(work / "nuclei", data / "nuclei", training, tested, NUCLEI, device)


def _images(
    folder: Path,
    origin: Path,
    training: Sequence[Row],
    tested: Sequence[Row],
    settings: Training,
    device: str,
) -> None:
    """Cases and a source of two lists of 2D images with masks, whose foreground is above 0."""
    (folder / "labels").mkdir(parents=True, exist_ok=True)

    def label(row: Row) -> Path:
        path = folder / "labels" / f"{row['domain']}-{row['id']}.nrrd"
        image = sitk.ReadImage(str(origin / row["image"]))
        array = sitk.GetArrayFromImage(sitk.ReadImage(str(origin / row["mask"])))
        mask = sitk.GetImageFromArray((array > 0).astype(np.uint8))
        mask.CopyInformation(image)
        sitk.WriteImage(mask, str(path))
        return path

    manifest = [
        (origin / row["image"], label(row), "val" if index % 10 == 0 else "train")
        for index, row in enumerate(training)
    ]
    cases = [
        (row["id"], row.get("sequence") or row["id"], origin / row["image"], label(row))
        for row in tested
    ]
    _write(folder / "cases.csv", ("id", "patient", "image", "label"), cases)
    _train(folder, settings, manifest, device)


def hippocampus(data: Path, work: Path, device: str) -> None:
    """A 3D source of one population, and volumes of it that it was not trained on."""
    folder, origin = work / "hippocampus-t1w", data / "hippocampus"
    rows = [row for row in _manifest(origin) if row["domain"] == "hippocampus-float32"]
    held_out = rows[::10]
    manifest = [
        (origin / row["image"], origin / row["mask"], "val" if row in held_out else "train")
        for row in rows
    ]
    cases = [
        (row["id"], row["id"], origin / row["image"], origin / row["mask"])
        for row in held_out[:UNSHIFTED]
    ]
    _write(folder / "cases.csv", ("id", "patient", "image", "label"), cases)
    _train(folder, HIPPOCAMPUS, manifest, device)


def hippocampus_shifted(data: Path, work: Path, kind: str) -> None:
    """The source that ``hippocampus`` made, on patients of the second population with a simulated
    shift on top.
    """
    folder, origin = work / f"hippocampus-{kind}", data / "hippocampus"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for row in _manifest(origin) if row["domain"] == "hippocampus-uint8"]
    cases = []
    for number, row in enumerate(_evenly(rows, PATIENTS)):
        path = folder / f"{row['id']}.nrrd"
        image = sitk.ReadImage(str(origin / row["image"]))
        shifted = sitk.GetImageFromArray(
            SHIFTS[kind](sitk.GetArrayFromImage(image), np.random.default_rng(number))
        )
        shifted.CopyInformation(image)
        sitk.WriteImage(shifted, str(path))
        cases.append((row["id"], row["id"], path, origin / row["mask"]))
    _write(folder / "cases.csv", ("id", "patient", "image", "label"), cases)
    shutil.copytree(work / "hippocampus-t1w" / "bundle", folder / "bundle")


def cardiac(data: Path, work: Path, device: str, settings: Training = CARDIAC) -> None:
    """Cine to late enhancement: cases are volumes; those without full labels adapt alone."""
    folder, origin = work / settings.config, data / "cardiac"
    folder.mkdir(parents=True, exist_ok=True)

    def spaced(name: str, kind: str) -> Path:
        path = folder / f"{Path(name).name.split('.')[0]}_{kind}.nrrd"
        image = sitk.ReadImage(str(origin / name))
        if kind == "cine":
            image.SetSpacing(CINE_MM)
        sitk.WriteImage(image, str(path))
        return path

    rows = _manifest(origin)
    cine = [row for row in rows if row["domain"] == "acdc_cine_ed"]
    manifest = [
        (
            spaced(row["image"], "cine"),
            spaced(row["mask"], "cine"),
            "val" if index % 8 == 0 else "train",
        )
        for index, row in enumerate(cine)
    ]
    cases = [
        (
            row["id"],
            row["id"],
            spaced(row["image"], "lge"),
            spaced(row["mask"], "lge") if row["mask_kind"] == "full" else "",
        )
        for row in rows
        if row["domain"] == "mscmr_lge"
    ]
    _write(folder / "cases.csv", ("id", "patient", "image", "label"), cases)
    _train(folder, settings, manifest, device)


def cardiac_unshifted(work: Path) -> None:
    """The cine model, which ``cardiac`` made, on cine volumes that it was not trained on."""
    folder, made = work / "cardiac-cine", work / "cardiac"
    held_out = [row for row in _manifest(made) if row["split"] == "val"][:UNSHIFTED]
    rows = [
        (name := Path(row["image"]).name.split("_")[0], name, row["image"], row["label"])
        for row in held_out
    ]
    _write(folder / "cases.csv", ("id", "patient", "image", "label"), rows)
    shutil.copytree(made / "bundle", folder / "bundle")


def _evenly(rows: Sequence[Row], count: int) -> Sequence[Row]:
    return rows[:: max(1, len(rows) // count)][:count]


def _train(
    folder: Path, settings: Training, manifest: Sequence[tuple[object, ...]], device: str
) -> None:
    """A segmentation network and an early head, through the command line."""
    _write(folder / "manifest.csv", ("image", "label", "split"), manifest)
    common = ("--manifest", folder / "manifest.csv", "--device", device, "--batch", settings.batch)
    common = (*common, "--augment", "intensity", "--learning-rate", 2e-3, "--progress", "none")
    base = folder / "base"
    steps = ("--steps", settings.steps, "--config", HERE / f"{settings.config}.json")
    _command("segmentation", *common, *steps, "--loss", "dice-ce", "--output", base)
    head = ("--steps", settings.head_steps, "--bundle", base, "--output", folder / "bundle")
    _command("early-head", *common, *head)


def _command(kind: str, *words: object) -> None:
    command = [sys.executable, "-m", "SFDALib", "train", kind, *map(str, words)]
    subprocess.run(command, cwd=ROOT, check=True)


def _manifest(folder: Path) -> list[Row]:
    with open(folder / "manifest.csv", newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(main())
