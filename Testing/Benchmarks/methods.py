"""What does each method add to no adaptation, and how much of that is batch statistics alone?

    python Testing/Benchmarks/methods.py DATA [--cases patient12_study1_t2w ...] [--methods dpl ...]

DATA is the folder open_ms_skullstrip with its manifest.csv; the model is the demo's, of T1W.
Every setting adapts to each case by itself. Its curves begin with the source (epoch 0) and the
settled batch statistics (epoch 1), so that one row tells all: Dice before, of bn-statistics, after
each epoch, and of what is delivered, which no reference chose. One table on the screen, the same
with the curves as --output (methods.json beside this file); a row that is there already is not made
again.

Settings were tried on patient 12 alone; patient 04 is left to the acceptance. In the table that is
here FLAIR lacks bn-statistics, tent and upl, and both lack dg-tta and the settings from AdaMI on,
for want of time: trust/results.json has those methods on ten volumes.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from SFDALib.adaptation.common.model_selection import ModelSelection
from SFDALib.evaluation.metrics import dice
from SFDALib.inference.predict import predict
from SFDALib.jobs import image_run
from SFDALib.jobs.engine import Engine, open_engine
from SFDALib.jobs.stages import Stages
from SFDALib.machine import devices
from SFDALib.methods import registry
from SFDALib.methods.option import PUBLISHED
from SFDALib.progress import silent
from SFDALib.results.report import software_versions
from SFDALib.volume.conform import Conformed
from SFDALib.volume.image_file import ImageFile, read_labels

HERE = Path(__file__).resolve().parent
BUNDLE = HERE.parent.parent / "SFDASegmenter/Resources/Samples/brain-t1w"
CASES = ("patient12_study1_t2w", "patient12_study1_flair")
SETTINGS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("bn-statistics", {}),
    ("tent", {}),
    ("protocontra", {"learning_rate": 1e-4}),
    ("protocontra", {"learning_rate": 1e-3}),
    ("iapc", {"learning_rate": 1e-3, "epochs": 4}),
    ("dg-tta", {"ensemble": 1, "bn": "eval"}),
    ("dg-tta", {"ensemble": 1, "bn": "eval", "strength": 0, "contrast": "gin"}),
    ("upl", {"learning_rate": 1e-4, "epochs": 4}),
    ("upl", {"learning_rate": 1e-5, "epochs": 4}),
    ("dpl", {"learning_rate": 1e-4, "epochs": 4}),
    ("adami", {"learning_rate": 1e-4, "epochs": 6}),
    ("adaent", {"learning_rate": 1e-4, "epochs": 6}),
    ("early-features", {"learning_rate": 2e-5, "epochs": 6, "bn": "eval"}),
    ("self-training", {}),
    ("cbst", {}),
    ("dpl", {}),
    ("iapc", {}),
    ("upl", {}),
    ("dg-tta", {}),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--cases", nargs="+", default=CASES)
    parser.add_argument("--methods", nargs="+", default=[name for name, _ in SETTINGS])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, default=HERE / "methods.json")
    arguments = parser.parse_args()
    device = devices.resolve(arguments.device)
    engine = open_engine(BUNDLE, "none", {}, device, seed=0)
    with open(arguments.data / "manifest.csv", newline="", encoding="utf-8") as stream:
        cases = {row["id"]: row for row in csv.DictReader(stream)}
    document: dict[str, Any] = {
        "device": devices.describe(device),
        "software": software_versions(),
        "rows": [],
    }
    if arguments.output.exists():
        document = json.loads(arguments.output.read_text(encoding="utf-8"))
    rows = document["rows"]
    for name in arguments.cases:
        file = ImageFile(arguments.data / cases[name]["image"])
        _, image = image_run.read_conformed(engine, file, Stages())
        reference = read_labels(arguments.data / cases[name]["mask"]).array[0] > 0
        for method, options in SETTINGS:
            key = {"case": name, "method": method, "options": options}
            if method not in arguments.methods or any(key.items() <= row.items() for row in rows):
                continue
            rows.append({**key, **measure(engine, method, options, image, reference)})
            text = json.dumps(document, indent=1) + "\n"
            arguments.output.write_text(text, encoding="utf-8")
    Console().print(table(document))


def measure(
    engine: Engine, method: str, options: dict[str, Any], image: Conformed, reference: np.ndarray
) -> dict[str, Any]:
    """The rest of a row: Dice of what is delivered, the curves with the Dice of each epoch."""
    described = registry.find(method)
    one = replace(engine, method=described, options=described.values(options, PUBLISHED))
    seen: list[float] = []
    update = ModelSelection.update

    def score(network: nn.Module) -> float:
        p = predict(one.model, image.array, one.options, silent, network=network)
        return round(dice(image.restore_labels(p) > 0, reference), 4)

    def updated(selection: ModelSelection, network: nn.Module, *noted: Any, **more: Any) -> bool:
        network.eval()
        seen.append(score(network))
        return update(selection, network, *noted, **more)

    with mock.patch.object(ModelSelection, "update", updated):
        adapted = image_run.adapt(one, [image], Stages(), silent)
    curves = {name: [round(x, 5) for x in curve] for name, curve in adapted.curves.items()}
    return {
        "dice_source": seen[0],
        "dice_bn_statistics": seen[1],
        "dice_delivered": seen[adapted.best_epoch],
        "best_epoch": adapted.best_epoch,
        "stopped": adapted.stopped,
        "curves": {"dice": seen, **curves},
    }


def table(document: dict[str, Any]) -> Table:
    """All rows, with the Dice of every epoch."""
    names = ("case", "method", "options", "source", "batch statistics", "delivered", "each epoch")
    shown = Table(*names, title=document["device"])
    for row in document["rows"]:
        options = " ".join(f"{name}={value}" for name, value in row["options"].items())
        scores = [row[f"dice_{what}"] for what in ("source", "bn_statistics", "delivered")]
        trained = " ".join(f"{x:.3f}" for x in row["curves"]["dice"][2:])
        shown.add_row(row["case"], row["method"], options, *(f"{x:.3f}" for x in scores), trained)
    return shown


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
