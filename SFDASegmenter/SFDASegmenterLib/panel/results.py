"""The run that is shown: its views, table, maps, plots and report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from SFDASegmenterLib import report_page
from SFDASegmenterLib.panel.forms import put
from SFDASegmenterLib.panel.maps import MapsSection
from SFDASegmenterLib.panel.saving import SavingSection
from SFDASegmenterLib.panel.section import Section, Shared
from SFDASegmenterLib.panel.tried import TriedSection
from SFDASegmenterLib.panel.volumes import VolumesSection
from SFDASegmenterLib.parameters import Parameters
from SFDASegmenterLib.scene import layers, slices, tried, views
from SFDASegmenterLib.scene.results import RESULT, ROLE, SAMPLE, Results, results_in_scene

VIEWS = {"result": "resultRadio", "source": "sourceRadio", "both": "bothRadio", "all": "allRadio"}
BESIDE = ("both", "all")  # of these: views beside each other
UNKNOWN = "unknown"


class ResultsSection(Section):
    """The run that is shown.

    Args:
        shared: what all sections share.
        filled: called with the run that is shown now; None if there is none.
    """

    def __init__(self, shared: Shared, filled: Callable[[Results | None], None]) -> None:
        super().__init__(shared)
        ui = self.ui
        self._filled = filled
        self.volumes = VolumesSection(shared)
        self.maps = MapsSection(shared)
        self._saving = SavingSection(shared, lambda: self.results)
        self._tried = TriedSection(shared, self._show_all)
        self.views = views.Views(self._views_left)
        self.report_window: Any = None
        self._of: str | None = UNKNOWN  # ID of the segmentation whose table and verdict are shown
        self._in_views: tuple[Any, ...] | None = None  # what the views show
        self._overlaid: tuple[Any, ...] | None = None
        ui.resultSelector.addAttribute("vtkMRMLSegmentationNode", ROLE, RESULT)
        for shown, name in VIEWS.items():
            getattr(ui, name).connect("clicked()", lambda shown=shown: self._choose_view(shown))
        ui.previousPageButton.connect("clicked()", lambda: self._turn_page(-1))
        ui.nextPageButton.connect("clicked()", lambda: self._turn_page(1))
        ui.plotsButton.connect("clicked(bool)", self._show_plots)
        ui.reportButton.connect("clicked()", self._show_report)

    @property
    def results(self) -> Results | None:
        """The run that is chosen."""
        node = self.parameters.result if self.parameters is not None else None
        return Results(node) if node is not None and node.GetScene() is not None else None

    def show(self, parameters: Parameters) -> None:
        """Bring widgets and views in line with the parameters."""
        results = self.results
        self.ui.resultsSection.visible = results is not None or bool(results_in_scene())
        identity = results.node.GetID() if results is not None else None
        if identity != self._of:
            self._of = identity
            self._tried.stop()
            self._fill(results)
        self._show_widgets(parameters, results)
        self._saving.show(results)
        self.maps.show(parameters, results)
        self._show_views(parameters, results)
        self._show_overlay(parameters, results)

    def choose(self, results: Results) -> None:
        """Show a run that has just ended."""
        parameters = self.parameters
        if parameters is None:
            return
        # of what was chosen automatically the others are a click away
        compared = len(results.compared) > 1 and "auto" not in results.report
        with slicer.util.NodeModify(parameters.parameterNode):  # as one change
            parameters.page = 0
            parameters.shown = "all" if compared else "result"
            parameters.result = results.node
            parameters.sample = results.report.get("details", {}).get("chosen_sample", 0)

    def leave_views(self) -> None:
        """Restore the user's layout before the scene or the panel closes."""
        self._tried.stop()
        self.views.leave()
        self._of, self._in_views, self._overlaid = UNKNOWN, None, None
        self.close_report()

    def close(self) -> None:
        """The panel goes."""
        self.leave_views()
        self.views.close()

    def close_report(self) -> None:
        """Close the window with the report, if it is open."""
        if self.report_window is not None:
            self.report_window.close()
            self.report_window.deleteLater()
            self.report_window = None

    # --- What is shown ---------------------------------------------------------------------------

    def _show_widgets(self, parameters: Parameters, results: Results | None) -> None:
        ui = self.ui
        several = results is not None and (len(results.compared) > 1 or tried.waiting(results))
        shown = _shown(parameters, results)
        for name, radio in VIEWS.items():
            put(getattr(ui, radio), checked=shown == name)
        for widget in (ui.shownWidget, ui.plotsButton, ui.reportButton):
            widget.visible = results is not None
        ui.resultLabel.visible = ui.resultSelector.visible = (
            results is None or len(results_in_scene()) > 1
        )
        ui.allRadio.visible = bool(several)
        ui.surfaceCheckBox.enabled = shown in ("result", "source")
        page, count = _page(parameters, results)
        ui.pagesWidget.visible = count > 1
        ui.pageLabel.text = _("Page {page} of {count}").format(page=page + 1, count=count)
        ui.previousPageButton.enabled = page > 0
        ui.nextPageButton.enabled = page < count - 1
        if results is None:
            return
        ui.plotsButton.enabled = bool(results.charts) and slicer.app.layoutManager() is not None
        ui.reportButton.enabled = results.get("report") is not None

    def _fill(self, results: Results | None) -> None:
        """Table and verdict, which change only with the run."""
        self._filled(results)
        self.volumes.show(results)
        if results is not None:
            results.select_frame()
            if results.input is not None:  # never the segmentation of one image over another
                slices.put_behind(results.input)

    def _show_views(self, parameters: Parameters, results: Results | None) -> None:
        shown = _shown(parameters, results)
        identity = results.node.GetID() if results is not None else None
        page, _count = _page(parameters, results)
        wanted = (identity, shown, page, parameters.surface)
        if wanted == self._in_views:
            return
        self._in_views = wanted
        if results is None:
            self.views.leave()
            return
        if shown in BESIDE:
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

    def _show_overlay(self, parameters: Parameters, results: Results | None) -> None:
        role = parameters.overlay
        node = results.maps.get(role) if results is not None else None
        display = self.maps.display(parameters, role)
        wanted = (node.GetID(), display.opacity, display.threshold) if node is not None else ()
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
        parameters, results = self.parameters, self.results
        if parameters is None:
            return
        if shown != "all":
            self._tried.stop()
        elif results is not None and self._tried.place(results):
            return
        if parameters.shown == shown:
            self._in_views = None  # back from a plot, or from what was switched by hand
            self.show(parameters)
        parameters.shown = shown

    def _show_all(self) -> None:
        """What else was tried is in the scene now."""
        self._choose_view("all")

    def _turn_page(self, by: int) -> None:
        parameters = self.parameters
        if parameters is not None:
            parameters.page = max(0, parameters.page + by)

    def _views_left(self) -> None:
        """The user chose another layout: show the segmentation there."""
        self._show_plotting(False)
        parameters = self.parameters
        if parameters is not None and parameters.shown in BESIDE:
            parameters.shown = "result"

    def _show_plots(self, on: bool) -> None:
        parameters, results = self.parameters, self.results
        if parameters is None or results is None or not results.charts:
            return
        if not on:
            self.views.leave()
            return
        if parameters.shown in BESIDE:  # views that the plot's layout lacks
            parameters.shown = "result"
        self.views.plot(results.charts[0])
        self._show_plotting(True)

    def _show_plotting(self, on: bool) -> None:
        put(self.ui.plotsButton, checked=on)

    def _show_report(self) -> None:
        results = self.results
        self.close_report()
        if results is None:
            return
        window = qt.QDialog(slicer.util.mainWindow())
        window.windowTitle = results.node.GetName()
        browser = qt.QTextBrowser(window)
        browser.html = report_page.page(results.report, results.pictures)
        layout = qt.QVBoxLayout(window)
        layout.addWidget(browser)
        window.resize(900, 700)
        window.show()
        self.report_window = window


def _shown(parameters: Parameters, results: Results | None) -> str:
    """What is to be shown; a single method's run has only one segmentation to show in "all"."""
    single = results is None or len(results.compared) < 2
    return "both" if parameters.shown == "all" and single else parameters.shown


def _page(parameters: Parameters, results: Results | None) -> tuple[int, int]:
    """The page that is shown, from 0, and how many there are."""
    shown = _shown(parameters, results)
    count = layers.pages(results) if results is not None and shown == "all" else 1
    return min(parameters.page, count - 1), count  # the run before may have had more
