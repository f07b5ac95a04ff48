"""Which values of its options serve a method on a volume by itself: published ones, or others?

    python Testing/Benchmarks/presets.py WORK [--only hippocampus-inverted ...] [--methods tent ...]
        [--cases 2] [--minutes 30]

WORK is what trust/sources.py made. Every candidate adapts to each of the first cases by itself, as
a run does with one volume, and what is delivered is compared with the reference: without the judge,
so that a bad candidate shows. A result a line in presets.jsonl, with its seconds (adaptation and
segmentation); what is there already is not made again. presets.json has the means of each method,
candidate and data set; the choice was made on CHOSEN_ON and checked on the others. It names the
recommended one and where that stays behind the published values by more than 0.005.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent / "trust"))

from measure import kind_of_network, mean_dice, options_of

from SFDALib.errors import SFDAError
from SFDALib.jobs.engine import Engine, open_engine
from SFDALib.jobs.events import Reporter
from SFDALib.jobs.image_run import ImageRun
from SFDALib.machine import devices
from SFDALib.methods import registry
from SFDALib.methods.option import PUBLISHED
from SFDALib.volume.image_file import read_labels
from SFDALib.volume.reading import Reading

HERE = Path(__file__).resolve().parent
ROWS = HERE / "presets.jsonl"
TABLE = HERE / "presets.json"
Options = Mapping[str, Any]


def _values(rate: float, epochs: int, **more: Any) -> Options:
    return {"learning_rate": rate, "epochs": epochs, **more}


PRIOR_ENTROPY = (
    _values(1e-4, 2),
    _values(1e-4, 6),
    _values(1e-3, 2),
    _values(3e-4, 6),
    _values(1e-3, 6),
)
SELF_TRAINING = (
    _values(1e-3, 1, rounds=2, batch=8),
    _values(1e-3, 2, rounds=2, batch=8),
    _values(1e-2, 2, rounds=2, batch=8),
)
# The first that is tried is the one that recommends itself before any measurement.
CANDIDATES: dict[str, tuple[Options, ...]] = {
    "tent": (_values(1e-3, 2), _values(1e-2, 2)),
    "adami": PRIOR_ENTROPY,
    "early-features": (
        _values(1e-3, 2),
        _values(1e-4, 6),
        _values(2e-5, 6, bn="eval", stop_change=0.001),
        _values(1e-3, 6),
        _values(1e-2, 2),
        _values(3e-3, 4),
    ),
    "protocontra": (_values(1e-4, 2), _values(1e-3, 2), _values(3e-4, 5)),
    "iapc": (_values(1e-3, 2), _values(1e-3, 5), _values(1e-2, 2)),
    "dpl": (_values(1e-4, 2), _values(1e-4, 2, dropout_passes=4)),
    "self-training": SELF_TRAINING,
    "upl": (_values(1e-4, 2), _values(1e-4, 4)),
    "dg-tta": (
        _values(1e-4, 2),
        _values(1e-4, 4, ensemble=1),
        _values(1e-4, 4, ensemble=1, patches=4),
    ),
    "muvi": (_values(1e-2, 1), _values(1e-3, 4)),
    "adaent": PRIOR_ENTROPY[:2],
    "cbst": SELF_TRAINING[:1],
    "heal": ({"steps": 10, "samples": 3},),
}
TOLERANCE = 0.005  # of Dice
CHOSEN_ON = ("brain-thinned", "hippocampus-degraded", "nuclei-contrast")


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("work", type=Path)
    arguments.add_argument("--only", nargs="*", default=[], help="names of data sets")
    arguments.add_argument("--methods", nargs="*", default=list(CANDIDATES))
    arguments.add_argument("--published", nargs="*", help="methods measured as published; all")
    arguments.add_argument("--cases", type=int, default=2, help="the first so many of a data set")
    arguments.add_argument("--minutes", type=float, default=30, help="nothing is begun after")
    arguments.add_argument("--device", default="auto")
    chosen = arguments.parse_args()
    end = time.time() + 60 * chosen.minutes
    published = chosen.methods if chosen.published is None else chosen.published
    for name in chosen.only:
        with open(ROWS, "a", encoding="utf-8") as stream:
            device = devices.resolve(chosen.device)
            wanted = (chosen.methods, published, chosen.cases)
            for row in _results(name, chosen.work / name, wanted, device, end):
                stream.write(json.dumps(row) + "\n")
                stream.flush()
    TABLE.write_text(json.dumps(table(_read()), indent=1) + "\n", encoding="utf-8")
    return 0


def _results(
    name: str,
    folder: Path,
    wanted: tuple[Sequence[str], Sequence[str], int],
    device: torch.device,
    end: float,
) -> Iterator[dict[str, Any]]:
    """The lines of a data set that are not there yet."""
    methods, published, count = wanted
    done = {(row["dataset"], row["case"], row["method"], row["setting"]) for row in _read()}
    with open(folder / "cases.csv", newline="", encoding="utf-8") as stream:
        cases = [row for row in csv.DictReader(stream) if row["label"]][:count]
    engine = open_engine(folder / "bundle", "adami", {}, device, 0)
    lacking = registry.lacking(engine.model.description.holds)
    for case in cases:
        truth = read_labels(Path(case["label"])).array[0]
        image = ImageRun.read(engine, [Path(case["image"])], Reading(), Reporter())
        before = mean_dice(image.target.source_labels, truth)
        for method in methods:
            own = ({},) if method in published else ()
            for options in (*own, *CANDIDATES[method]):
                setting = _tag(method, options)
                known = (name, case["id"], method, setting) in done
                if known or lacking[method] or time.time() > end:
                    continue
                found_options = options_of(method, options)
                one = replace(engine, method=registry.find(method), options=found_options)
                start = time.monotonic()
                found = _adapted(one, image.with_engine(one))
                row = {
                    "dataset": name,
                    "network": kind_of_network(engine),
                    "case": case["id"],
                    "method": method,
                    "setting": setting,
                    "options": dict(options),
                    "dice_source": round(before, 4),
                    "dice_result": round(mean_dice(found[0], truth), 4) if found else None,
                    "epoch": found[1] if found else None,
                    "seconds": round(time.monotonic() - start, 2),
                    "device": f"{platform.machine()} {device.type}",
                    "threads": torch.get_num_threads(),
                    "slices": image.target.conformed.array.shape[1],
                }
                print(*row.values(), flush=True)
                yield row


def _adapted(engine: Engine, image: ImageRun) -> tuple[np.ndarray, int | None] | None:
    """Labels that a method delivers for an image, and the epoch; None where it cannot."""
    try:
        adapted = image.adapt()
        segmented = image.segment(adapted)
    except SFDAError as error:
        print(engine.method.name, error)
        return None
    labels = image.target.conformed.restore_labels(segmented.probabilities)
    return labels, adapted.best_epoch if adapted else None


def table(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of each method and candidate the mean Dice and seconds on each data set, and the choice."""
    found: dict[str, dict[str, Any]] = {}
    kinds = {row["dataset"]: row["network"] for row in rows}
    for method in sorted({row["method"] for row in rows}):
        own = [row for row in rows if row["method"] == method]
        settings = {
            setting: {
                name: _mean([row for row in own if _is(row, name, setting)])
                for name in kinds
                if any(_is(row, name, setting) for row in own)
            }
            for setting in dict.fromkeys(row["setting"] for row in own)
        }
        recommended = _tag(method, registry.find(method).recommended)
        found[method] = {
            "recommended": recommended,
            "behind_published": _behind(own, recommended),
            "settings": settings,
        }
    machine = f"{os.cpu_count()} cores, shared with other work; {platform.platform()}"
    return {
        "machine": machine,
        "software": {"python": platform.python_version(), "torch": torch.__version__},
        "chosen_on": list(CHOSEN_ON),
        "networks": kinds,
        "methods": found,
    }


