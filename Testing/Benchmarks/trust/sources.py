"""Make what the judge is measured on: images with references, and a source model for each data set.

    python Testing/Benchmarks/trust/sources.py DATA WORK [--only polyp ...] [--device auto]

DATA holds the folders polyp, cardiac, hippocampus, nuclei and open_ms_skullstrip with their
manifest.csv. WORK is to lie outside the repository: most of these images, and the weights trained
on them, may not be passed on. For each data set WORK gets ``<name>/bundle`` and
``<name>/cases.csv`` (id, patient, image, label), the target cases; brain-t1w, cardiac-cine and
hippocampus-t1w are of the source's own kind, where nothing is to be gained. The shifts of
hippocampus-inverted, -folded and -degraded are simulated (``simulated_shifts.py``); those of
hippocampus-batch are the same with batch normalisation.

Networks are small: those with batch normalisation train for a minute or two on a GPU, an hour on a
CPU; those with instance normalisation for about ten minutes on one core. Sources that do well at
home and fail on their target in earnest are what a judge has to see.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from simulated_shifts import SHIFTS
from source_training import Row, Training, read_manifest, train, write_table

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
BRAIN = ROOT / "SFDASegmenter" / "Resources" / "Samples" / "brain-t1w"
FRAMES = 24  # target frames of a polyp data set, evenly over its list
IMAGES = 12  # stained images of nuclei, evenly over their list
PATIENTS = 10  # of the hippocampus, evenly over the list of the second population
UNSHIFTED = 5  # volumes of the source's own kind
CINE_MM = (1.5, 1.5, 10.0)  # of ACDC, whose own was lost: the usual one, for volumes in ml alone

CARDIAC = Training("cardiac")
INSTANCE = Training("cardiac-instance", 700, 60, 8)
NUCLEI = {
    "nuclei": Training("nuclei", 500, 60, 8),
    "nuclei-contrast": Training("nuclei", 500, 60, 8, augment="contrast"),
}
HIPPOCAMPUS = {
    "hippocampus": Training("hippocampus", 900, 60, 4),
    "hippocampus-batch": Training("hippocampus", 500, 60, 4, norm="BatchNorm"),
}


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
        "brain-thinned": lambda: brain_thinned(data, work),
        "cardiac-cine": lambda: cardiac_unshifted(work),
        "cardiac-instance": lambda: cardiac(data, work, device, INSTANCE),
    }
    for name in NUCLEI:
        makers[name] = partial(nuclei, data, work, name, device)
    for name in HIPPOCAMPUS:
        makers[f"{name}-t1w"] = partial(hippocampus, data, work, name, device)
        for kind in SHIFTS:
            makers[f"{name}-{kind}"] = partial(hippocampus_shifted, data, work, name, kind)
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
        for row in read_manifest(origin)
        if row["domain"] != "t1w" and row["subject"] != "patient04"
    ]
    write_table(folder / "cases.csv", ("id", "patient", "image", "label"), rows)
    shutil.copytree(BRAIN, folder / "bundle")


def brain_unshifted(data: Path, work: Path) -> None:
    """The shipped bundle on the T1W volumes of a patient that it was not trained on."""
    folder, origin = work / "brain-t1w", data / "open_ms_skullstrip"
    rows = [
        (row["id"], row["subject"], origin / row["image"], origin / row["mask"])
        for row in read_manifest(origin)
        if (row["domain"], row["subject"]) == ("t1w", "patient12")
    ]
    write_table(folder / "cases.csv", ("id", "patient", "image", "label"), rows)
    shutil.copytree(BRAIN, folder / "bundle")


def brain_thinned(data: Path, work: Path) -> None:
    """The shipped bundle on every third slice of a volume of each sequence and patient: what
    ``presets.py`` can afford with as many epochs as the papers have.
    """
    folder, origin = work / "brain-thinned", data / "open_ms_skullstrip"
    folder.mkdir(parents=True, exist_ok=True)
    cases = []
    for row in read_manifest(origin):
        if row["domain"] == "t1w" or row["session"] != "study1" or row["subject"] == "patient04":
            continue
        paths = []
        for kind in ("image", "mask"):
            paths.append(folder / f"{row['id']}_{kind}.nrrd")
            sitk.WriteImage(sitk.ReadImage(str(origin / row[kind]))[:, :, ::3], str(paths[-1]))
        cases.append((row["id"], row["subject"], *paths))
    write_table(folder / "cases.csv", ("id", "patient", "image", "label"), cases)
    shutil.copytree(BRAIN, folder / "bundle")


def polyp(data: Path, work: Path, source: str, target: str, device: str) -> None:
    """Frames of one hospital to those of another: cases are frames."""
    name = "-to-".join(domain.partition("-")[0] for domain in (source, target))
    rows = read_manifest(data / "polyp")
    tested = _evenly([row for row in rows if row["domain"] == target], FRAMES)
    training = [row for row in rows if row["domain"] == source]
    _images(work / name, data / "polyp", training, tested, Training("polyp"), device)


def nuclei(data: Path, work: Path, name: str, device: str) -> None:
    """Fluorescence to stained histology, which is dark on bright: cases are images.

    Which images are of one patient is not known. The source "nuclei" finds next to nothing
    there; "nuclei-contrast" is trained with random contrasts (GIN) and does.
    """
    rows = read_manifest(data / "nuclei")
    training = [row for row in rows if row["domain"] == "fluorescence"]
    tested = _evenly([row for row in rows if row["domain"] == "histology"], IMAGES)
    _images(work / name, data / "nuclei", training, tested, NUCLEI[name], device)


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
    write_table(folder / "cases.csv", ("id", "patient", "image", "label"), cases)
    train(folder, settings, manifest, device)


def hippocampus(data: Path, work: Path, name: str, device: str) -> None:
    """A 3D source of one population, and volumes of it that it was not trained on."""
    folder, origin = work / f"{name}-t1w", data / "hippocampus"
    rows = [row for row in read_manifest(origin) if row["domain"] == "hippocampus-float32"]
    held_out = rows[::10]
    manifest = [
        (origin / row["image"], origin / row["mask"], "val" if row in held_out else "train")
        for row in rows
    ]
    cases = [
        (row["id"], row["id"], origin / row["image"], origin / row["mask"])
        for row in held_out[:UNSHIFTED]
    ]
    write_table(folder / "cases.csv", ("id", "patient", "image", "label"), cases)
    train(folder, HIPPOCAMPUS[name], manifest, device)


def hippocampus_shifted(data: Path, work: Path, name: str, kind: str) -> None:
    """The source that ``hippocampus`` made, on patients of the second population with a simulated
    shift on top.
    """
    folder, origin = work / f"{name}-{kind}", data / "hippocampus"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for row in read_manifest(origin) if row["domain"] == "hippocampus-uint8"]
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
    write_table(folder / "cases.csv", ("id", "patient", "image", "label"), cases)
    shutil.copytree(work / f"{name}-t1w" / "bundle", folder / "bundle")


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

    rows = read_manifest(origin)
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
    write_table(folder / "cases.csv", ("id", "patient", "image", "label"), cases)
    train(folder, settings, manifest, device)


def cardiac_unshifted(work: Path) -> None:
    """The cine model, which ``cardiac`` made, on cine volumes that it was not trained on."""
    folder, made = work / "cardiac-cine", work / "cardiac"
    held_out = [row for row in read_manifest(made) if row["split"] == "val"][:UNSHIFTED]
    rows = [
        (name := Path(row["image"]).name.split("_")[0], name, row["image"], row["label"])
        for row in held_out
    ]
    write_table(folder / "cases.csv", ("id", "patient", "image", "label"), rows)
    shutil.copytree(made / "bundle", folder / "bundle")


def _evenly(rows: Sequence[Row], count: int) -> Sequence[Row]:
    return rows[:: max(1, len(rows) // count)][:count]


if __name__ == "__main__":
    sys.exit(main())
