"""The whole panel: the parameters in the scene, the run and its timer, and what happens when the
scene closes, the module is reloaded or the application ends.
"""

from __future__ import annotations

import logging
from typing import Any

import qt
import slicer
import vtk
from slicer.util import VTKObservationMixin

from SFDALib.errors import RequestError
from SFDALib.methods import registry
from SFDASegmenterLib import words
from SFDASegmenterLib.dependencies import DependencyError
from SFDASegmenterLib.panel.device import DeviceSection
from SFDASegmenterLib.panel.input import InputSection
from SFDASegmenterLib.panel.method import MethodSection
from SFDASegmenterLib.panel.results import ResultsSection
from SFDASegmenterLib.panel.run import RunSection
from SFDASegmenterLib.panel.section import Shared
from SFDASegmenterLib.panel.services import Logic, Services
from SFDASegmenterLib.panel.weights import WeightsSection
from SFDASegmenterLib.parameters import Parameters, options_of
from SFDASegmenterLib.request import Request
from SFDASegmenterLib.runs import Run, State
from SFDASegmenterLib.scene.results import Results

log = logging.getLogger(__name__)
# What cannot be changed while a run goes on; what is said of model and method can be read.
FIXED_IN_A_RUN = (
    "inputModeComboBox",
    "imageWidget",
    "bundlePathEdit",
    "bundleButton",
    "methodComboBox",
    "advancedSection",
)
TICK = 50  # milliseconds between two looks at the run


