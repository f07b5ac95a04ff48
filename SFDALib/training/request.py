"""What the three trainings share: their request, the work folder, and writing the bundle."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch

from SFDALib import __version__
from SFDALib.bundle import source
from SFDALib.bundle.weights import Weights
from SFDALib.errors import RequestError
from SFDALib.results.folder import ResultFolder
from SFDALib.training.loop import LoopOptions, Workers
from SFDALib.training.manifest import Entry


@dataclass(frozen=True)
class TrainingRequest:
    """One training: the cases, where the bundle goes, and how.

    Args:
        entries: the manifest's cases.
        output: the bundle folder to write; must not exist.
        batch: patches an optimiser step and process.
        augment: one of ``training.AUGMENTATIONS``.
        half: write the weights in half precision.
        loop: steps, learning rate and the like.
    """

    entries: tuple[Entry, ...]
    output: Path
    batch: int
    augment: str
    half: bool
    loop: LoopOptions

    @property
    def work(self) -> Path:
        """Holds the checkpoint and the conformed cases until the bundle is written."""
        return self.output.parent / f".{self.output.name}.training"

    def prepare(self, workers: Workers) -> None:
        """Refuse an existing output and make the work folder."""
        if self.output.exists():
            raise RequestError(f"{self.output}: exists already; choose another name or remove it")
        if workers.leads:
            try:
                self.work.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise RequestError(f"{self.work}: cannot be made ({error.strerror})") from error
        workers.wait()

    def identity(self, task: str, **fields: Any) -> dict[str, Any]:
        """What tells a checkpoint of this training from that of another."""
        cases = [
            [*map(str, entry.images), str(entry.label), entry.split, *map(list, entry.relabel)]
            for entry in self.entries
        ]
        return {
            "task": task,
            "cases": cases,
            "batch": self.batch,
            "augment": self.augment,
            **fields,
        }

    def provenance(self, task: str, curve: list[tuple[int, float]]) -> dict[str, Any]:
        """What is written about this training into the bundle."""
        return {
            task: {
                "date": date.today().isoformat(),
                "cases": [entry.images[0].name for entry in self.entries if entry.split == "train"],
                "batch": self.batch,
                "augment": self.augment,
                **asdict(self.loop),
                "final_loss": curve[-1][1] if curve else None,
                "software": {"SFDALib": __version__, "torch": torch.__version__},
            }
        }

    def finish(self, workers: Workers, write: Callable[[Path], None]) -> None:
        """Write the bundle whole or not at all, then drop the work folder."""
        if workers.leads:
            self.output.parent.mkdir(parents=True, exist_ok=True)
            with ResultFolder(self.output) as folder:
                write(folder)
        workers.wait()  # the others may still read their cases
        if workers.leads:
            shutil.rmtree(self.work)


def weights_for_shipping(request: TrainingRequest, weights: Weights) -> Weights:
    return source.half(weights) if request.half else weights
