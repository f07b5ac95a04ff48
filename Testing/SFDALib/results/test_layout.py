"""The one list of what a result folder holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import matplotlib
from paths import ROOT

from SFDALib.results import layout


def test_needs_the_standard_library_alone() -> None:
    script = (
        "import sys, SFDALib.results.layout\n"
        "print({'numpy', 'SimpleITK', 'matplotlib', 'torch'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == "set()\n"


def test_no_two_files_share_a_role_or_a_name() -> None:
    listed = (layout.RESULT_FOLDER, layout.COHORT_FOLDER, layout.COMPARISON_FOLDER)
    every = {file for files in listed for file in files}
    assert len({file.role for file in every}) == len({file.name for file in every}) == len(every)


def test_a_map_has_a_fixed_window_and_a_colormap_that_exists() -> None:
    for map_ in layout.maps().values():
        low, high = map_.window(classes=4)
        assert (low, high) == (0, 2 if map_.unit == "bits" else 1)
        assert map_.colormap in matplotlib.colormaps
    assert layout.ENTROPY.legend == "Entropy (bits)"
    assert layout.NIG_UNCERTAINTY.legend == "NIG uncertainty"


def test_lists_what_was_written_in_its_own_order(tmp_path: Path) -> None:
    for name in ("report.json", "entropy.nrrd", "segmentation.seg.nrrd", "something else.txt"):
        (tmp_path / name).touch()
    (tmp_path / "samples").mkdir()
    assert list(layout.written(tmp_path).items()) == [
        ("result", "segmentation.seg.nrrd"),
        ("entropy", "entropy.nrrd"),
        ("samples", "samples"),
        ("report", "report.json"),
    ]
    assert layout.written(tmp_path, layout.COHORT_FOLDER) == {}
