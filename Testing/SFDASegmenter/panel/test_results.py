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
    from SFDASegmenterLib.panel.run import COLORS
    from slicer_standin import user

    from SFDALib.trust.levels import LEVELS

    fill("heal")
    run()
    ui = panel.ui
    trust = panel.results.results.report["trust"]
    assert ui.verdictLabel.text == trust["sentence"]
    colour, _text = COLORS[LEVELS[trust["decision"]].colour]
    assert f"background: {colour}" in ui.verdictLabel.styleSheet
    assert not ui.whyText.visible
    user.click(ui.whyButton)
    assert ui.whyText.visible
    assert "entropy" in ui.whyText.toPlainText()
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
    headings = [table.horizontalHeaderItem(column).text() for column in range(5)]
    assert headings == ["Volume (ml)", "Source", "Method", "Change", "Unsure"]
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
    said = ("No adaptation", "not a medical device", "Overlap", "Checksum of the image")
    for words in (*said, "Options: Recommended"):
        assert words in text
    window.close()
    assert json.loads(panel.results.results.get("report").GetText())["method"] == "none"
