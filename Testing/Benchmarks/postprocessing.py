"""Does post-processing help, and does it ever harm? Each step by itself, and the combinations.

    python Testing/Benchmarks/postprocessing.py WORK --sources brain:none hippocampus-folded:tent

WORK holds a folder for each source, as trust/sources.py writes it: ``bundle`` and ``cases.csv``
(id, patient, image, label) of target cases. Each source is named with a method, "none" for the
source model as it is. The method runs once on each case; every setting of post-processing is then
applied to the same probabilities, so that the rows differ in nothing else. Where the bundle does
not say what "plausible" needs, it is measured on the labels of --manifest, with which the source
was trained. The rows (postprocessing.json beside this file) hold Dice, surface Dice at 2 mm and
HD95 of each structure; a row that is there already is not made again.

The table's changes are means over the structures of all cases, and the worst of a single structure.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from SFDALib.bundle.description import Description
from SFDALib.bundle.postprocessing import OFF, cleaning
from SFDALib.evaluation.metrics import evaluate_mask
from SFDALib.jobs.engine import Engine, open_engine
from SFDALib.jobs.events import Reporter
from SFDALib.jobs.image_run import ImageRun
from SFDALib.results.report import software_versions
from SFDALib.training.manifest import Case
from SFDALib.training.segmentation import measured
from SFDALib.volume.image_file import read_labels
from SFDALib.volume.reading import Reading

HERE = Path(__file__).resolve().parent
SETTINGS = ("plausible", "largest", "smooth", "smooth,plausible", "smooth,largest")
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "adami": {"epochs": 6, "learning_rate": 1e-4},
    "heal": {"steps": 10},
}
TOLERANCE_MM = 2.0
MEASURES = ("dice", "surface_dice", "hd95_mm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--sources", nargs="+", required=True, metavar="SOURCE:METHOD")
    parser.add_argument("--manifest", type=Path, help="of bundles without piece_ml and radius_mm")
    parser.add_argument("--cases", type=int, default=100, help="at most so many of each source")
    parser.add_argument("--output", type=Path, default=HERE / "postprocessing.json")
    arguments = parser.parse_args()
    document: dict[str, Any] = {"software": software_versions(), "rows": []}
    if arguments.output.exists():
        document = json.loads(arguments.output.read_text(encoding="utf-8"))
    rows = document["rows"]
    for word in arguments.sources:
        source, method = word.split(":")
        folder = arguments.work / source
        options = OPTIONS.get(method, {})
        engine = open_engine(folder / "bundle", method, options, torch.device("cpu"), 0)
        description = with_statistics(engine.model.description, arguments.manifest)
        for case in listed(folder / "cases.csv")[: arguments.cases]:
            key = {"source": source, "method": method, "case": case["id"]}
            if any(key.items() <= row.items() for row in rows):
                continue
            rows += [{**key, **row} for row in measure(engine, description, case)]
            text = json.dumps(document, indent=1) + "\n"
            arguments.output.write_text(text, encoding="utf-8")
    Console(width=120).print(table(rows))


def listed(path: Path) -> list[dict[str, str]]:
    """The cases that have labels."""
    with open(path, newline="", encoding="utf-8") as stream:
        return [row for row in csv.DictReader(stream) if row.get("label")]


def with_statistics(description: Description, manifest: Path | None) -> Description:
    """The same with what "plausible" needs, from the training labels on their own grid."""
    if manifest is None or all(label.piece_ml for label in description.labels):
        return description
    with open(manifest, newline="", encoding="utf-8") as stream:
        files = [row["label"] for row in csv.DictReader(stream) if row["split"] == "train"]
    cases = []
    for file in files:
        volume = read_labels(manifest.parent / file)
        spacing = volume.geometry.spacing_kji
        cases.append(Case(file, volume.array, volume.array[0].astype(np.uint8), spacing))
    labels = tuple(measured(label, cases, description) for label in description.labels)
    return replace(description, labels=labels)


def measure(
    engine: Engine, description: Description, case: Mapping[str, str]
) -> list[dict[str, Any]]:
    """A row for each setting and structure of one case."""
    image = ImageRun.read(engine, [Path(case["image"])], Reading(), Reporter())
    probabilities = image.segment(image.adapt()).probabilities
    truth = read_labels(Path(case["label"]))
    spacing = truth.geometry.spacing_kji
    rows: list[dict[str, Any]] = []
    seen: dict[bytes, dict[str, dict[str, Any]]] = {}  # surfaces take longest, and many are equal
    for setting in (OFF, *SETTINGS):
        if not description.input_spec.is_2d and "smooth" in setting:
            continue
        spec = replace(description.input_spec, cleaning=cleaning(setting, description))
        found = replace(image.target.conformed, input_spec=spec).restore_labels(probabilities)
        known = seen.setdefault(found.tobytes(), {})
        for label in description.labels:
            if label.name in known:
                rows.append(known[label.name] | {"setting": setting})
                continue
            masks = found == label.value, truth.array[0] == label.value
            result = evaluate_mask(*masks, spacing, TOLERANCE_MM)
            rows.append({"setting": setting, "label": label.name, "ml": result.predicted_ml})
            for name in MEASURES:
                value = getattr(result, name)
                rows[-1][name] = round(value, 4) if np.isfinite(value) else None
            known[label.name] = rows[-1]
    return rows


def table(rows: list[dict[str, Any]]) -> Table:
    """The change by each setting, by source and method."""
    shown = Table("source", "method", "setting", "structures", *(f"{m} (worst)" for m in MEASURES))
    keys = dict.fromkeys((row["source"], row["method"]) for row in rows)
    for source, method in keys:
        own = [row for row in rows if (row["source"], row["method"]) == (source, method)]
        before = {(row["case"], row["label"]): row for row in own if row["setting"] == OFF}
        for setting in dict.fromkeys(row["setting"] for row in own):
            after = [row for row in own if row["setting"] == setting]
            cells = [_change(before, after, name) for name in MEASURES]
            shown.add_row(source, method, setting, str(len(after)), *cells)
    return shown


def _change(before: Mapping[Any, Any], after: list[dict[str, Any]], name: str) -> str:
    """The mean before, or the mean change and the worst."""
    pairs = [(before[row["case"], row["label"]][name], row[name]) for row in after]
    known = np.array([pair for pair in pairs if None not in pair])
    if not len(known):
        return "-"
    if after[0]["setting"] == OFF:
        return f"{known[:, 1].mean():.4f}"
    changes = known[:, 1] - known[:, 0]
    worst = changes.max() if name == "hd95_mm" else changes.min()
    return f"{changes.mean():+.4f} ({worst:+.3f})"


if __name__ == "__main__":
    main()
