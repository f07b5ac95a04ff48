"""Make SFDASegmenter/Resources/Samples: train the demo's bundle and copy its two target volumes.

    python Testing/demo_bundle/make.py DATA [--output FOLDER] [--device auto]

DATA is a folder with the open MS data (Lesjak et al. 2016) as T1W, T2W and FLAIR volumes with brain
masks and a manifest.csv with the columns id, domain, subject, image, mask. The source model is
trained on the T1W volumes of patients 01 and 20, calibrated on one of patient 12; the samples are
the T2W and the FLAIR of patient 04, of whom nothing was used in training. On two cores without a
GPU it takes about an hour; a run that was interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
SAMPLES = ROOT / "SFDASegmenter" / "Resources" / "Samples"
BUNDLE = "brain-t1w"
TRAIN, CALIBRATE, TARGET = ("patient01", "patient20"), "patient12_study1_t1w", "patient04_study1"
SEGMENTATION = (
    *("--config", HERE / "segmentation.json", "--steps", 800, "--batch", 16),
    *("--learning-rate", 1e-3, "--augment", "intensity"),
)
EARLY_HEAD = ("--steps", 200, "--batch", 16, "--learning-rate", 1e-3, "--augment", "intensity")
DIFFUSION = (
    *("--config", HERE / "diffusion.json", "--patch-size", "112,88", "--corruption", 0.7),
    *("--steps", 1800, "--batch", 8, "--learning-rate", 3e-4, "--ema", 0.995),
    *("--augment", "geometric", "--half"),
)
ATTRIBUTION = (
    "Trained on, and samples from, the open MS data of the Laboratory of Imaging Technologies,"
    " University of Ljubljana (Lesjak et al., Validation of White-Matter Lesion Change Detection"
    " Methods on a Novel Publicly Available MRI Image Database, Neuroinformatics 2016), CC BY."
    " Changes: brain masks carried from the common space to each image, resampled to 1 mm in plane,"
    " cropped to the head, stored as uint16; the volumes are defaced."
)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("data", type=Path)
    arguments.add_argument("--output", type=Path, default=SAMPLES)
    arguments.add_argument("--device", default="auto")
    chosen = arguments.parse_args()
    work = chosen.output / "training"
    work.mkdir(parents=True, exist_ok=True)
    with open(chosen.data / "manifest.csv", newline="", encoding="utf-8") as stream:
        rows = {row["id"]: row for row in csv.DictReader(stream)}
    manifest = write_manifest(work / "manifest.csv", chosen.data.resolve(), rows)
    source, headed, whole = (work / name for name in ("segmentation", "early-head", "diffusion"))
    common = ("--manifest", manifest, "--device", chosen.device, "--progress", "auto")
    train("segmentation", source, *common, *SEGMENTATION)
    train("early-head", headed, "--bundle", source, *common, *EARLY_HEAD)
    train("diffusion", whole, "--bundle", headed, *common, *DIFFUSION)
    bundle = chosen.output / BUNDLE
    if bundle.exists():
        shutil.rmtree(bundle)
    shutil.copytree(whole, bundle)
    (bundle / "LICENSE").write_text(f"CC BY 4.0\n\n{ATTRIBUTION}\n", encoding="utf-8")
    about = bundle / "docs" / "README.md"
    about.write_text(f"{about.read_text(encoding='utf-8')}\n{ATTRIBUTION}\n", encoding="utf-8")
    for case in json.loads((SAMPLES / "samples.json").read_text(encoding="utf-8"))["cases"]:
        row = rows[f"{TARGET}_{case['domain']}"]
        shutil.copyfile(chosen.data / row["image"], chosen.output / case["image"])
        shutil.copyfile(chosen.data / row["mask"], chosen.output / case["reference"])
    shutil.rmtree(work)
    return 0


def write_manifest(path: Path, data: Path, rows: dict[str, dict[str, str]]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["image", "label", "split"])
        for name, row in rows.items():
            if row["domain"] != "t1w":
                continue
            split = "train" if row["subject"] in TRAIN else "test"
            split = "val" if name == CALIBRATE else split
            writer.writerow([data / row["image"], data / row["mask"], split])
    return path


def train(kind: str, output: Path, *options: object) -> None:
    """One ``SFDALib train``, unless its bundle is there already."""
    if not output.exists():
        command = [sys.executable, "-m", "SFDALib", "train", kind, "--output", output, *options]
        subprocess.run([str(word) for word in command], cwd=ROOT, check=True)


if __name__ == "__main__":
    sys.exit(main())
