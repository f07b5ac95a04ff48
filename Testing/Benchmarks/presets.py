"""Which values of its options serve a method on a volume by itself: published ones, or others?

    python Testing/Benchmarks/presets.py WORK [--only hippocampus-inverted ...] [--methods tent ...]
        [--cases 2] [--once] [--minutes 30]

WORK is what trust/sources.py made. Every candidate adapts to each of the first cases by itself, as
a run does with one volume, and what is delivered is compared with the reference: without the judge,
so that a bad candidate shows. With --once a method adapts to all of them together, as a cohort
does; such lines have ", once" behind the data set's name. A line a result in presets.jsonl, with
its seconds (adaptation and segmentation); what is there already is not made again.

presets.json has the means of each method, candidate and data set; the choice was made on CHOSEN_ON
and checked on the others, but for the rates of AdaMI and AdaEnt, which all of them decided: whole
brains lose by a high one, networks without batch normalisation gain by it, so that each kind has
its own. It names the recommended one, of each kind of normalisation where they differ, and where
that stays behind the published values by more than 0.005. The machine was shared.
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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent / "trust"))

from measure import kind_of_network, mean_dice, options_of

from SFDALib.errors import SFDAError
from SFDALib.jobs import image_run
from SFDALib.jobs.engine import Engine, open_engine
from SFDALib.jobs.events import Reporter
from SFDALib.jobs.image_run import ImageRun
from SFDALib.jobs.stages import Stages
from SFDALib.machine import devices
from SFDALib.methods import registry
from SFDALib.methods.option import PUBLISHED
from SFDALib.methods.prior_entropy import usual_rate
from SFDALib.progress import silent
from SFDALib.volume.image_file import read_labels
from SFDALib.volume.reading import Reading

HERE = Path(__file__).resolve().parent
ROWS = HERE / "presets.jsonl"
TABLE = HERE / "presets.json"
Options = Mapping[str, Any]


def _values(rate: float, epochs: int, **more: Any) -> Options:
    return {"learning_rate": rate, "epochs": epochs, **more}


PRIOR_ENTROPY = tuple(
    _values(*pair) for pair in ((1e-4, 2), (1e-4, 6), (1e-3, 2), (3e-4, 6), (1e-3, 6))
)
SELF_TRAINING = (
    _values(1e-3, 1, rounds=2, batch=8),
    _values(1e-3, 2, rounds=2, batch=8),
    _values(1e-2, 2, rounds=2, batch=8),
)
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
    "iapc": (*(_values(1e-3, epochs) for epochs in (2, 3, 5, 8)), _values(1e-2, 2)),
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
CHOSEN_ON = ("brain", "brain-thinned", "hippocampus-degraded", "nuclei-contrast")


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("work", type=Path)
    arguments.add_argument("--only", nargs="*", default=[], help="names of data sets")
    arguments.add_argument("--methods", nargs="*", default=list(CANDIDATES))
    arguments.add_argument("--published", nargs="*", help="methods measured as published; all")
    arguments.add_argument("--cases", type=int, default=2, help="the first so many of a data set")
    arguments.add_argument("--once", action="store_true", help="adapted to all cases together")
    arguments.add_argument("--minutes", type=float, default=30, help="nothing is begun after")
    arguments.add_argument("--device", default="auto")
    chosen = arguments.parse_args()
    end = time.time() + 60 * chosen.minutes
    published = chosen.methods if chosen.published is None else chosen.published
    search = Search(chosen.methods, published, chosen.cases, chosen.once, end)
    for name in chosen.only:
        with open(ROWS, "a", encoding="utf-8") as stream:
            for row in search.results(chosen.work / name, devices.resolve(chosen.device)):
                print(*row.values(), flush=True)
                stream.write(json.dumps(row) + "\n")
                stream.flush()
    TABLE.write_text(json.dumps(table(_read()), indent=1) + "\n", encoding="utf-8")
    return 0


@dataclass(frozen=True)
class Case:
    """An image that was read, with its reference and the Dice of the source's segmentation."""

    name: str
    image: ImageRun
    truth: np.ndarray
    before: float