def _mean(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    served = [row for row in rows if row["dice_result"] is not None]
    if not served:
        return {"cases": 0}
    gains = np.array([row["dice_result"] - row["dice_source"] for row in served])
    return {
        "cases": len(served),
        "source": round(float(np.mean([row["dice_source"] for row in served])), 4),
        "gain": round(float(gains.mean()), 4),
        "worst": round(float(gains.min()), 4),
        "seconds": round(float(np.mean([row["seconds"] for row in served])), 1),
    }


def _behind(rows: Sequence[dict[str, Any]], recommended: str) -> dict[str, float]:
    """By how much Dice the recommended values stay behind the published ones where that is more
    than 0.005, over the cases on which both were measured.
    """
    after: dict[str, dict[tuple[str, str], float]] = {PUBLISHED: {}, recommended: {}}
    for row in rows:
        if row["setting"] in after and row["dice_result"] is not None:
            after[row["setting"]][row["dataset"], row["case"]] = row["dice_result"]
    both = after[PUBLISHED].keys() & after[recommended].keys()
    found = {}
    for name in sorted({dataset for dataset, _ in both}):
        keys = [key for key in both if key[0] == name]
        gap = np.mean([after[PUBLISHED][key] - after[recommended][key] for key in keys])
        if gap > TOLERANCE:
            found[name] = round(float(gap), 4)
    return found


def _is(row: dict[str, Any], name: str, setting: str) -> bool:
    return row["dataset"] == name and row["setting"] == setting


def _tag(method: str, options: Options) -> str:
    """The values that are not the published ones, in words."""
    published = registry.find(method).preset(PUBLISHED)
    changed = {name: value for name, value in options.items() if value != published[name]}
    return ",".join(f"{name}={changed[name]}" for name in sorted(changed)) or PUBLISHED


def _read() -> list[dict[str, Any]]:
    if not ROWS.exists():
        return []
    rows = [json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()]
    return [{**row, "setting": _tag(row["method"], row["options"])} for row in rows]


if __name__ == "__main__":
    sys.exit(main())
