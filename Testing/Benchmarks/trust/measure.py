"""Measure every result of every method on every case: Dice against the reference, and the signals.

    python Testing/Benchmarks/trust/measure.py WORK ROWS.jsonl [--only kvasir-to-cvc ...]

WORK is what sources.py made. A line a case: data set, case, patient, method, setting, Dice of the
source's and of the result, signals. Learning rates reach from the papers' to a thousand times as
much, so that there is harm to detect. A line that is there already is not made again.

rows.jsonl beside this file was cut short by the time at hand: cvc-to-kvasir is absent, of brain
there is the first setting alone, and some settings are of earlier lists (their names say which).
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn

from SFDALib import registry
from SFDALib.adaptation.watch import State, Watch
from SFDALib.errors import SFDAError
from SFDALib.jobs.engine import Engine, Target, open_engine
from SFDALib.jobs.judgement import signals_of
from SFDALib.metrics import dice
from SFDALib.outcome import Adapted
from SFDALib.progress import silent
from SFDALib.volume.files import read_labels

log = logging.getLogger("measure")


@dataclass(frozen=True)
class Setting:
    """A method with options.

    Args:
        last: the last state is judged, not the best by ``watch``.
        each: adapted to every case by itself, of which every ``every``-th is taken; else once to
            all of them.
    """

    method: str
    options: dict[str, Any]
    last: bool = True
    each: bool = False
    every: int = 1

    @property
    def tag(self) -> str:
        options = ",".join(
            f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in self.options.items()
        )
        return (
            f"{self.method} {options}{' last' if self.last else ''}{' each' if self.each else ''}"
        )


def _once(method: str, rate: float, epochs: int, last: bool = True, **more: Any) -> Setting:
    return Setting(method, {"learning_rate": rate, "epochs": epochs, **more}, last)


def _each(
    method: str, rate: float, epochs: int, every: int, last: bool = True, **more: Any
) -> Setting:
    return replace(_once(method, rate, epochs, last, **more), each=True, every=every)


UNSETTLED = {"settle_bn": False, "bn": "eval"}
# Where watch has nothing but entropy to go by, as on single frames, it undoes most of what happens:
# the last states, which the papers deliver, show what a judge has to see.
HARMFUL = (
    _once("adami", 1e-3, 3, **UNSETTLED),
    _once("early-features", 1e-3, 3),
    _once("adaent", 1e-3, 2),
    _once("early-features", 1e-2, 3, **UNSETTLED),
    _once("adami", 1e-4, 3),
    _once("adaent", 1e-3, 3, prior="0.3", **UNSETTLED),
    _once("adami", 1e-4, 3, **UNSETTLED),
    _once("adami", 1e-6, 1),
)
# Each method once as a user gets it, the best state by ``watch``; rates of the papers' order where
# that moves anything in so few steps.
AS_DELIVERED = (
    Setting("bn-statistics", {}, last=False),
    _once("tent", 1e-3, 2, last=False),
    _once("self-training", 1e-3, 1, last=False, rounds=2, batch=8),
    _once("cbst", 1e-3, 1, last=False, rounds=2, batch=8),
    _once("dpl", 1e-4, 2, last=False),
    _once("upl", 1e-4, 2, last=False),
    _once("protocontra", 1e-4, 2, last=False),
    _once("iapc", 1e-3, 2, last=False),
    _once("dg-tta", 1e-4, 2, last=False),
    _once("adami", 1e-4, 3, last=False),
    _once("adaent", 1e-4, 3, last=False),
    _once("early-features", 1e-3, 3, last=False),
)
TOGETHER = AS_DELIVERED + HARMFUL
PRIOR = {"prior": "0.1,0.1,0.1"}  # adaent's of a heart, where a frame's has one number
SETTINGS = {
    "kvasir-to-cvc": TOGETHER,
    "cvc-to-kvasir": TOGETHER,
    "cardiac": tuple(
        replace(one, options={**one.options, **(PRIOR if "prior" in one.options else {})})
        for one in TOGETHER
    ),
    "brain": (
        *AS_DELIVERED,
        _each("adami", 1e-4, 1, 1, last=False),
        _each("adami", 1e-3, 1, 1, **UNSETTLED),
        _each("early-features", 1e-2, 1, 1, **UNSETTLED),
    ),
}


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("work", type=Path)
    arguments.add_argument("rows", type=Path)
    arguments.add_argument("--only", nargs="*", default=list(SETTINGS))
    chosen = arguments.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    done = set()
    if chosen.rows.exists():
        rows = [json.loads(line) for line in chosen.rows.read_text().splitlines()]
        done = {(row["dataset"], row["setting"]) for row in rows}
    for name in chosen.only:
        _measure(name, chosen.work / name, chosen.rows, done)
    return 0


def _measure(name: str, folder: Path, rows: Path, done: set[tuple[str, str]]) -> None:
    with open(folder / "cases.csv", newline="", encoding="utf-8") as stream:
        cases = [row for row in csv.DictReader(stream) if row["label"]]
    engine = open_engine(folder / "bundle", "none", _values("none", {}), torch.device("cpu"), 0)
    references = [read_labels(Path(case["label"])).array[0] for case in cases]
    targets = [engine.read([Path(case["image"])], silent) for case in cases]
    before = [
        _dice(target.source_labels, truth)
        for target, truth in zip(targets, references, strict=True)
    ]
    log.info("%s: %d cases, source Dice %.3f", name, len(cases), np.nanmean(before))
    for setting in SETTINGS[name]:
        if (name, setting.tag) in done:
            continue
        start = time.monotonic()
        one = replace(
            engine,
            method=registry.find(setting.method),
            options=_values(setting.method, setting.options),
        )
        lines = []
        for index, adapted in _adaptations(one, targets, setting):
            target = targets[index]
            segmented = one.segment(target, adapted, silent)
            after = _dice(
                target.conformed.restore_labels(segmented.probabilities), references[index]
            )
            if np.isnan(before[index]) or np.isnan(after):
                continue
            lines.append(
                {
                    "dataset": name,
                    "case": cases[index]["id"],
                    "patient": cases[index]["patient"],
                    "method": setting.method,
                    "setting": setting.tag,
                    "dice_source": round(before[index], 4),
                    "dice_result": round(after, 4),
                    "signals": asdict(signals_of(one, target, segmented, adapted)),
                }
            )
        with open(rows, "a", encoding="utf-8") as stream:  # a setting whole or not at all
            stream.write("".join(json.dumps(line) + "\n" for line in lines))
        change = np.array([line["dice_result"] - line["dice_source"] for line in lines])
        log.info(
            "%s: %s: %d results, %+.3f Dice, %d worse by 0.02, %d better by 0.02, %.0f s",
            name,
            setting.tag,
            len(lines),
            change.mean(),
            (change < -0.02).sum(),
            (change > 0.02).sum(),
            time.monotonic() - start,
        )


def _adaptations(engine: Engine, targets: Sequence[Target], setting: Setting) -> Any:
    """(index of the case, its adaptation), for every case that the setting takes."""
    with mock.patch.object(Watch, "look", _keep_last if setting.last else Watch.look):
        shared: Adapted | None = (
            None if setting.each else engine.adapt([target.conformed for target in targets], silent)
        )
        for index in range(0, len(targets), setting.every):
            try:
                yield index, shared or engine.adapt([targets[index].conformed], silent)
            except SFDAError as error:
                log.warning("%s: %s", setting.tag, error)


LOOK = Watch.look


def _keep_last(watch: Watch, network: nn.Module, state: State, **more: float) -> bool:
    """``Watch.look``, but the weights that it returns in the end are those of the last state."""
    go_on = LOOK(watch, network, state, **more)
    watch._weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
    return go_on


def _values(method: str, options: dict[str, Any]) -> dict[str, Any]:
    return registry.find(method).values(options)


def _dice(labels: np.ndarray, truth: np.ndarray) -> float:
    """Mean over the classes of the reference or of the labels."""
    values = [value for value in np.union1d(np.unique(labels), np.unique(truth)) if value]
    return float(np.mean([dice(labels == v, truth == v) for v in values])) if values else np.nan


if __name__ == "__main__":
    sys.exit(main())
