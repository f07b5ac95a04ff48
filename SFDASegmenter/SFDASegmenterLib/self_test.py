"""The self-test: real jobs on the shipped model and volume, through the button and the logic.

Runs in the application (Reload and Test, or ``Slicer --testing``) and in this project's stand-in.
A test that lacks the packages it needs is skipped with the reason; it never passes.
"""

from __future__ import annotations

import json
import tempfile
import time
import unittest
from typing import Any

import slicer

from SFDALib.errors import RequestError
from SFDASegmenterLib import dependencies, library, staging
from SFDASegmenterLib.parameters import set_options
from SFDASegmenterLib.request import Request
from SFDASegmenterLib.runs import State
from SFDASegmenterLib.scene.results import results_in_scene

LIMIT = 1200  # seconds that a job may take on a slow machine
SHORT = {"heal": {"samples": 2, "steps": 5}, "adami": {"epochs": 1}}


class SelfTest:
    """The tests, for ``SFDASegmenterTest``."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()
        lacking = dependencies.missing()
        if lacking:
            raise unittest.SkipTest(f"not installed: {', '.join(lacking.requirements)}")

    def test_the_button_leads_to_every_result_of_heal(self) -> None:
        """A click on Adapt & Segment ends with all results in the scene, in the right place."""
        volume = _load_sample()
        panel = _panel()
        _fill(panel, volume, "heal")
        panel.ui.applyButton.click()
        self.assertEqual(panel.ui.applyButton.text, "Cancel")
        _wait(lambda: not panel._logic.running)
        self.assertIs(panel._logic.run.state, State.DONE, panel.ui.messageLabel.text)

        results = panel.results.results
        for role in ("source", "entropy", "nig_uncertainty", "denoised", "volumes", "report"):
            self.assertIsNotNone(results.get(role), role)
        self.assertEqual(results.get("samples").GetNumberOfDataNodes(), SHORT["heal"]["samples"])
        names = [label["name"] for label in panel.input.facts["labels"]]
        segmentation = results.node.GetSegmentation()
        found = [
            segmentation.GetNthSegment(index).GetName()
            for index in range(segmentation.GetNumberOfSegments())
        ]
        self.assertEqual(found, names)
        self.assertEqual(
            results.get("entropy").GetImageData().GetDimensions(),
            volume.GetImageData().GetDimensions(),
        )
        self.assertEqual(_matrix(results.get("entropy")), _matrix(volume))
        array = slicer.util.arrayFromVolume(results.get("entropy"))
        self.assertEqual(str(array.dtype), "float32")

        panel.ui.entropyCheckBox.checked = True
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            self.assertEqual(composite.GetForegroundVolumeID(), results.get("entropy").GetID())
        panel.ui.entropyCheckBox.checked = False
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            self.assertIsNone(composite.GetForegroundVolumeID())

    def test_the_logic_adapts_a_model_without_the_panel(self) -> None:
        """AdaMI through the logic leaves an adapted model and its curves."""
        volume = _load_sample()
        logic = _panel()._logic
        run = logic.start(_request(volume, "adami"))
        with self.assertRaises(RuntimeError):
            logic.start(_request(volume, "adami"))  # two runs cannot overlap
        _wait(lambda: (run.advance(), run.ended)[1])
        self.assertIs(run.state, State.DONE, run.message)
        self.assertIsNotNone(run.results[0].adapted_bundle)
        self.assertIsNotNone(run.results[0].get("curves"))
        logic.abandon()
        self.assertIsNone(run.results[0].adapted_bundle)

    def test_cancel_leaves_nothing_behind(self) -> None:
        """A cancelled run adds no node and leaves no file."""
        panel = _panel()
        _fill(panel, _load_sample(), "heal")
        before = slicer.mrmlScene.GetNumberOfNodes()
        panel.ui.applyButton.click()
        run = panel._logic.run
        _wait(lambda: run.progress.stage != "starting")
        panel.ui.applyButton.click()
        _wait(lambda: run.ended)
        self.assertIs(run.state, State.CANCELLED)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)
        self.assertFalse(run.folder.exists())
        self.assertEqual(panel.ui.applyButton.text, "Adapt && Segment")

    def test_a_bad_bundle_is_told_before_anything_starts(self) -> None:
        """What is no source model disables the button, says why, and is refused by the logic."""
        panel = _panel()
        volume = _load_sample()
        _fill(panel, volume, "heal")
        with tempfile.TemporaryDirectory() as folder:
            panel.ui.bundlePathEdit.currentPath = folder
            self.assertFalse(panel.ui.applyButton.enabled)
            self.assertIn("metadata.json", panel.ui.applyButton.toolTip)
            with self.assertRaises(RequestError):
                panel._logic.start(Request((staging.image_of([volume]),), folder, "heal"))

    def test_closing_the_scene_ends_the_run(self) -> None:
        """The job ends with its scene, and nothing of it appears in the next one."""
        panel = _panel()
        _fill(panel, _load_sample(), "heal")
        panel.ui.applyButton.click()
        run = panel._logic.run
        _wait(lambda: run.progress.stage != "starting")
        slicer.mrmlScene.Clear()
        self.assertIs(run.state, State.CANCELLED)
        self.assertFalse(run.folder.exists())
        self.assertEqual(results_in_scene(), [])
        self.assertEqual(panel.ui.applyButton.text, "Adapt && Segment")

    def test_the_module_can_be_reloaded(self) -> None:
        """After a reload the panel works with the state of the scene."""
        panel = _panel()
        volume = _load_sample()
        _fill(panel, volume, "adami")
        slicer.util.reloadScriptedModule("SFDASegmenter")
        panel = _panel()
        self.assertEqual(panel.request().method, "adami")
        self.assertEqual(panel.request().images[0].nodes, (volume.GetID(),))


def _load_sample() -> Any:
    listed = json.loads((library.SAMPLES / "samples.json").read_text(encoding="utf-8"))
    return slicer.util.loadVolume(str(library.SAMPLES / listed["cases"][0]["image"]))


def _panel() -> Any:
    """The panel as it is after the user opened the module."""
    widget = slicer.util.getModuleWidget("SFDASegmenter")
    widget.enter()
    return widget.panel


def _fill(panel: Any, volume: Any, method: str) -> None:
    """Choose everything through the widgets, but the options, which make the job short."""
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    panel.ui.bundlePathEdit.currentPath = str(library.EXAMPLE_BUNDLE)
    panel.ui.methodComboBox.currentIndex = panel.ui.methodComboBox.findData(method)
    set_options(panel._parameters, method, SHORT[method])


def _request(volume: Any, method: str) -> Request:
    image = staging.image_of([volume])
    return Request((image,), str(library.EXAMPLE_BUNDLE), method, SHORT[method])


def _wait(until: Any) -> None:
    """Let the application work until something is true."""
    end = time.monotonic() + LIMIT
    while not until():
        slicer.app.processEvents()
        time.sleep(0.01)
        if time.monotonic() > end:
            raise AssertionError(f"not within {LIMIT} s")


def _matrix(node: Any) -> list[float]:
    matrix = slicer.util.arrayFromVTKMatrix(_ijk_to_ras(node))
    return [round(float(value), 4) for value in matrix.ravel()]


def _ijk_to_ras(node: Any) -> Any:
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return matrix
