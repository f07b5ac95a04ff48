"""A source site to train at, and the command line that trains there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from heads import LEFT_HANDED, OBLIQUE, geometry_around_head
from paths import ROOT

from SFDALib.__main__ import main
from SFDALib.bundle.bundle_files import MODEL

GEOMETRIES = {
    "a": geometry_around_head((28, 32, 10), (3.0, 3.0, 7.5)),
    "b": geometry_around_head((36, 40, 14), (2.5, 2.2, 6.0), OBLIQUE),
    "c": geometry_around_head((24, 30, 9), (3.0, 3.2, 8.0), LEFT_HANDED),
    "d": geometry_around_head((30, 29, 11), (2.8, 3.1, 7.0)),
}

SEGMENTATION = {
    "name": "Brain of a phantom",
    "modality": "phantom head",
    "orientation": "LPS",
    "spacing": [3.0, 3.0, None],
    "normalisation": {"kind": "percentile", "lower": 0.5, "upper": 99.5},
    "patch_size": [32, 32],
    "labels": [{"value": 1, "name": "Brain", "color": [250, 170, 70]}],
    "network": {
        "_target_": "SFDALib.networks.residual_unet.ResidualUNet",
        "spatial_dims": 2,
        "in_channels": 1,
        "out_channels": 1,
        "features": 4,
    },
}

DIFFUSION_NETWORK = {
    "_target_": "SFDALib.networks.diffusion_unet.ConditionalDiffusionUNet",
    "spatial_dims": 2,
    "image_channels": 1,
    "channels": [8, 8],
    "num_res_blocks": 1,
    "attention_levels": [False, False],
    "num_head_channels": [0, 8],
    "norm_num_groups": 4,
}

DIFFUSION = {
    "network": {**DIFFUSION_NETWORK, "condition_channels": 2},
    "spacing": [4.0, 4.0, None],
    "timesteps": 50,
    "foreground": True,
}

STEPS = 60

HOW = ["--steps", STEPS, "--batch", 8, "--learning-rate", 0.01, "--ema", 0.8, "--device", "cpu"]


@dataclass(frozen=True)
class Site:
    """A source site: heads "a" and "b" to train on, "c" to calibrate, "d" held out."""

    folder: Path

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.csv"

    def write(self, name: str, content: Any) -> Path:
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def segmentation(self, output: str, *more: object, manifest: Path | None = None) -> list[str]:
        words = ["train", "segmentation", "--config", self.folder / "segmentation.json"]
        words += ["--manifest", manifest or self.manifest, "--output", self.folder / output]
        return [str(word) for word in [*words, *HOW, *more]]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def sfda(words: list[str]) -> None:
    """The command line in a process of its own; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "SFDALib", *words],
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr


def refused(words: list[str], caplog: pytest.LogCaptureFixture) -> str:
    """The one line with which the command line refuses; nothing is left of the output."""
    caplog.clear()
    assert main(words) == 2
    (record,) = caplog.records
    line = record.getMessage()
    assert line.startswith("SFDALib: ")
    assert "\n" not in line
    return line


def weights(bundle: Path, name: str = MODEL) -> dict[str, torch.Tensor]:
    return torch.load(bundle / name, weights_only=True)