@dataclass(frozen=True)
class Search:
    """What is measured.

    Args:
        methods: by name.
        published: those that are measured with the published values, too.
        cases: the first so many of a data set.
        once: adapted to all cases together, with the published and the recommended values.
        end: the time after which nothing is begun.
    """

    methods: Sequence[str]
    published: Sequence[str]
    cases: int
    once: bool
    end: float

    def results(self, folder: Path, device: torch.device) -> Iterator[dict[str, Any]]:
        """The lines of a data set that are not there yet."""
        with open(folder / "cases.csv", newline="", encoding="utf-8") as stream:
            rows = [row for row in csv.DictReader(stream) if row["label"]][: self.cases]
        engine = open_engine(folder / "bundle", "adami", {}, device, 0)
        for group in [rows] if self.once else [[row] for row in rows]:
            cases = [_case(engine, row) for row in group]
            for method, options in self._wanted(engine, folder.name, cases):
                own = options_of(method, options)
                one = replace(engine, method=registry.find(method), options=own)
                yield from self._adapted(one, folder.name, options, cases)

    def _wanted(
        self, engine: Engine, dataset: str, cases: Sequence[Case]
    ) -> Iterator[tuple[str, Options]]:
        """Methods that the model can serve, with the options that were not measured yet."""
        done = {(row["dataset"], row["case"], row["method"], row["setting"]) for row in _read()}
        lacking = registry.lacking(engine.model.description.holds)
        for method in self.methods:
            recommended = _recommended(method, kind_of_network(engine))
            tried = (recommended,) if self.once else CANDIDATES[method]
            for options in (*(({},) if method in self.published else ()), *tried):
                key = (self._name(dataset), cases[0].name, method, _tag(method, options))
                if key not in done and not lacking[method] and time.time() < self.end:
                    yield method, options

    def _name(self, dataset: str) -> str:
        return f"{dataset}, once" if self.once else dataset

    def _adapted(
        self, engine: Engine, dataset: str, options: Options, cases: Sequence[Case]
    ) -> Iterator[dict[str, Any]]:
        """A line for each of the cases that one adaptation serves; none where it cannot."""
        method, start = engine.method, time.monotonic()
        images = [case.image.with_engine(engine) for case in cases]
        try:
            conformed = [image.target.conformed for image in images]
            adapted = (
                image_run.adapt(engine, conformed, Stages(), silent) if method.adapts else None
            )
            segmented = [image.segment(adapted).probabilities for image in images]
        except SFDAError as error:
            print(method.name, error)
            return
        seconds = (time.monotonic() - start) / len(cases)
        for case, image, probabilities in zip(cases, images, segmented, strict=True):
            labels = image.target.conformed.restore_labels(probabilities)
            yield {
                "dataset": self._name(dataset),
                "network": kind_of_network(engine),
                "case": case.name,
                "method": method.name,
                "setting": _tag(method.name, options),
                "options": dict(options),
                "dice_source": round(case.before, 4),
                "dice_result": round(mean_dice(labels, case.truth), 4),
                "epoch": adapted.best_epoch if adapted else None,
                "seconds": round(seconds, 2),
                "device": f"{platform.machine()} {engine.model.device.type}",
                "threads": torch.get_num_threads(),
                "slices": image.target.conformed.array.shape[1],
            }


def _case(engine: Engine, row: Mapping[str, str]) -> Case:
    image = ImageRun.read(engine, [Path(row["image"])], Reading(), Reporter())
    truth = read_labels(Path(row["label"])).array[0]
    return Case(row["id"], image, truth, mean_dice(image.target.source_labels, truth))


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
        recommended = {name: _tag(method, _recommended(method, kinds[name])) for name in kinds}
        of_kinds = {kinds[name]["normalisation"]: tag for name, tag in recommended.items()}
        found[method] = {
            "recommended": of_kinds
            if len(set(of_kinds.values())) > 1
            else recommended.popitem()[1],
            "behind_published": _behind(own, recommended),
            "settings": settings,
        }
    return {
        "machine": f"{os.cpu_count()} cores, shared with other work; {platform.platform()}",
        "software": {"python": platform.python_version(), "torch": torch.__version__},
        "chosen_on": list(CHOSEN_ON),
        "networks": kinds,
        "methods": found,
    }


def _recommended(method: str, network: Mapping[str, Any]) -> Options:
    """The recommended values for a kind of network."""
    values = registry.find(method).recommended
    if "learning_rate" in values and values["learning_rate"] is None:
        return {**values, "learning_rate": usual_rate(network["normalisation"] == "batch")}
    return values


def _mean(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    gains = np.array([row["dice_result"] - row["dice_source"] for row in rows])
    return {
        "cases": len(rows),
        "source": round(float(np.mean([row["dice_source"] for row in rows])), 4),
        "gain": round(float(gains.mean()), 4),
        "worst": round(float(gains.min()), 4),
        "seconds": round(float(np.mean([row["seconds"] for row in rows])), 1),
    }


def _behind(rows: Sequence[dict[str, Any]], recommended: Mapping[str, str]) -> dict[str, float]:
    """By how much Dice the recommended values stay behind the published ones where that is more
    than 0.005, over the cases on which both were measured.

    Args:
        recommended: of each data set.
    """
    found = {}
    for name, setting in sorted(recommended.items()):
        published, other = (
            {row["case"]: row["dice_result"] for row in rows if _is(row, name, wanted)}
            for wanted in (PUBLISHED, setting)
        )
        gaps = [published[case] - other[case] for case in published.keys() & other.keys()]
        gap = np.mean(gaps) if gaps else 0.0
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
