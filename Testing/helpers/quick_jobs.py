"""Runs of the command line on phantoms, as short as they can be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from phantoms import Phantom

from SFDALib.__main__ import main
from SFDALib.methods import registry

QUICK = {"samples": 2, "steps": 2, "epochs": 1, "batch": 8, "learning_rate": 1e-4, "rounds": 1}


def words(phantom: Phantom, method: str, output: Path, **options: Any) -> list[str]:
    """A run of a method on a phantom, as short as it can be unless ``options`` say otherwise."""
    known = {option.name for option in registry.find(method).options}
    options = {name: value for name, value in QUICK.items() if name in known} | options
    request = ["--bundle", phantom.bundle, "--input", phantom.image, "--method", method]
    request += ["--output", output, "--device", "cpu"]
    request += ["--labels", phantom.labels] if "labels" in registry.find(method).needs else []
    request += [word for name, value in options.items() for word in ("--option", f"{name}={value}")]
    return [str(word) for word in request]


def run(phantom: Phantom, method: str, output: Path, **options: Any) -> Path:
    assert main(["run", *words(phantom, method, output, **options)]) == 0
    return output


def report_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def labels_of(folder: Path, name: str = "segmentation") -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"{name}.seg.nrrd")))


def files_in(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
