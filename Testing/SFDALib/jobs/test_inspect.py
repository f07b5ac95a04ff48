"""inspect tells what a bundle is, in words and as data."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from checked_bundles import (
    DESCRIPTIONS,
)
from paths import ROOT

from SFDALib.__main__ import main
from SFDALib.bundle import source
from SFDALib.jobs.inspect import in_words, inspect
from SFDALib.networks.build import build_network


def test_inspect_says_what_a_bundle_is_in_words(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(tiny_bundle)]) in (0, None)
    words = capsys.readouterr().out
    assert words.rstrip("\n") == in_words(inspect(tiny_bundle))
    for word in (
        "Tiny test model",
        "synthetic head",
        "Brain (10 to 200 ml)",
        "ResidualUNet, 2D, 1 channel(s)",
        "LPS, spacing 3 x 3 x as is mm, percentile normalisation",
        "heal",
        "early-features",
    ):
        assert word in words


def test_inspect_says_the_same_as_data(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(tiny_bundle), "--json"]) in (0, None)
    facts = json.loads(capsys.readouterr().out)
    assert facts == inspect(tiny_bundle)
    assert facts["labels"][0] == {
        "value": 1,
        "name": "Brain",
        "color": [250, 170, 70],
        "terminology": "Segmentation category and type - DICOM master list"
        "~SCT^123037004^Anatomical Structure~SCT^12738006^Brain~^^"
        "~Anatomic codes - DICOM master list~^^~^^",
        "size_ml": [10.0, 200.0],
    }
    assert facts["spacing_mm"] == [3.0, 3.0, None]


def test_inspect_says_which_methods_a_bundle_cannot_serve(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    plain = DESCRIPTIONS["plain"]
    source.write(tmp_path / "plain", plain, build_network(plain.network).state_dict())
    facts = inspect(tmp_path / "plain")
    assert set(facts["unavailable"]) == {"heal", "early-features", "muvi", "few-labels"}
    assert "not possible    heal: " in in_words(facts)


def test_inspect_of_an_unusable_bundle_ends_with_status_2_and_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "SFDALib", "inspect", str(tmp_path / "none")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "no such bundle" in line
