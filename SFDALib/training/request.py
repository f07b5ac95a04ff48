"""What the three trainings share: the request, the work folder, and writing the bundle."""

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
from SFDALib.training.checkpoint import Checkpoint, Curve
from SFDALib.training.loop import LoopOptions, Workers
from SFDALib.training.manifest import Entry


@dataclass(frozen=True)
class TrainingRequest:
    """One training: the cases, the output and the options.

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
        """The folder of the checkpoint and the preprocessed cases until the bundle is written."""
        return self.output.parent / f".{self.output.name}.training"

    def prepare(self, workers: Workers) -> None:
        """Make the work folder.

        Raises:
            RequestError: the output exists, or the work folder cannot be made.
        """
        if self.output.exists():
            raise RequestError(f"{self.output}: exists already; choose another name or remove it")
        if workers.leads:
            try:
                self.work.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise RequestError(
                    f"{self.work}: cannot be made ({error.strerror}); choose another --output"
                ) from error
        workers.wait()

    def checkpoint(self, task: str, **fields: Any) -> Checkpoint:
        """The checkpoint of this training.

        Args:
            task: which of the trainings.
            fields: what else must be the same for the training to be continued.
        """
        cases = [
            [*map(str, entry.images), str(entry.label), entry.split, *map(list, entry.relabel)]
            for entry in self.entries
        ]
        identity = {
            "task": task,
            "cases": cases,
            "batch": self.batch,
            "augment": self.augment,
            **fields,
        }
        return Checkpoint(self.work / "checkpoint.pt", identity)

    def provenance(self, task: str, curve: Curve) -> dict[str, Any]:
        """The bundle's record of this training: cases, options, final loss and versions."""
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
        """Write the bundle, complete or not at all, then remove the work folder."""
        if workers.leads:
            self.output.parent.mkdir(parents=True, exist_ok=True)
            with ResultFolder(self.output) as folder:
                write(folder)
        workers.wait()  # the others may still read their cases
        if workers.leads:
            shutil.rmtree(self.work)


def weights_for_shipping(request: TrainingRequest, weights: Weights) -> Weights:
    """The weights as the bundle gets them: in half precision if the request says so."""
    return source.half(weights) if request.half else weights
