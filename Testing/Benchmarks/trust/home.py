"""Does each source do well at home and fail on its target? Mean Dice on both.

    python Testing/Benchmarks/trust/home.py WORK [--only nuclei ...] [--cases 10]

WORK is what sources.py made. At home are the first images of the source's own kind that it was not
trained on ("val" in the manifest of its training). home.json, beside this file, is the result.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from measure import kind_of_network, mean_dice

from SFDALib.jobs.engine import Engine, open_engine
from SFDALib.jobs.events import Reporter
from SFDALib.jobs.image_run import ImageRun
from SFDALib.machine import devices
from SFDALib.volume.image_file import read_labels
from SFDALib.volume.reading import Reading

RESULT = Path(__file__).with_name("home.json")


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("work", type=Path)
    arguments.add_argument("--only", nargs="*", help="names of data sets")
    arguments.add_argument("--cases", type=int, default=10, help="at home")
    arguments.add_argument("--device", default="auto")
    chosen = arguments.parse_args()
    found = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    made = sorted(path.parent.name for path in chosen.work.glob("*/cases.csv"))
    for name in chosen.only or made:
        folder = chosen.work / name
        engine = open_engine(folder / "bundle", "none", {}, devices.resolve(chosen.device), 0)
        found[name] = {"network": kind_of_network(engine)}
        if (folder / "manifest.csv").exists():
            val = [row for row in _rows(folder / "manifest.csv") if row["split"] == "val"]
            found[name]["home"] = _dice(engine, val[: chosen.cases])
        target = [row for row in _rows(folder / "cases.csv") if row["label"]]
        found[name]["target"] = _dice(engine, target)
        RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(name, found[name])
    return 0


def _dice(engine: Engine, rows: Sequence[dict[str, str]]) -> dict[str, Any]:
    values = []
    for row in rows:
        image = ImageRun.read(engine, [Path(row["image"])], Reading(), Reporter())
        truth = read_labels(Path(row["label"])).array[0]
        values.append(mean_dice(image.target.source_labels, truth))
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    mean = round(float(np.nanmean(values)), 3)
    return {"cases": len(values), "dice": mean, "from": round(low, 3), "to": round(high, 3)}


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


if __name__ == "__main__":
    sys.exit(main())
