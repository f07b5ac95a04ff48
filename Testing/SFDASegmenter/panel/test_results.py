"""What the panel shows of a run: maps, samples, table, verdict, report; and after a reopening."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from panel_bench import choose_method, settle

FOUR_UP = 3  # vtkMRMLLayoutNode.SlicerLayoutFourUpView


def layout() -> int:
    import slicer

    return slicer.app.layoutManager().layout


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


def _thresholds(panel: Any) -> dict[str, Any]:
    rows = panel.results.maps.rows
    return {role: row for role, row in rows.items() if row.threshold is not None}


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


def test_no_file_name_is_told_where_a_clinician_reads(
    panel: Any, fill: Callable[..., Any], run: Callable[[], Any]
) -> None:
    import qt

    fill("heal")
    run()
    texts = []
    for widget in panel.ui.scrollArea.window().findChildren(qt.QWidget):
        texts.append(widget.toolTip)
        for kind in ("QLabel", "QAbstractButton", "QLineEdit"):
            if widget.inherits(kind):
                texts.append(widget.text)
    texts.append(panel.ui.whyText.toPlainText())
    assert "Expected" not in texts
    assert [text for text in texts if ".nrrd" in text or "chosen_sample" in text] == []
    assert len(panel.ui.whyText.toPlainText()) > 50


def test_the_verdict_is_one_line_whose_reasons_unfold(
    panel: Any, fill: Callable[..., Any], run: Callable[[], Any]
) -> None:
    from slicer_standin import user

    fill("heal")
    run()
    ui = panel.ui
    assert ui.verdictLabel.text.startswith("Not trusted")
    assert "background" in ui.verdictLabel.styleSheet
    assert not ui.whyText.visible
    user.click(ui.whyButton)
    assert ui.whyText.visible
    assert "Entropy" in ui.whyText.toPlainText()
    user.click(ui.whyButton)
    assert not ui.whyText.visible


def test_a_saved_scene_brings_panel_and_results_back(
    panel: Any, fill: Callable[..., Any], run: Callable[[], Any], tmp_path: Path
) -> None:
    import slicer
    from slicer_standin import user

    fill("heal", samples="2", steps="2")
    run()
    user.click(panel.results.maps.rows["nig_uncertainty"].box)
    user.write(panel.results.maps.rows["nig_uncertainty"].opacity, "0.3")
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear()
    settle()
    assert panel.results.results is None
    slicer.util.loadScene(str(path))
    settle()
    assert panel.request().method == "heal"
    assert panel.request().options == {"samples": 2, "steps": 2}
    assert panel.ui.inputVolumeSelector.currentNode() is not None
    results, row = panel.results.results, panel.results.maps.rows["nig_uncertainty"]
    assert results.node.GetName().endswith("HEAL")
    assert row.box.checked
    assert row.opacity.value == pytest.approx(0.3)
    assert panel.ui.volumesTable.rowCount == 1
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert composite.GetForegroundVolumeID() == results.get("nig_uncertainty").GetID()


def test_deleting_the_shown_result_empties_the_section(
    panel: Any, fill: Callable[..., Any], run: Callable[[], Any]
) -> None:
    import slicer
    from slicer_standin import user

    fill("none")
    run()
    user.click(panel.results.maps.rows["entropy"].box)
    user.click(panel.ui.bothRadio)
    slicer.mrmlScene.RemoveNode(panel.results.results.node)
    settle()
    assert panel.results.results is None
    assert not panel.ui.reportButton.visible
    assert not panel.ui.volumesTable.visible
    assert not panel.ui.verdictLabel.visible
    assert layout() == FOUR_UP


def test_the_adapted_model_is_saved_as_a_bundle_that_can_be_used(
    panel: Any,
    fill: Callable[..., Any],
    run: Callable[[], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import qt
    from slicer_standin import user

    from SFDALib.jobs.inspect import inspect

    fill("adami")
    run()
    place = tmp_path / "models"
    place.mkdir()
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", staticmethod(lambda *_: str(place)))
    user.click(panel.ui.saveBundleButton)
    user.click(panel.ui.saveBundleButton)
    first, second = sorted(place.iterdir())
    assert second.name == f"{first.name}_2"
    assert "adapted by AdaMI" in inspect(first)["name"]


def test_probabilities_are_kept_where_they_are_ticked_and_saved_as_a_file(
    panel: Any,
    fill: Callable[..., Any],
    run: Callable[[], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import qt
    from slicer_standin import user

    monkeypatch.setattr(
        qt.QFileDialog, "getExistingDirectory", staticmethod(lambda *_: str(tmp_path))
    )
    fill("none")
    run()
    button = panel.ui.saveProbabilitiesButton
    assert not button.visible
    user.unfold(panel.ui.advancedSection)
    user.click(panel.ui.probabilitiesCheckBox)
    run()
    wanted = panel.results.results.probabilities.read_bytes()
    user.click(button)
    user.click(button)
    found = sorted(tmp_path.glob("*probabilities*.nrrd"))
    assert [path.stem.rpartition("probabilities")[2] for path in found] == ["", "_2"]
    assert all(path.read_bytes() == wanted for path in found)


def test_a_file_that_cannot_be_saved_is_told_and_nothing_is_left(
    panel: Any,
    fill: Callable[..., Any],
    run: Callable[[], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import shutil

    import qt
    from slicer_standin import user

    def half(_source: Path, target: Path) -> None:
        target.write_bytes(b"NRRD")
        raise OSError("the disk is full")

    fill("none")
    user.unfold(panel.ui.advancedSection)
    user.click(panel.ui.probabilitiesCheckBox)
    run()
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", staticmethod(lambda *_: str(place)))
    monkeypatch.setattr(shutil, "copyfile", half)
    user.click(panel.ui.saveProbabilitiesButton)
    assert "the disk is full" in panel.ui.messageLabel.text
    assert list(place.iterdir()) == []


def test_the_table_tells_how_unsure_the_model_is_where_the_run_knows_it(
    panel: Any, fill: Callable[..., Any], run: Callable[[], Any]
) -> None:
    from slicer_standin import user

    fill("heal")
    older = run().results[0]
    report = older.report
    (known,) = report["uncertainty"]
    table = panel.ui.volumesTable
    assert table.horizontalHeaderItem(4).text() == "Unsure"
    assert "0.5 bits" in table.horizontalHeaderItem(4).toolTip()
    assert not table.isColumnHidden(4)
    item = table.item(0, 4)
    assert float(item.text().removesuffix(" %")) == pytest.approx(
        known["uncertain_percent"], rel=0.05
    )
    assert f"{known['entropy_bits']:.2g} bits" in item.toolTip()
    del report["uncertainty"]  # as of a scene from before
    older.get("report").SetText(json.dumps(report))
    choose_method(panel, "none")
    run()
    assert not table.isColumnHidden(4)
    user.choose(panel.ui.resultSelector, older.node.GetName())
    assert table.isColumnHidden(4)
    assert table.item(0, 0).text() == "Brain"


def test_the_report_shows_method_options_and_warning(
    panel: Any, fill: Callable[..., Any], run: Callable[[], Any]
) -> None:
    import qt
    from slicer_standin import user

    fill("none")
    run()
    user.click(panel.ui.reportButton)
    window = panel.results.report_window
    (browser,) = window.findChildren(qt.QTextBrowser)
    text = browser.plainText
    for words in ("No adaptation", "not a medical device", "overlap", "Checksum of the image"):
        assert words in text
    window.close()
    assert json.loads(panel.results.results.get("report").GetText())["method"] == "none"
