"""Methods that are run on one image beside each other: what comparisons and ``auto`` share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from SFDALib.evaluation import agreement
from SFDALib.jobs.engine import Engine
from SFDALib.jobs.failures import Failures
from SFDALib.jobs.image_run import ImageRun
from SFDALib.jobs.judgement import judge_among
from SFDALib.jobs.run import deliver
from SFDALib.machine import devices
from SFDALib.methods.registry import REFERENCE
from SFDALib.results import layout
from SFDALib.results.folder import ResultFolder
from SFDALib.volume.image_file import read_labels


@dataclass
class Tried:
    """Results of several methods on one image.

    All share the image's reading and its segmentation by the source model. Each leaves the result
    folder that a run with the gate off would.

    Args:
        image: read and segmented by the source model.
        folder: holds a result folder for each method, of the method's name.
        failures: of methods, which do not stop the others.
        reports: of the methods that worked, by name.
        maps: their label maps ``(K, J, I)`` on the input's grid.
    """

    image: ImageRun
    folder: Path
    failures: Failures
    reports: dict[str, dict[str, Any]] = field(default_factory=dict)
    maps: dict[str, np.ndarray] = field(default_factory=dict)

    def run(self, engine: Engine) -> None:
        """Run a method into a folder of its own, or record why it failed."""
        name = engine.method.name
        devices.reset_peak_memory(engine.model.device)
        with self.failures.recorded(name, method=name), ResultFolder(self.folder / name) as inside:
            report = deliver(self.image.with_engine(engine), inside, gate="off")
        if name not in self.failures.messages:
            self.reports[name] = report
            self.maps[name] = read_labels(self.folder / name / layout.SEGMENTATION.name).array[0]

    @property
    def voters(self) -> list[str]:
        """The methods whose results count for an agreement: all but the reference."""
        return [name for name in self.maps if name != REFERENCE]

    def dice(self) -> Dice:
        """The Dice between every two results."""
        maps = list(self.maps.values())
        labels = self.image.engine.model.description.labels
        matrices = {label.value: agreement.pairwise_dice(maps, label.value) for label in labels}
        return Dice(list(self.maps), matrices, agreement.mean_dice(list(matrices.values())))

    def trusts(self, dice: Dice) -> dict[str, dict[str, Any] | None]:
        """Each method's "trust", its agreement with the other methods' results among the signals.

        Args:
            dice: as ``dice`` returns it.
        """
        trusts: dict[str, dict[str, Any] | None] = {}
        for name, report in self.reports.items():
            scores = [dice.between(name, other) for other in self.voters if other != name]
            finite = [score for score in scores if np.isfinite(score)]
            others = float(np.mean(finite)) if finite else None
            trusts[name] = report["trust"] and judge_among(report["trust"], others)
        return trusts

    def row(self, engine: Engine, trust: Mapping[str, Any] | None) -> dict[str, Any]:
        """What comparison.json, and report.json of ``auto``, say of one method.

        Args:
            engine: the method with its options.
            trust: as ``trusts`` returns it.
        """
        name = engine.method.name
        report = self.reports.get(name)
        row: dict[str, Any] = {
            "method": name,
            "title": engine.method.title,
            "preset": engine.method.preset_of(engine.options.to_dict()),
            "options": engine.options.to_dict(),
            "folder": None if report is None else name,
            "error": self.failures.messages.get(name),
        }
        if report is not None:
            row |= {
                "volumes": [
                    {**volume, "change_percent": change_percent(volume)}
                    for volume in report["volumes"]
                ],
                "notes": report["notes"],
                "trust": trust,
                "seconds": report["seconds"],
                "seconds_total": round(sum(report["seconds"].values()), 3),
                "peak_memory_mb": report["peak_memory_mb"],
            }
        return row


@dataclass(frozen=True)
class Dice:
    """The Dice between every two results.

    Args:
        methods: N names, the order of rows and columns.
        classes: of each class, by its value, a matrix ``(N, N)``; NaN where neither result has it.
        mean: ``(N, N)`` over the classes that are not NaN.
    """

    methods: list[str]
    classes: Mapping[int, np.ndarray]
    mean: np.ndarray

    def between(self, one: str, other: str) -> float:
        """The mean Dice between two methods' results."""
        return float(self.mean[self.methods.index(one), self.methods.index(other)])


def change_percent(volume: Mapping[str, Any]) -> float | None:
    """The change of a structure's volume in per cent; None where the source model has none of it.

    Args:
        volume: of the report's "volumes".
    """
    before, after = volume["source_ml"], volume["result_ml"]
    return round(100 * (after - before) / before, 1) if before > 0 else None
