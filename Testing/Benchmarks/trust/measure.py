"""Measure results of every method on every case: Dice against the reference, and the signals.

    python Testing/Benchmarks/trust/measure.py WORK ROWS.jsonl [--only brain] [--methods tent ...]
        [--device auto] [--processes 1] [--minutes 60]

WORK is what sources.py made. Of an adaptation two states are judged: the one that is delivered, and
the last, which the papers deliver; of those that are driven into harm, the state after each epoch.
A line a result: data set, case, patient, method, setting, kind of network, seconds (of adaptation
and segmentation on one core of a shared machine; null where they were not noted), Dice of the
source's and of the result, signals.
A line that is there already is not made again, and after --minutes no new setting is begun. At the
end every line is told how far it agrees with what the other methods delivered on its case.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import math
import multiprocessing
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from settings import DELIVERED, SETTINGS, Setting, usual_settings

from SFDALib.adaptation.common.model_selection import ModelSelection
from SFDALib.bundle.open_model import open_model
from SFDALib.errors import SFDAError
from SFDALib.evaluation.agreement import label_dice
from SFDALib.evaluation.metrics import dice
from SFDALib.jobs import image_run
from SFDALib.jobs.engine import Engine, open_engines
from SFDALib.jobs.events import Reporter
from SFDALib.jobs.image_run import ImageRun
from SFDALib.jobs.judgement import Passes, signals_of
from SFDALib.jobs.stages import Stages
from SFDALib.machine import devices
from SFDALib.methods import needs, registry
from SFDALib.methods.option import PUBLISHED
from SFDALib.methods.outcome import Adapted
from SFDALib.progress import silent
from SFDALib.volume.image_file import read_labels
from SFDALib.volume.reading import Reading

log = logging.getLogger("measure")
writing: Any  # the lock on the file of lines


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("work", type=Path)
    arguments.add_argument("rows", type=Path)
    arguments.add_argument("--only", nargs="*", default=list(SETTINGS))
    arguments.add_argument("--methods", nargs="*", default=list(registry.METHODS))
    arguments.add_argument("--harmful", action="store_true", help="those driven into harm alone")
    arguments.add_argument("--device", default="auto")
    arguments.add_argument("--processes", type=int, default=1, help="that share the device")
    arguments.add_argument("--minutes", type=float, default=math.inf)
    chosen = arguments.parse_args()
    end = time.time() + 60 * chosen.minutes
    parts = -(-chosen.processes // len(chosen.only))
    work = []
    for name in chosen.only:
        done = {row["setting"].partition(" @")[0] for row in _read(chosen.rows, name)}
        settings = [
            one
            for one in SETTINGS[name]
            if one.method in chosen.methods
            and one.tag not in done
            and (one.all_epochs or not chosen.harmful)
        ]
        work += [
            (name, settings[part::parts], chosen.work / name, chosen.rows, chosen.device, end)
            for part in range(parts)
            if settings[part::parts]
        ]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        chosen.processes, context, initializer=_start, initargs=(context.Lock(),)
    ) as pool:
        shares = [pool.submit(_measure, *one) for one in work]
    for name in chosen.only:
        _compare(name, chosen.rows, chosen.work / name / "maps")
    for share in shares:
        share.result()  # what failed, after the others' lines are complete
    return 0


def _start(lock: Any) -> None:
    """What every process begins with."""
    global writing
    writing = lock
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")


def _measure(
    name: str, settings: Sequence[Setting], folder: Path, path: Path, device: str, end: float
) -> None:
    """Settings of one data set, each appended to the file whole or not at all."""
    with open(folder / "cases.csv", newline="", encoding="utf-8") as stream:
        cases = [row for row in csv.DictReader(stream) if row["label"]]
    lacking = registry.lacking(open_model(folder / "bundle").describe().holds)
    settings = [one for one in settings if not lacking[one.method]]
    wanted: dict[str, dict[str, Any]] = {"none": {}, **{one.method: {} for one in settings}}
    engine = open_engines(folder / "bundle", wanted, devices.resolve(device), 0)["none"]
    references = [read_labels(Path(case["label"])).array[0] for case in cases]
    images = [ImageRun.read(engine, [Path(case["image"])], Reading(), Reporter()) for case in cases]
    before = [
        mean_dice(image.target.source_labels, truth)
        for image, truth in zip(images, references, strict=True)
    ]
    log.info("%s: %d cases, source Dice %.3f", name, len(cases), np.nanmean(before))
    maps = folder / "maps"
    maps.mkdir(exist_ok=True)
    for setting in settings:
        if time.time() > end:
            log.info("%s: %s: no time left", name, setting.tag)
            continue
        start = time.monotonic()
        one = replace(
            engine,
            method=registry.find(setting.method),
            options=options_of(setting.method, setting.options),
        )
        lines = []
        with _remembering(engine):
            for index, state, adapted, adapting in _results(one, images, setting):
                image = images[index].with_engine(one)
                began = time.monotonic()
                segmented = image.segment(adapted)
                seconds = adapting + time.monotonic() - began
                labels = segmented.probabilities.argmax(0).to(torch.uint8).cpu().numpy()
                restored = image.target.conformed.restore_labels(segmented.probabilities)
                after = mean_dice(restored, references[index])
                if np.isnan(before[index]) or np.isnan(after):
                    continue
                row = {
                    "dataset": name,
                    "case": cases[index]["id"],
                    "patient": cases[index]["patient"],
                    "method": setting.method,
                    "setting": f"{setting.tag} @{state}",
                    "network": kind_of_network(engine),
                    "seconds": round(seconds, 2),
                    "dice_source": round(before[index], 4),
                    "dice_result": round(after, 4),
                    "signals": _rounded(asdict(signals_of(image, segmented, adapted))),
                }
                np.savez_compressed(_map(maps, row), labels=labels)
                lines.append(row)
        with writing, open(path, "a", encoding="utf-8") as stream:
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


def _compare(name: str, path: Path, maps: Path) -> None:
    """Tell every line of a data set how far it agrees with the other methods on its case."""
    rows = _read(path)
    own = [row for row in rows if row["dataset"] == name]
    usual = usual_settings(name)
    delivered: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    for row in own:
        if row["setting"] in usual:
            delivered[row["case"]][row["method"]] = np.load(_map(maps, row))["labels"]
    for row in own:
        labels = np.load(_map(maps, row))["labels"]
        others = [
            label_dice(labels, other)
            for method, other in delivered[row["case"]].items()
            if method != row["method"]
        ]
        row["signals"]["others"] = round(float(np.mean(others)), 5) if others else None
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _results(
    engine: Engine, images: Sequence[ImageRun], setting: Setting
) -> Iterator[tuple[int, str, Adapted | None, float]]:
    """(index of the case, name of the state, the weights, seconds) of all that is to be judged.

    The seconds are of the adaptation that gave the weights, a share of it where all cases are
    adapted to together.
    """
    start = time.monotonic()
    shared = None if setting.each else _states(engine, images, setting)
    seconds = (time.monotonic() - start) / len(images)
    for index in range(0, len(images), setting.every):
        start = time.monotonic()
        try:
            states = shared or _states(engine, [images[index]], setting)
        except SFDAError as error:
            log.warning("%s: %s", setting.tag, error)
            continue
        if setting.each:
            seconds = time.monotonic() - start
        for name, adapted in states.items():
            yield index, name, adapted, seconds


def _states(
    engine: Engine, images: Sequence[ImageRun], setting: Setting
) -> dict[str, Adapted | None]:
    """One adaptation's states by name, without the source's and none twice."""
    if not engine.method.adapts:
        return {DELIVERED: None}
    seen: list[dict[str, Tensor]] = []
    update = ModelSelection.update

    def keep(selection: ModelSelection, network: nn.Module, *noted: Any, **more: float) -> bool:
        seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return update(selection, network, *noted, **more)

    with mock.patch.object(ModelSelection, "update", keep):
        conformed = [image.target.conformed for image in images]
        adapted = image_run.adapt(engine, conformed, Stages(), silent)
    last = len(seen) - 1
    settled = 1 + getattr(engine.options, "settle_bn", True)
    epochs = range(settled, last + 1) if setting.all_epochs else [last]
    states: dict[str, Adapted | None] = {DELIVERED: adapted}
    for epoch in epochs:
        finite = all(value.isfinite().all() for value in seen[epoch].values())
        if epoch not in (0, adapted.best_epoch) and finite:  # others are never delivered
            stopped = adapted.stopped if epoch == last else ""
            states[str(epoch)] = Adapted(seen[epoch], adapted.curves, epoch, stopped)
    return states


@contextmanager
def _remembering(engine: Engine) -> Iterator[None]:
    """Inside, what a network was asked before is not computed again."""
    source, second_look, copy_of = engine.model.network, Passes.of, Engine.adapted_network
    seen: dict[int, Tensor] = REMEMBERED.setdefault(id(source), {})
    networks: list[tuple[Adapted, nn.Module]] = []

    def segment(passes: Passes, network: nn.Module) -> Callable[[np.ndarray], Tensor]:
        look = second_look(passes, network)

        def remembered(image: np.ndarray) -> Tensor:
            key = hash(image.tobytes())
            if key not in seen:
                seen[key] = look(image)
            return seen[key]

        return remembered if network is source else look

    def adapted_network(asked: Engine, adapted: Adapted) -> nn.Module:
        for known, network in networks:
            if known is adapted:
                return network
        networks[:] = [*networks[-3:], (adapted, copy_of(asked, adapted))]
        return networks[-1][1]

    with (
        mock.patch.object(Passes, "of", segment),
        mock.patch.object(Engine, "adapted_network", adapted_network),
    ):
        yield


REMEMBERED: dict[int, dict[int, Tensor]] = {}


def _read(path: Path, name: str | None = None) -> list[dict[str, Any]]:
    """The lines of all data sets, or of one."""
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [row for row in rows if name in (None, row["dataset"])]


def _map(maps: Path, row: dict[str, Any]) -> Path:
    """Where the labels of a line are kept, on the model's grid."""
    name = f"{row['case']} {row['setting']}"
    return maps / ("".join(c if c.isalnum() or c in ".-=@" else "_" for c in name) + ".npz")


def _rounded(signals: dict[str, Any]) -> dict[str, Any]:
    return {k: round(v, 5) if isinstance(v, float) else v for k, v in signals.items()}


def options_of(method: str, given: Mapping[str, Any]) -> Any:
    """A method's options: published values but for those that are given."""
    return registry.find(method).values(given, PUBLISHED)


def kind_of_network(engine: Engine) -> dict[str, Any]:
    """Its normalisation, dimensions and channels."""
    description = engine.model.description
    return {
        "normalisation": "batch" if needs.BATCH_NORM in description.holds else "instance",
        "dimensions": description.spatial_dims,
        "channels": description.input_spec.channels,
    }


def mean_dice(labels: np.ndarray, truth: np.ndarray) -> float:
    """Mean over the classes of the reference or of the labels."""
    values = [value for value in np.union1d(np.unique(labels), np.unique(truth)) if value]
    return float(np.mean([dice(labels == v, truth == v) for v in values])) if values else np.nan


if __name__ == "__main__":
    sys.exit(main())
