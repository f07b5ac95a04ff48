"""The rows of the maps, and the diffusion samples."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from panel_bench import choose_method, settle

FOUR_UP = 3  # vtkMRMLLayoutNode.SlicerLayoutFourUpView


def _thresholds(panel: Any) -> dict[str, Any]:
    rows = panel.results.maps.rows
    return {role: row for role, row in rows.items() if row.threshold is not None}


def test_closing_the_scene_leaves_the_thresholds_of_the_maps_alone(
    panel: Any, fill: Callable[..., Any], run: Callable[[], Any]
) -> None:
    import slicer

    fill("heal")
    run()
    before = {role: row.threshold.value for role, row in _thresholds(panel).items()}
    assert before == {"entropy": 0.2, "nig_uncertainty": 0.2}
    slicer.mrmlScene.Clear()
    settle()
    fill("heal")
    run()
    assert {role: row.threshold.value for role, row in _thresholds(panel).items()} == before


def test_maps_exclude_each_other_and_follow_their_sliders(
    panel: Any, fill: Callable[..., Any], run: Callable[[], Any]
) -> None:
    import slicer
    from slicer_standin import user

    fill("heal")
    run()
    results, rows = panel.results.results, panel.results.maps.rows
    assert set(rows) == {"entropy", "nig_uncertainty", "sample"}
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    user.click(rows["entropy"].box)
    assert composite.GetForegroundVolumeID() == results.get("entropy").GetID()
    user.click(rows["nig_uncertainty"].box)
    assert not rows["entropy"].box.checked
    assert composite.GetForegroundVolumeID() == results.get("nig_uncertainty").GetID()
    user.write(rows["nig_uncertainty"].opacity, "0.25")
    assert composite.GetForegroundOpacity() == pytest.approx(0.25)
    assert not rows["nig_uncertainty"].threshold.visible
    user.click(rows["nig_uncertainty"].button)
    user.write(rows["nig_uncertainty"].threshold, "0.4")
    display = results.get("nig_uncertainty").GetDisplayNode()
    assert display.GetLowerThreshold() == pytest.approx(0.4)
    user.click(rows["sample"].box)
    assert composite.GetForegroundVolumeID() == results.sample.GetID()
    user.click(rows["sample"].box)
    assert composite.GetForegroundVolumeID() is None


def test_only_the_maps_of_the_run_have_rows(
    panel: Any, fill: Callable[..., Any], run: Callable[[], Any]
) -> None:
    from slicer_standin import user

    fill("none")
    first = run().results[0].node
    assert set(panel.results.maps.rows) == {"entropy"}
    assert not panel.ui.samplesWidget.visible
    choose_method(panel, "heal")
    run()
    assert set(panel.results.maps.rows) == {"entropy", "nig_uncertainty", "sample"}
    assert panel.ui.samplesWidget.visible
    user.choose(panel.ui.resultSelector, first.GetName())
    assert set(panel.results.maps.rows) == {"entropy"}


def test_a_new_map_of_the_layout_has_its_row(
    panel: Any,
    recorded_jobs: Path,
    head_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With its title, its help and a threshold up to its maximum: no file of the panel names it."""
    import shutil

    import slicer
    from SFDASegmenterLib.scene.placement import Origin, Placement
    from slicer_standin import user

    from SFDALib.results import layout

    toy = layout.MapFile("toy", "toy.nrrd", "Toy", "What a toy shows.", unit="mm", maximum=7.0)
    monkeypatch.setattr(layout, "RESULT_FOLDER", (*layout.RESULT_FOLDER, toy))
    folder = tmp_path / "none"
    shutil.copytree(recorded_jobs / "none", folder)
    shutil.copyfile(folder / "entropy.nrrd", folder / "toy.nrrd")
    report = json.loads((folder / "report.json").read_text())
    report["files_written"]["toy"] = "toy.nrrd"
    (folder / "report.json").write_text(json.dumps(report))
    volume = slicer.util.loadVolume(str(head_file))
    placement = Placement(folder, Origin("head", volume.GetID()), "run")
    for _step in placement.steps():
        pass
    panel.results.choose(placement.results)
    settle()
    row = panel.results.maps.rows["toy"]
    assert (row.box.text, row.box.toolTip) == ("Toy", "What a toy shows.")
    assert row.threshold.maximum == 7.0
    user.click(row.box)
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert composite.GetForegroundVolumeID() == placement.results.get("toy").GetID()


def test_the_sample_slider_browses_and_marks_the_chosen_one(
    panel: Any, fill: Callable[..., Any], run: Callable[[], Any]
) -> None:
    from slicer_standin import user

    fill("heal")
    run()
    results, ui = panel.results.results, panel.ui
    details = results.report["details"]
    chosen = details["chosen_sample"]
    assert ui.sampleSlider.value == chosen
    assert "\u2605" in ui.sampleLabel.text
    other = chosen + 1 if chosen + 1 < len(details["samples"]) else chosen - 1
    user.key(ui.sampleSlider, "Up" if other > chosen else "Down")
    assert results.get("browser").GetSelectedItemNumber() == other
    assert "\u2605" not in ui.sampleLabel.text
    assert f"S = {details['samples'][other]['score']:.3f}" in ui.sampleLabel.text