class Panel(VTKObservationMixin):
    """Brings widgets, parameters and runs together.

    Args:
        widget: the loaded .ui.
        logic: owns the parameter node and the run.
        services: what it needs beside, the real ones where none are given.
    """

    def __init__(self, widget: Any, logic: Logic, services: Services | None = None) -> None:
        VTKObservationMixin.__init__(self)
        services = services or Services()
        self._widget = widget
        self._installer = services.installer
        self.logic = logic
        self._entered = False
        self.parameters: Parameters | None = None  # None while the scene closes
        self._gui_tag: Any = None
        self._refreshing = False
        self._asking = False  # a question to the user is open, which lets events through
        self.ui = slicer.util.childWidgetVariables(widget)
        self.run = RunSection(self.ui, self._apply_or_cancel)
        shared = Shared(self.ui, lambda: self.parameters, self.run.tell, services)
        self.input = InputSection(shared)
        self.weights = WeightsSection(shared)
        self.method = MethodSection(shared)
        self.device = DeviceSection(shared)
        self.results = ResultsSection(shared, self._run_shown)
        self._timer = qt.QTimer()
        self._timer.setInterval(TICK)
        self._timer.connect("timeout()", self._advance)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._scene_closes)
        self.addObserver(scene, scene.EndCloseEvent, self._scene_closed)
        self.addObserver(scene, scene.EndImportEvent, self._scene_opened)
        slicer.app.connect("aboutToQuit()", self.logic.abandon)
        selection = slicer.app.applicationLogic().GetSelectionNode()
        self.addObserver(selection, vtk.vtkCommand.ModifiedEvent, self._volume_shown)
        self._show_run()

    # --- Coming and going ------------------------------------------------------------------------

    def enter(self) -> None:
        """The user opens the module."""
        self._entered = True
        self._take_parameters()
        self.device.enter()

    def leave(self) -> None:
        """The user opens another module; a run goes on."""
        self._entered = False
        self.device.pause()

    def close(self) -> None:
        """The module goes: nothing may be left running, observed or connected."""
        self._timer.stop()
        self.logic.abandon()
        for section in (self.device, self.weights, self.results):
            section.close()
        slicer.app.disconnect("aboutToQuit()", self.logic.abandon)
        self._drop_parameters()
        self.removeObservers()

    def _take_parameters(self) -> None:
        if self.parameters is not None:
            return
        self.parameters = self.logic.getParameterNode()
        # not connectGui, which returns no tag in some versions and so cannot be undone
        self._gui_tag = self.parameters.connectParametersToGui(_bound(self.ui))
        node = self.parameters.parameterNode
        self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._modified)
        self.input.preselect()
        self.refresh()

    def _drop_parameters(self) -> None:
        if self.parameters is None:
            return
        node = self.parameters.parameterNode
        self.removeObserver(node, vtk.vtkCommand.ModifiedEvent, self._modified)
        self.parameters.disconnectGui(self._gui_tag)
        self.parameters = None

    def _scene_closes(self, _caller: Any, _event: Any) -> None:
        self._timer.stop()
        self.logic.abandon()
        self.device.pause()
        self._drop_parameters()
        self.results.leave_views()  # while the views' nodes are there
        self.run.tell("", "")
        self.run.show_verdict({})
        self._show_run()

    def _volume_shown(self, _caller: Any, _event: Any) -> None:
        if self._entered:
            self.input.preselect()

    def _scene_closed(self, _caller: Any, _event: Any) -> None:
        if self._entered:
            self._take_parameters()

    def _scene_opened(self, _caller: Any, _event: Any) -> None:
        """An imported scene carries parameters; bind them once all its nodes are loaded."""
        if self._entered:
            self._drop_parameters()
            self.results.leave_views()
            self._take_parameters()

    # --- Showing ---------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Bring every section in line with the parameters."""
        parameters = self.parameters
        if parameters is None or self._refreshing:
            return
        self._refreshing = True
        try:
            self.input.show(parameters)
            self.weights.show()
            self.method.show(parameters, self.input.facts)
            self.results.show(parameters)
            request = self.request()
            reason = self.method.fault or request.refusal()
            running = self.logic.running
            self.device.show(parameters, None if reason or running else request)
            self.run.allow(running, reason)
        finally:
            self._refreshing = False

    def request(self) -> Request:
        """What the widgets ask for.

        Raises:
            RuntimeError: the scene closes.
        """
        parameters = self.parameters
        if parameters is None:
            raise RuntimeError("the scene closes: there is nothing to ask for")
        images = self.input.images(parameters)
        return Request(
            images=images,
            bundle=parameters.bundle,
            method=parameters.method,
            options=options_of(parameters, parameters.method),
            device=parameters.device,
            seed=parameters.seed,
            adapt=parameters.adapt,
            compared=self._compared(parameters),
            gate="on" if parameters.gate else "off",
            postprocess="bundle" if parameters.postprocess else "off",
            volumes=parameters.plausibleVolumes,
            probabilities=parameters.probabilities,
            preset=parameters.preset,
        )

    def _compared(self, parameters: Parameters) -> dict[str, dict[str, Any]]:
        """Every method that the source model can serve, with its options; none if not asked for."""
        if not parameters.compare or self.input.facts is None:
            return {}
        served = registry.comparable(self.input.facts["methods"])
        return {name: options_of(parameters, name) for name in served}

    def _run_shown(self, results: Results | None) -> None:
        """Another run is shown, or none: unfold what matters now."""
        report, others = ({}, []) if results is None else (results.report, results.other_verdicts)
        self.run.show_verdict(report, others)
        shown = bool(report)
        self.ui.inputSection.collapsed = shown
        self.ui.resultsSection.collapsed = not shown
        if shown:
            self.ui.advancedSection.collapsed = True

    def _modified(self, _caller: Any, _event: Any) -> None:
        self.refresh()

    def _show_run(self) -> None:
        running = self.logic.running
        self.run.show(self.logic.run, running)
        for name in FIXED_IN_A_RUN:
            getattr(self.ui, name).enabled = not running

    # --- Running ---------------------------------------------------------------------------------

    def _apply_or_cancel(self) -> None:
        if self._asking:
            return
        run = self.logic.run
        if run is not None and self.logic.running:
            run.cancel()
            self._show_run()
            return
        self.run.tell("", "")
        self._asking = True
        try:
            self._installer.ensure()
        except DependencyError as error:
            self.run.tell(str(error), "")
            return
        finally:
            self._asking = False
            self.device.show_packages()
        self._start()

    def _start(self) -> None:
        if self.parameters is None:  # the scene was closed while the user was asked
            return
        self.device.pause()
        try:
            self.logic.start(self.request())
        except (RequestError, OSError) as error:
            self.run.tell(str(error), "")
            return
        self.input.keep_bundle()
        self._timer.start()
        self._show_run()
        self.refresh()

    def _advance(self) -> None:
        run = self.logic.run
        if run is None:
            return
        run.advance()
        self._show_run()
        self.run.warn(run.warnings)
        if not run.ended:
            return
        self._timer.stop()
        if run.state is State.FAILED:
            self.run.tell(run.message, run.log)
        elif run.state is State.CANCELLED:
            self.run.tell("", "")
        elif run.state is State.DONE:
            self._show_results(run)
        self.refresh()

    def _show_results(self, run: Run) -> None:
        if run.failures:
            self.run.tell(words.failures(run), run.log)
        elif run.message:  # of a cohort that ended early
            self.run.tell(run.message, run.log)
        if run.results and self.parameters is not None:
            self.results.choose(run.first)


def _bound(ui: Any) -> dict[str, Any]:
    """The widgets that the .ui binds to a parameter, by its name."""
    names = {widget: widget.property("SlicerParameterName") for widget in vars(ui).values()}
    return {name: widget for widget, name in names.items() if name}
