"""The run that is shown: its views, overlays, samples, table, judgement and report."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from SFDASegmenterLib import words
from SFDASegmenterLib.panel.forms import silenced
from SFDASegmenterLib.parameters import Parameters
from SFDASegmenterLib.scene import layers
from SFDASegmenterLib.scene.results import MAPS, RESULT, ROLE, Results, results_in_scene

HEADINGS = (_("Structure"), _("Source model"), _("Result"), _("Change (ml)"))
# What the widgets of an overlay are called: by the role of its node.
OVERLAYS = {
    "entropy": "entropy",
    "nig_uncertainty": "nig",
    "vote_entropy": "vote",
    "sample": "sample",
}
VIEWS = {"result": "resultRadio", "source": "sourceRadio", "both": "bothRadio", "all": "allRadio"}


class ResultsSection:
    """The section Results.

    Args:
        ui: the widgets by name.
        parameters: the panel's state, None while the scene closes.
        tell: shows one line about something that went wrong.
    """

    def __init__(
        self,
        ui: Any,
        parameters: Callable[[], Parameters | None],
        tell: Callable[[str, str], None],
    ) -> None:
        self._ui = ui
        self._parameters = parameters
        self._tell = tell
        self._shown_run: str | None = None  # ID of the segmentation whose table is filled
        self._updating = False
        self._report_window: Any = None
        ui.resultSelector.addAttribute("vtkMRMLSegmentationNode", ROLE, RESULT)
        for shown, name in VIEWS.items():
            getattr(ui, name).connect("clicked()", lambda shown=shown: self._choose_view(shown))
        for role, name in OVERLAYS.items():
            box = getattr(ui, f"{name}CheckBox")
            box.connect("toggled(bool)", lambda on, role=role: self._choose_overlay(role, on))
        ui.sampleSlider.connect("valueChanged(int)", self._choose_sample)
        ui.plotsButton.connect("clicked()", self._show_plots)
        ui.reportButton.connect("clicked()", self._show_report)
        ui.saveBundleButton.connect("clicked()", self._save_bundle)
        table = ui.volumesTable
        table.setColumnCount(len(HEADINGS))
        table.setHorizontalHeaderLabels(HEADINGS)
        table.verticalHeader().hide()
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        table.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)

    @property
    def results(self) -> Results | None:
        """The run that is chosen."""
        node = self._parameters().result
        return Results(node) if node is not None and node.GetScene() is not None else None

    def show(self) -> None:
        """Bring widgets and views in line with the parameters."""
        if self._updating:
            return
        self._updating = True
        try:
            results = self.results
            self._show_widgets(results)
            identity = results.node.GetID() if results is not None else None
            if identity != self._shown_run:
                self._shown_run = identity
                self._fill(results)
            self._show_views(results)
        finally:
            self._updating = False

    def choose(self, results: Results) -> None:
        """Show a run that has just ended."""
        parameters = self._parameters()
        layers.show_input(results)
        if len(results.compared) > 1:
            parameters.shown = "all"
        parameters.result = results.node
        parameters.sample = results.report.get("details", {}).get("chosen_sample", 0)

    def forget(self) -> None:
        """Take the overlay off the views, as the panel goes."""
        if self._report_window is not None:
            self._report_window.close()
            self._report_window.deleteLater()
            self._report_window = None

    # --- What is shown ---------------------------------------------------------------------------

    def _show_widgets(self, results: Results | None) -> None:
        ui, parameters = self._ui, self._parameters()
        for shown, name in VIEWS.items():
            with silenced(getattr(ui, name)):
                getattr(ui, name).checked = parameters.shown == shown
            getattr(ui, name).enabled = results is not None
        ui.allRadio.enabled = results is not None and len(results.compared) > 1
        for role, name in OVERLAYS.items():
            there = results is not None and _node(results, role) is not None
            box = getattr(ui, f"{name}CheckBox")
            box.enabled = there
            with silenced(box):
                box.checked = there and parameters.overlay == role
            getattr(ui, f"{name}OpacitySlider").enabled = there
            if role in MAPS:
                getattr(ui, f"{name}ThresholdSlider").enabled = there
                getattr(ui, f"{name}ThresholdLabel").enabled = there
        self._show_sample(results)
        charts = results is not None and (results.get("curves") or results.get("scores"))
        ui.plotsButton.enabled = bool(charts) and slicer.app.layoutManager() is not None
        ui.reportButton.enabled = results is not None and results.get("report") is not None
        ui.saveBundleButton.enabled = results is not None and results.adapted_bundle is not None
        if results is None or ui.saveBundleButton.enabled:
            why = _("Save the adapted model as a bundle, to be used without adapting again.")
        elif results.report.get("adaptation") is None:
            why = _("This method adapts no model.")
        else:
            why = _("The adapted model was kept until its scene was closed. Run again to save it.")
        ui.saveBundleButton.toolTip = why

    def _show_sample(self, results: Results | None) -> None:
        ui = self._ui
        browser = results.get("browser") if results is not None else None
        ui.sampleSlider.enabled = browser is not None
        if browser is None:
            ui.sampleLabel.text = ""
            return
        report = results.report["details"]
        scores = [sample["score"] for sample in report["samples"]]
        index = min(self._parameters().sample, len(scores) - 1)
        with silenced(ui.sampleSlider):
            ui.sampleSlider.maximum = len(scores) - 1
            ui.sampleSlider.value = index
        if browser.GetSelectedItemNumber() != index:
            results.select_sample(index)
        chosen = _("  \u2605 chosen") if index == report["chosen_sample"] else ""
        ui.sampleLabel.text = _("{number} of {count}: S = {score:.3f}{chosen}").format(
            number=index + 1, count=len(scores), score=scores[index], chosen=chosen
        )

    def _fill(self, results: Results | None) -> None:
        """Table and judgement, which change only with the run."""
        ui = self._ui
        report = results.report if results is not None else {}
        rows = report.get("volumes", [])
        table = ui.volumesTable
        table.setRowCount(len(rows))
        for index, row in enumerate(rows):
            before, after = row["source_ml"], row["result_ml"]
            cells = (row["name"], words.ml(before), words.ml(after), words.change(before, after))
            for column, text in enumerate(cells):
                item = qt.QTableWidgetItem(text)
                if column:
                    item.setTextAlignment(int(qt.Qt.AlignRight) | int(qt.Qt.AlignVCenter))
                table.setItem(index, column, item)
            table.item(index, 0).setData(qt.Qt.DecorationRole, _color(results, index))
        row_height = table.verticalHeader().defaultSectionSize
        table.setFixedHeight(row_height * (min(len(rows), 8) + 1) + 4)
        table.visible = bool(rows)
        ui.judgementLabel.text = words.notes(report) if report else ""
        if results is not None:
            maximum = MAPS["entropy"].maximum(len(rows) + 1)
            with silenced(ui.entropyThresholdSlider, ui.voteThresholdSlider):
                ui.entropyThresholdSlider.maximum = ui.voteThresholdSlider.maximum = maximum
            results.select_frame()
            for other in results_in_scene():
                layers.hide_segmentations(other)

    def _show_views(self, results: Results | None) -> None:
        parameters = self._parameters()
        if results is None:
            layers.hide_overlay()
            layers.leave_side_by_side()
            return
        shown = parameters.shown
        if shown == "all" and not self._ui.allRadio.enabled:  # of a single method
            shown = "both"
        if shown in ("both", "all"):
            layers.show_side_by_side(results, shown)
        else:
            layers.leave_side_by_side()
        layers.show_segmentations(results, shown)
        overlay = _node(results, parameters.overlay) if parameters.overlay else None
        if overlay is None:
            layers.hide_overlay()
        elif parameters.overlay == "sample":
            layers.show_overlay(overlay, parameters.sampleOpacity, None)
        else:
            name = OVERLAYS[parameters.overlay]
            opacity = parameters.getValue(f"{name}Opacity")
            layers.show_overlay(overlay, opacity, parameters.getValue(f"{name}Threshold"))

    # --- What the user does ----------------------------------------------------------------------

    def _choose_view(self, shown: str) -> None:
        if self._parameters() is not None:
            self._parameters().shown = shown

    def _choose_overlay(self, role: str, on: bool) -> None:
        parameters = self._parameters()
        if parameters is None or self._updating:
            return
        if on:
            parameters.overlay = role
        elif parameters.overlay == role:
            parameters.overlay = ""

    def _choose_sample(self, index: int) -> None:
        if self._parameters() is not None and not self._updating:
            self._parameters().sample = index

    def _show_plots(self) -> None:
        chart = self.results.get("curves") or self.results.get("scores")
        layers.show_plots(chart)

    def _show_report(self) -> None:
        results = self.results
        self.forget()
        window = qt.QDialog(slicer.util.mainWindow())
        window.windowTitle = results.node.GetName()
        browser = qt.QTextBrowser()
        browser.html = words.report(results.report, results.pictures)
        qt.QVBoxLayout(window).addWidget(browser)
        window.resize(900, 700)
        window.show()
        self._report_window = window

    def _save_bundle(self) -> None:
        source = self.results.adapted_bundle
        place = qt.QFileDialog.getExistingDirectory(None, _("Folder for the adapted model"))
        if not place:
            return
        target = Path(place) / _file_name(self.results.node.GetName())
        number = 1
        while target.exists():
            number += 1
            target = target.with_name(f"{_file_name(self.results.node.GetName())}_{number}")
        partial = target.with_name(f".{target.name}.partial")
        try:
            shutil.copytree(source, partial)
            partial.rename(target)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            self._tell(_("The model could not be saved: {error}").format(error=error), "")
            return
        slicer.util.showStatusMessage(_("Saved {path}").format(path=target), 5000)


def _node(results: Results, role: str) -> Any:
    """The node of an overlay."""
    return results.sample if role == "sample" else results.get(role)


def _color(results: Results, index: int) -> Any:
    """The colour of a segment, as a square."""
    square = qt.QPixmap(12, 12)
    segmentation = results.node.GetSegmentation()
    if index < segmentation.GetNumberOfSegments():
        red, green, blue = segmentation.GetNthSegment(index).GetColor()
        square.fill(qt.QColor(int(red * 255), int(green * 255), int(blue * 255)))
    return square


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name) + "_bundle"
