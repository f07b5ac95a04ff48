"""SFDASegmenter: source-free domain adaptation of segmentation models, inside 3D Slicer.

This file registers the module; the work is in SFDASegmenterLib (the panel and the scene) and in
SFDALib (the computation, in a process of its own).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

# Slicer's reload runs this file alone again: what it imports must not be last time's.
for _name in [name for name in sys.modules if name.partition(".")[0] == "SFDASegmenterLib"]:
    del sys.modules[_name]

from SFDASegmenterLib import sample_data, self_test, self_test_dicom  # noqa: E402
from SFDASegmenterLib.panel.panel import Panel  # noqa: E402
from SFDASegmenterLib.panel.services import Services  # noqa: E402
from SFDASegmenterLib.parameters import Parameters, parameters_in  # noqa: E402
from SFDASegmenterLib.protocols import Job  # noqa: E402
from SFDASegmenterLib.request import Request  # noqa: E402
from SFDASegmenterLib.runs import Run  # noqa: E402
from SFDASegmenterLib.scene import views  # noqa: E402
from SFDASegmenterLib.worker import Worker  # noqa: E402


class SFDASegmenter(ScriptedLoadableModule):
    """What Slicer knows of the module."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("SFDA Segmenter")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = []
        parent.contributors = ["The SFDA for 3D Slicer contributors"]
        parent.helpText = _(
            "Adapts a segmentation model that was trained elsewhere to your own images, with"
            " neither the training images nor labels of yours (source-free domain adaptation), or"
            " improves its result without changing it (HEAL). Shows the result beside the"
            " unadapted one, with maps of the uncertainty. Research software, not a medical"
            ' device. See the <a href="{url}">documentation and tutorial</a>.'
        ).format(url="https://github.com/sfda-slicer/SlicerSFDA#readme")
        parent.acknowledgementText = _(
            "The panel and every report name the paper of each method. Among them: HEAL (BMVC"
            " 2025); AdaEnt and AdaMI (Bateson et al., MICCAI 2020 and Medical Image Analysis"
            " 2022); early features, UDAS (Sheikh and Schultz, MIDL 2022); Med-DDPM"
            " (Dorjsembe et al., IEEE JBHI 2024). The samples derive from the open MS data of the"
            " Laboratory of Imaging Technologies, University of Ljubljana (Lesjak et al.,"
            " Neuroinformatics 2016), CC BY."
        )
        slicer.app.connect("startupCompleted()", sample_data.register)
        slicer.app.connect("startupCompleted()", views.register)


class SFDASegmenterWidget(ScriptedLoadableModuleWidget):
    """The panel, as Slicer makes and removes it."""

    services = Services()  # a test gives its own

    def __init__(self, parent: Any = None) -> None:
        self.panel: Panel | None = None
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self) -> None:
        """Make the panel."""
        ScriptedLoadableModuleWidget.setup(self)
        widget = slicer.util.loadUI(self.resourcePath("UI/SFDASegmenter.ui"))
        self.layout.addWidget(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.logic = SFDASegmenterLogic(self.services.job)
        self.panel = Panel(widget, self.logic, self.services)
        if getattr(self.parent, "isEntered", False):  # reloaded in sight: nobody enters it again
            self.panel.enter()

    def enter(self) -> None:
        """The user opens the module."""
        if self.panel is not None:
            self.panel.enter()

    def exit(self) -> None:
        """The user opens another module."""
        if self.panel is not None:
            self.panel.leave()

    def cleanup(self) -> None:
        """The module is reloaded, or the application ends."""
        if self.panel is not None:
            self.panel.close()
            self.panel = None


class SFDASegmenterLogic(ScriptedLoadableModuleLogic):
    """One run at a time, with or without a panel.

    Args:
        start: starts the process of a run, given the words of its command line.
    """

    def __init__(self, start: Callable[[Sequence[str]], Job] = Worker) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self._start = start
        self.run: Run | None = None  # the latest
        self._ended: list[Run] = []  # those before it, whose adapted models are still offered

    def getParameterNode(self) -> Parameters:
        """The panel's state in the scene."""
        return parameters_in(super().getParameterNode())

    @property
    def running(self) -> bool:
        """Whether a run has not ended yet."""
        return self.run is not None and not self.run.ended

    def start(self, request: Request) -> Run:
        """Start a run, whose ``advance`` is to be called until it has ``ended``.

        Raises:
            RequestError: it cannot be carried out, and why.
            RuntimeError: another run goes on.
        """
        if self.running:
            raise RuntimeError("a run goes on; cancel it first")
        started = Run(request, self._start)
        if self.run is not None:
            self._ended.append(self.run)
        self.run = started
        return self.run

    def abandon(self) -> None:
        """End the run at once and remove all files, as the scene or the application goes."""
        for run in (*self._ended, self.run):
            if run is not None:
                run.abandon()
        self._ended, self.run = [], None


class SFDASegmenterTest(
    self_test.SelfTest, self_test_dicom.DicomSelfTest, ScriptedLoadableModuleTest
):
    """The self-test that Slicer finds under the module's name.

    Its parts are not imported by name: a loader of tests would run each test of theirs once more.
    """

    logic_type = SFDASegmenterLogic
