"""The demo's table, with a command line that only writes what it would have written."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import demo
import pytest
from rich.console import Console

CLASSES = {"1": {"name": "Brain", "reference_ml": 1462.0}}
MEASURES = {"dice": 0.9, "surface_dice": 0.5, "predicted_ml": 1400.0}
BETTER, LOOK = {"decision": "better"}, {"decision": "look"}


def written(*arguments: object) -> str | None:
    """What ``run`` and ``evaluate`` leave; HEAL fails on the second volume."""
    words = dict(zip(arguments[1::2], arguments[2::2], strict=False))
    if arguments[0] == "evaluate":
        paths = [b for a, b in itertools.pairwise(arguments) if a == "--result"]
        classes = {"1": CLASSES["1"] | MEASURES}
        results = [{"result": str(path), "classes": classes} for path in paths]
        measures = json.dumps({"results": results})
        Path(str(words["--json"])).write_text(measures, encoding="utf-8")
        return None
    output = Path(str(words["--output"]))
    if words["--method"] == "heal" and "flair" in output.as_posix():
        return "SFDALib: out of memory"
    output.mkdir(parents=True)
    report: dict[str, Any] = {"method": words["--method"], "trust": LOOK}
    if words["--method"] == "auto":
        tried = [
            {"method": "early-features", "folder": ".", "seconds_total": 9.0, "trust": BETTER},
            {"method": "tent", "folder": "tried/tent", "seconds_total": 8.0, "trust": LOOK},
            {"method": "dpl", "folder": None, "error": "failed"},
        ]
        report = {"method": "early-features", "trust": BETTER, "auto": {"tried": tried}}
    (output / "report.json").write_text(json.dumps(report))
    return None


def test_the_table_has_the_source_the_choice_what_it_tried_and_single_methods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    monkeypatch.setattr(demo, "RESULTS", tmp_path / "demo_results")
    monkeypatch.setattr(demo, "MARKER", tmp_path / "demo_results" / "made-by-demo.txt")
    monkeypatch.setattr(demo, "sfdalib", written)
    with (tmp_path / "shown.txt").open("w", encoding="utf-8") as shown:
        monkeypatch.setattr(demo, "console", Console(file=shown, width=80))
        assert demo.main() == 1, "HEAL failed once"
    text = (tmp_path / "shown.txt").read_text(encoding="utf-8")
    assert "…" not in text and max(map(len, text.splitlines())) <= 80
    assert "Failed: Patient 04, FLAIR, heal: SFDALib: out of memory" in " ".join(text.split())

    rows = json.loads((tmp_path / "demo_results" / "summary.json").read_text())
    methods = [(row["method"], row["verdict"], row["seconds"] is None) for row in rows]
    auto = [("none", None, True), ("auto: early-features", "better", False)]
    assert methods[:4] == [*auto, ("tent", "look", False), ("heal", "look", False)]
    assert methods[4:] == [*auto, ("tent", "look", False), ("heal", None, False)]
    folder = "demo_results/patient04_t2w"
    assert [row["segmentation"] for row in rows[:4]] == [
        f"{folder}/auto/source_segmentation.seg.nrrd",
        f"{folder}/auto/segmentation.seg.nrrd",
        f"{folder}/auto/tried/tent/segmentation.seg.nrrd",
        f"{folder}/heal/segmentation.seg.nrrd",
    ]
    assert all(row["classes"] for row in rows if row["error"] is None)
