"""The whole panel: the parameters in the scene, the run and its timer, and what happens when the
scene closes, the module is reloaded or the application ends.
"""

from __future__ import annotations

import logging
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from SFDALib.errors import RequestError
from SFDASegmenterLib import dependencies, words
from SFDASegmenterLib.dependencies import DependencyError
from SFDASegmenterLib.panel.device import DeviceSection
from SFDASegmenterLib.panel.input import InputSection
from SFDASegmenterLib.panel.method import MethodSection
from SFDASegmenterLib.panel.results import ResultsSection
from SFDASegmenterLib.panel.weights import WeightsSection
from SFDASegmenterLib.parameters import Parameters, options_of
from SFDASegmenterLib.request import Request
from SFDASegmenterLib.runs import State
from SFDASegmenterLib.scene import layers

log = logging.getLogger(__name__)
TICK = 50  # milliseconds between two looks at the run


class Panel(VTKObservationMixin):
    """Brings widgets, parameters and runs together.

    Args:
        widget: the loaded .ui.
        logic: owns the parameter node and the run.
    """

    def __init__(self, widget: Any, logic: Any) -> None:
        VTKObservationMixin.__init__(self)
        self._widget = widget
        self._logic = logic
        self._entered = False
        self._parameters: Parameters | None = None
        self._gui_tag: Any = None
        self._refreshing = False
        self._asking = False  # a question to the user is open, which lets events through
        self.ui = ui = slicer.util.childWidgetVariables(widget)
        self.input = InputSection(ui, lambda: self._parameters)
        self.weights = WeightsSection(ui, lambda: self._parameters, self.tell)
        self.method = MethodSection(ui, lambda: self._parameters)
        self.device = DeviceSection(ui, lambda: self._parameters, self.tell)
        self.results = ResultsSection(ui, lambda: self._parameters, self.tell)
        self._timer = qt.QTimer()
        self._timer.setInterval(TICK)
        self._timer.connect("timeout()", self._advance)
        self._log = ""
        ui.applyButton.connect("clicked()", self._apply_or_cancel)
        ui.logButton.connect("clicked()", self._show_log)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._scene_closes)
        self.addObserver(scene, scene.EndCloseEvent, self._scene_closed)
        self.addObserver(scene, scene.EndImportEvent, self._scene_opened)
        slicer.app.connect("aboutToQuit()", self._logic.abandon)
        layers.register_layout()
        self._show_run()
        self.tell("", "")

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
        self._logic.abandon()
        self.device.close()
        self.weights.close()
        self.results.forget()
        slicer.app.disconnect("aboutToQuit()", self._logic.abandon)
        self._drop_parameters()
        self.removeObservers()

    def _take_parameters(self) -> None:
        if self._parameters is not None:
            return
        self._parameters = self._logic.getParameterNode()
        # not connectGui, which returns no tag in some versions and so cannot be undone
        self._gui_tag = self._parameters.connectParametersToGui(_bound(self.ui))
        self.addObserver(self._parameters.parameterNode, "ModifiedEvent", self._modified)
        self.refresh()

    def _drop_parameters(self) -> None:
        if self._parameters is None:
            return
        self.removeObserver(self._parameters.parameterNode, "ModifiedEvent", self._modified)
        self._parameters.disconnectGui(self._gui_tag)
        self._parameters = None

    def _scene_closes(self, _caller: Any, _event: Any) -> None:
        self._timer.stop()
        self._logic.abandon()
        self.device.pause()
        self._drop_parameters()
        self._show_run()

    def _scene_closed(self, _caller: Any, _event: Any) -> None:
        if self._entered:
            self._take_parameters()

    def _scene_opened(self, _caller: Any, _event: Any) -> None:
        """It brings a state of the panel with it, whose nodes were not there one by one."""
        if self._entered:
            self._drop_parameters()
            self._take_parameters()

    # --- Showing ---------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Bring every section in line with the parameters."""
        if self._parameters is None or self._refreshing:
            return
        self._refreshing = True
        try:
            self.input.show()
            self.weights.show()
            self.method.show(self.input.facts)
            self.results.show()
            reason = self._refusal()
            running = self._logic.running
            self.device.show(None if reason or running else self.request())
            self.ui.applyButton.enabled = running or reason is None
            self.ui.applyButton.toolTip = (
                _("Stop the computation; nothing of it is kept.")
                if running
                else reason or _("Segment the image with the source model, and better.")
            )
        finally:
            self._refreshing = False

    def request(self) -> Request:
        """What the widgets ask for."""
        parameters = self._parameters
        images = self.input.images()
        return Request(
            images=images,
            bundle=parameters.bundle,
            method=parameters.method,
            options=options_of(parameters, parameters.method),
            device=parameters.device,
            seed=parameters.seed,
            adapt_once=parameters.adaptOnce and len(images) > 1,
            compared=self._compared(),
            gate="on" if parameters.gate else "off",
        )

    def _compared(self) -> dict[str, dict[str, Any]]:
        """Every method that the source model can serve, with its options; none if not asked for."""
        if not self._parameters.compare or self.input.facts is None:
            return {}
        return {name: options_of(self._parameters, name) for name in self.input.facts["methods"]}

    def tell(self, message: str, details: str) -> None:
        """Show one line about what went wrong, with the rest at hand; an empty one hides it."""
        self.ui.messageLabel.text = message
        self.ui.messageFrame.visible = bool(message)
        self.ui.logButton.visible = bool(details)
        self._log = details

    def _modified(self, _caller: Any, _event: Any) -> None:
        self.refresh()

    def _refusal(self) -> str | None:
        return self.method.fault or self.request().refusal()

    def _show_run(self) -> None:
        """Button and progress, as they are while a run goes on and while none does."""
        ui, run = self.ui, self._logic.run
        running = self._logic.running
        ui.applyButton.text = _("Cancel") if running else _("Adapt && Segment")
        ui.progressBar.visible = ui.progressLabel.visible = running
        for section in (ui.inputSection, ui.methodSection, ui.deviceSection):
            section.enabled = not running
        if not running:
            return
        ui.applyButton.enabled = run.state is not State.CANCELLING
        now = run.progress
        ui.progressBar.maximum = now.total
        ui.progressBar.value = now.step
        ui.progressLabel.text = (
            _("Cancelling...") if run.state is State.CANCELLING else words.progress(now)
        )

    # --- Running ---------------------------------------------------------------------------------

    def _apply_or_cancel(self) -> None:
        if self._asking:
            return
        if self._logic.running:
            self._logic.run.cancel()
            self._show_run()
            return
        self.tell("", "")
        self._asking = True
        try:
            dependencies.ensure()
        except DependencyError as error:
            self.tell(str(error), "")
            return
        finally:
            self._asking = False
            self.device.show_packages()
        self._start()

    def _start(self) -> None:
        if self._parameters is None:  # the scene was closed while the user was asked
            return
        self.device.pause()
        try:
            self._logic.start(self.request())
        except (RequestError, OSError) as error:
            self.tell(str(error), "")
            return
        self.input.keep_bundle()
        self._timer.start()
        self._show_run()
        self.refresh()

    def _advance(self) -> None:
        run = self._logic.run
        run.advance()
        self._show_run()
        if not run.ended:
            return
        self._timer.stop()
        if run.state is State.FAILED:
            self.tell(run.message, run.log)
        elif run.state is State.DONE:
            self._show_results()
        self.refresh()

    def _show_results(self) -> None:
        run = self._logic.run
        if run.failures:
            first, message = next(iter(run.failures.items()))
            text = _("{count} of {total} images failed; {first}: {message}").format(
                count=len(run.failures),
                total=len(run.request.images),
                first=first,
                message=message,
            )
            self.tell(text, run.log)
        elif run.message:  # of a cohort that ended early
            self.tell(run.message, run.log)
        if run.results and self._parameters is not None:
            self.ui.resultsSection.collapsed = False
            self.results.choose(run.results[0])

    def _show_log(self) -> None:
        slicer.util.infoDisplay(
            self.ui.messageLabel.text, windowTitle=_("Details"), detailedText=self._log
        )


def _bound(ui: Any) -> dict[str, Any]:
    """The widgets that the .ui binds to a parameter, by its name."""
    names = {widget: widget.property("SlicerParameterName") for widget in vars(ui).values()}
    return {name: widget for widget, name in names.items() if name}
