"""What the panel needs before anything is installed imports the standard library alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

LIGHT = (
    "SFDALib",
    "SFDALib.methods.registry",
    "SFDALib.bundle.description",
    "SFDALib.bundle.bundle_files",
    "SFDALib.bundle.open_model",
    "SFDALib.jobs.request",
    "SFDALib.jobs.events",
    "SFDALib.jobs.inspect",
    "SFDALib.networks.catalogue",
    "SFDALib.volume.formats",
    "SFDALib.volume.input_spec",
    "SFDALib.volume.reading",
)
HEAVY = ("numpy", "scipy", "skimage", "torch", "monai", "SimpleITK", "matplotlib", "rich", "einops")


def python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    ).stdout


@pytest.mark.parametrize("module", LIGHT)
def test_what_the_panel_needs_is_the_standard_library_alone(module: str) -> None:
    loaded = python(f"import {module}, sys; print(*sys.modules)").split()
    assert module in loaded
    assert not set(HEAVY) & set(loaded)


def test_a_bundle_is_inspected_with_the_standard_library_alone(tiny_bundle: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from SFDALib.jobs.inspect import inspect, in_words;"
        f"print(in_words(inspect(Path({str(tiny_bundle)!r})))); print(*sys.modules)"
    )
    *words, loaded = python(code).splitlines()
    assert words[0] == "Tiny test model"
    assert not set(HEAVY) & set(loaded.split())


@pytest.mark.parametrize("module", ["SFDALib", "SFDALib.methods.registry"])
def test_importing_is_fast(module: str) -> None:
    """Under 0.3 s: the best of five in processor time, so that a busy machine does not count."""
    code = f"import time; t = time.process_time(); import {module}; print(time.process_time() - t)"
    assert min(float(python(code)) for _ in range(5)) < 0.3
