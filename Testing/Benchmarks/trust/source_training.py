"""Train a source model of the judge's data sets through the command line; read and write tables."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]

Row = dict[str, str]


@dataclass(frozen=True)
class Training:
    """How a source is trained: the file of its configuration, and how long.

    Args:
        config: name of the JSON file beside this one.
        steps, head_steps: of the network, and of its head on early features.
        batch: patches of a step.
        norm: the normalisation in place of the file's, of nnU-Net's networks.
        augment: as of ``SFDALib train``.
    """

    config: str
    steps: int = 2500
    head_steps: int = 200
    batch: int = 16
    norm: str = ""
    augment: str = "intensity"

    def write_config(self, path: Path) -> None:
        """The configuration that ``SFDALib train`` reads."""
        config = json.loads((HERE / f"{self.config}.json").read_text(encoding="utf-8"))
        if self.norm:
            config["network"]["norm"] = self.norm
        path.write_text(json.dumps(config), encoding="utf-8")


def train(
    folder: Path, settings: Training, manifest: Sequence[tuple[object, ...]], device: str
) -> None:
    """A segmentation network and an early head, through the command line."""
    write_table(folder / "manifest.csv", ("image", "label", "split"), manifest)
    common = ("--manifest", folder / "manifest.csv", "--device", device, "--batch", settings.batch)
    common = (*common, "--augment", settings.augment, "--learning-rate", 2e-3, "--progress", "none")
    base, config = folder / "base", folder / "config.json"
    settings.write_config(config)
    steps = ("--steps", settings.steps, "--config", config)
    _command("segmentation", *common, *steps, "--loss", "dice-ce", "--output", base)
    head = ("--steps", settings.head_steps, "--bundle", base, "--output", folder / "bundle")
    _command("early-head", *common, *head)


def _command(kind: str, *words: object) -> None:
    command = [sys.executable, "-m", "SFDALib", "train", kind, *map(str, words)]
    subprocess.run(command, cwd=ROOT, check=True)


def read_manifest(folder: Path) -> list[Row]:
    with open(folder / "manifest.csv", newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)
