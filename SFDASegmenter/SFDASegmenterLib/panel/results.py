"""The run that is shown: its views, table, maps, plots, report and adapted model."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from SFDASegmenterLib import words
from SFDASegmenterLib.panel.forms import put
from SFDASegmenterLib.panel.maps import MapsSection
from SFDASegmenterLib.parameters import Parameters
from SFDASegmenterLib.scene import layers, views
from SFDASegmenterLib.scene.results import RESULT, ROLE, SAMPLE, Results, results_in_scene

HEADINGS = (_("Structure"), _("Source"), _("Result"), _("Change (ml)"), _("Unsure"))
UNSURE = 4  # column
VIEWS = {"result": "resultRadio", "source": "sourceRadio", "both": "bothRadio", "all": "allRadio"}
UNKNOWN = "unknown"
ROWS = 5  # of the table without scrolling
ROW_HEIGHT = 22  # pixels


class ResultsSection:
    """The section Results.

    Args:
        ui: the widgets by name.
        parameters: the panel's state, None while the scene closes.
        tell: shows one line about something that went wrong.
        filled: called with the report of the run that is shown now; an empty one if there is none.
    """

    def __init__(
        self,
        ui: Any,
        parameters: Callable[[], Parameters | None],
        tell: Callable[[str, str], None],
        filled: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self._ui = ui
        self._parameters = parameters
        self._tell = tell
        self._tell_filled = filled
        self.maps = MapsSection(ui, parameters)
        self.views = views.Views(self._views_left)
        self.report_window: Any = None
        self._filled: str | None = UNKNOWN  # ID of the segmentation whose table is filled
        self._in_views: tuple[Any, ...] | None = None  # what the views show
        self._overlaid: tuple[Any, ...] | None = None
        ui.resultSelector.addAttribute("vtkMRMLSegmentationNode", ROLE, RESULT)
        for shown, name in VIEWS.items():
            getattr(ui, name).connect("clicked()", lambda shown=shown: self._choose_view(shown))
        ui.previousPageButton.connect("clicked()", lambda: self._turn_page(-1))
        ui.nextPageButton.connect("clicked()", lambda: self._turn_page(1))
        ui.plotsButton.connect("clicked(bool)", self._show_plots)
        ui.reportButton.connect("clicked()", self._show_report)
        ui.saveBundleButton.connect("clicked()", self._save_bundle)
        ui.saveProbabilitiesButton.connect("clicked()", self._save_probabilities)
        table = ui.volumesTable
        table.setColumnCount(len(HEADINGS))
        table.setHorizontalHeaderLabels(HEADINGS)
        table.horizontalHeaderItem(UNSURE).setToolTip(
            _(
                "The share of the delivered structure's voxels of which the model is unsure: the"
                " entropy of its probabilities is above 0.5 bits (of two classes, the likelier has"
                " less than 89 %)."
            )
        )
        table.verticalHeader().hide()
        table.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        table.horizontalHeader().setFixedHeight(ROW_HEIGHT)
        table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        table.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)

    @property
    def results(self) -> Results | None:
        """The run that is chosen."""
        node = self._parameters().result
        return Results(node) if node is not None and node.GetScene() is not None else None

    def show(self) -> None:
        """Bring widgets and views in line with the parameters."""
        results = self.results
        self._ui.resultsSection.visible = results is not None or bool(results_in_scene())
        identity = results.node.GetID() if results is not None else None
        if identity != self._filled:
            self._filled = identity
            self._fill(results)
        self._show_widgets(results)
        self.maps.show(results)
        self._show_views(results)
        self._show_overlay(results)

    def choose(self, results: Results) -> None:
        """Show a run that has just ended."""
        parameters = self._parameters()
        with slicer.util.NodeModify(parameters.parameterNode):  # as one change
            parameters.page = 0
            parameters.shown = "all" if len(results.compared) > 1 else "result"
            parameters.result = results.node
            parameters.sample = results.report.get("details", {}).get("chosen_sample", 0)

    def leave_views(self) -> None:
        """Back to the user's layout, as scene or panel go; all is shown anew afterwards."""
        self.views.leave()
        self._filled, self._in_views, self._overlaid = UNKNOWN, None, None
        self.close_report()

    def close(self) -> None:
        """The panel goes."""
        self.leave_views()
        self.views.close()

    def close_report(self) -> None:
        if self.report_window is not None:
            self.report_window.close()
            self.report_window.deleteLater()
            self.report_window = None

    # --- What is shown ---------------------------------------------------------------------------

    def _show_widgets(self, results: Results | None) -> None:
        ui, parameters = self._ui, self._parameters()
        several = results is not None and len(results.compared) > 1
        shown = self._shown(results)
        for name, radio in VIEWS.items():
            put(getattr(ui, radio), checked=shown == name)
        for widget in (ui.shownWidget, ui.plotsButton, ui.reportButton, ui.saveBundleButton):
            widget.visible = results is not None
        ui.resultLabel.visible = ui.resultSelector.visible = (
            results is None or len(results_in_scene()) > 1
        )
        ui.allRadio.visible = several
        ui.surfaceCheckBox.enabled = shown in ("result", "source")
        count = layers.pages(results) if shown == "all" else 1
        ui.pagesWidget.visible = count > 1
        page = min(parameters.page, count - 1)
        ui.pageLabel.text = _("Page {page} of {count}").format(page=page + 1, count=count)
        ui.previousPageButton.enabled = page > 0
        ui.nextPageButton.enabled = page < count - 1
        saved = results is not None and results.probabilities is not None
        ui.saveProbabilitiesButton.visible = saved
        if results is None:
            return
        ui.plotsButton.enabled = bool(results.charts) and slicer.app.layoutManager() is not None
        ui.reportButton.enabled = results.get("report") is not None
        ui.saveBundleButton.enabled = results.adapted_bundle is not None
        if ui.saveBundleButton.enabled:
            why = _("Save the adapted model as a bundle, to be used without adapting again.")
        elif results.report.get("adaptation") is None:
            why = _("This method adapts no model.")
        else:
            why = _("The adapted model was kept until its scene was closed. Run again to save it.")
        ui.saveBundleButton.toolTip = why

    def _shown(self, results: Results | None) -> str:
        """What is to be shown; there is only one segmentation of a single method's run in "all"."""
        shown = self._parameters().shown
        single = results is None or len(results.compared) < 2
        return "both" if shown == "all" and single else shown

    def _fill(self, results: Results | None) -> None:
        """Table and verdict, which change only with the run."""
        report = results.report if results is not None else {}
        self._tell_filled(report)
        rows = report.get("volumes", [])
        unsure = {row["label"]: words.unsure(row) for row in report.get("uncertainty", [])}
        table = self._ui.volumesTable
        table.setRowCount(len(rows))
        table.setColumnHidden(UNSURE, not any(text for text, _meant in unsure.values()))
        for index, row in enumerate(rows):
            before, after = row["source_ml"], row["result_ml"]
            sizes = (words.ml(before), words.ml(after), words.change(before, after))
            share, meant = unsure.get(row["label"], ("", ""))
            cells = (row["name"], *sizes, share)
            for column, text in enumerate(cells):
                item = qt.QTableWidgetItem(text)
                if column:
                    item.setTextAlignment(int(qt.Qt.AlignRight) | int(qt.Qt.AlignVCenter))
                table.setItem(index, column, item)
            table.item(index, UNSURE).setToolTip(meant)
            table.item(index, 0).setData(qt.Qt.DecorationRole, _color(results, index))
        table.setFixedHeight(ROW_HEIGHT * (min(len(rows), ROWS) + 1) + 2 * table.frameWidth)
        table.visible = bool(rows)
        if results is not None:
            results.select_frame()
            if results.input is not None:  # never the segmentation of one image over another
                views.put_behind(results.input)

    def _show_views(self, results: Results | None) -> None:
        parameters, shown = self._parameters(), self._shown(results)
        identity = results.node.GetID() if results is not None else None
        page = parameters.page if shown == "all" else 0
        wanted = (identity, shown, page, parameters.surface)
        if wanted == self._in_views:
            return
        self._in_views = wanted
        if results is None:
            self.views.leave()
            return
        if shown in ("both", "all"):
            self._show_beside(results, shown, page)
        else:
            self.views.leave()
            self._show_plotting(False)
        layers.show_segmentations(results, shown, page)
        if shown in ("result", "source"):
            self._show_surface(results, shown, parameters.surface)

    def _show_surface(self, results: Results, shown: str, on: bool) -> None:
        if not on:
            layers.show_surface(results, shown, False)
            return
        # Slicer's own wait cursor lets events through, which would change what is shown here.
        qt.QApplication.setOverrideCursor(qt.Qt.WaitCursor)
        try:
            layers.show_surface(results, shown, True)
        finally:
            qt.QApplication.restoreOverrideCursor()
        views.reset_3d()

    def _show_beside(self, results: Results, shown: str, page: int) -> None:
        number = views.SIDE_BY_SIDE if shown == "both" else views.COMPARISON
        in_views = layers.in_views(results, shown, page)
        named = {view: named for view, (named, _node) in in_views.items()}
        self.views.beside_each_other(number, named, results.input)
        self._show_plotting(False)
        self._overlaid = None  # the map, too, is to be in the new views

    def _show_overlay(self, results: Results | None) -> None:
        parameters = self._parameters()
        role = parameters.overlay
        node = results.maps.get(role) if results is not None else None
        if node is None:
            wanted: tuple[Any, ...] = ()
        else:
            display = self.maps.display(role)
            wanted = (node.GetID(), display.opacity, display.threshold)
        if wanted == self._overlaid:
            return
        self._overlaid = wanted
        if node is None:
            layers.hide_overlay()
        else:
            threshold = None if role == SAMPLE else display.threshold
            layers.show_overlay(node, display.opacity, threshold)

    # --- What the user does ----------------------------------------------------------------------

    def _choose_view(self, shown: str) -> None:
        if self._parameters() is None:
            return
        if self._parameters().shown == shown:
            self._in_views = None  # back from a plot, or from what was switched by hand
            self.show()
        self._parameters().shown = shown

    def _turn_page(self, by: int) -> None:
        if self._parameters() is not None:
            self._parameters().page = max(0, self._parameters().page + by)

    def _views_left(self) -> None:
        """The user chose another layout: the segmentation is to be seen there."""
        self._show_plotting(False)
        parameters = self._parameters()
        if parameters is not None and parameters.shown in ("both", "all"):
            parameters.shown = "result"

    def _show_plots(self, on: bool) -> None:
        if self._parameters() is None or self.results is None or not self.results.charts:
            return
        if not on:
            self.views.leave()
            return
        if self._parameters().shown in ("both", "all"):  # views that the plot's layout lacks
            self._parameters().shown = "result"
        self.views.plot(self.results.charts[0])
        self._show_plotting(True)

    def _show_plotting(self, on: bool) -> None:
        put(self._ui.plotsButton, checked=on)

    def _show_report(self) -> None:
        results = self.results
        self.close_report()
        window = qt.QDialog(slicer.util.mainWindow())
        window.windowTitle = results.node.GetName()
        browser = qt.QTextBrowser(window)
        browser.html = words.report(results.report, results.pictures)
        layout = qt.QVBoxLayout(window)
        layout.addWidget(browser)
        window.resize(900, 700)
        window.show()
        self.report_window = window

    def _save_bundle(self) -> None:
        self._save(self.results.adapted_bundle, _("Folder for the adapted model"), "bundle")

    def _save_probabilities(self) -> None:
        self._save(self.results.probabilities, _("Folder for the probabilities"), "probabilities")

    def _save(self, source: Path, title: str, what: str) -> None:
        """Copy a file or folder of the run, whole or not at all, under a name that is free."""
        place = qt.QFileDialog.getExistingDirectory(None, title)
        if not place:
            return
        name = f"{_file_name(self.results.node.GetName())}_{what}"
        target = Path(place) / f"{name}{source.suffix}"
        number = 1
        while target.exists():
            number += 1
            target = target.with_name(f"{name}_{number}{source.suffix}")
        partial = target.with_name(f".{target.name}.partial")
        copy = shutil.copytree if source.is_dir() else shutil.copyfile
        try:
            copy(source, partial)
            partial.rename(target)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)  # of a folder
            with contextlib.suppress(OSError):
                partial.unlink()
            self._tell(_("{path} could not be saved: {error}").format(path=target, error=error), "")
            return
        slicer.util.showStatusMessage(_("Saved {path}").format(path=target), 5000)


def _color(results: Results, index: int) -> Any:
    """The colour of a segment, as a square."""
    square = qt.QPixmap(12, 12)
    segmentation = results.node.GetSegmentation()
    if index < segmentation.GetNumberOfSegments():
        red, green, blue = segmentation.GetNthSegment(index).GetColor()
        square.fill(qt.QColor(int(red * 255), int(green * 255), int(blue * 255)))
    return square


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
