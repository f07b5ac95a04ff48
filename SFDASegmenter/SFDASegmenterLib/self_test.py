"""The self-test: real jobs on the shipped model and volume, through the button and the logic.

Runs in the application (Reload and Test, or ``Slicer --testing``) and in this project's stand-in.
A test that lacks packages or views is skipped with the reason; it never passes.
"""

from __future__ import annotations

import tempfile
import unittest
from typing import Any

import slicer

from SFDALib.errors import RequestError
from SFDASegmenterLib import dependencies, staging
from SFDASegmenterLib.request import Request
from SFDASegmenterLib.runs import State
from SFDASegmenterLib.scene.results import Results, results_in_scene
from SFDASegmenterLib.self_test_steps import (
    SHORT,
    fill,
    load_sample,
    matrix,
    open_panel,
    plane,
    request_for,
    run_to_the_end,
    wait,
    wait_a_moment,
)


class SelfTest(unittest.TestCase):
    """The tests, for ``SFDASegmenterTest``."""

    def runTest(self) -> None:
        """Run every test; one that cannot run here does not stop the others.

        Raises:
            SkipTest: some could not run here, and why.
        """
        skipped = []
        for name in unittest.defaultTestLoader.getTestCaseNames(type(self)):
            try:
                self.setUp()
                getattr(self, name)()
            except unittest.SkipTest as reason:
                skipped.append(f"{name}: {reason}")
        if skipped:
            raise unittest.SkipTest("; ".join(skipped))

    def setUp(self) -> None:
        """Empty the scene."""
        slicer.mrmlScene.Clear()

    def need_packages(self) -> None:
        """Skip what cannot be computed here."""
        lacking = dependencies.missing()
        if lacking:
            raise unittest.SkipTest(f"not installed: {', '.join(lacking.requirements)}")

    def need_views(self) -> None:
        """Skip what cannot be seen here."""
        if slicer.app.layoutManager() is None:
            raise unittest.SkipTest("no main window: there are no views")

    def test_the_button_leads_to_every_result_of_heal(self) -> None:
        """A click on Adapt & Segment ends with all results in the scene, in the right place."""
        self.need_packages()
        volume = load_sample()
        panel = open_panel()
        fill(panel, volume, "heal")
        run_to_the_end(panel)
        results = panel.results.results
        for role in ("source", "entropy", "nig_uncertainty", "denoised", "volumes", "report"):
            self.assertIsNotNone(results.get(role), role)
        self.assertEqual(results.get("samples").GetNumberOfDataNodes(), SHORT["heal"]["samples"])
        (volumes,) = results.report["volumes"]
        self.assertGreater(volumes["result_ml"], 2 * volumes["source_ml"])  # finds the brain
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
        self.assertEqual(matrix(results.get("entropy")), matrix(volume))
        array = slicer.util.arrayFromVolume(results.get("entropy"))
        self.assertEqual(str(array.dtype), "float32")

        self.check_maps(panel, results)
        self.check_model_and_report(panel)

    def check_maps(self, panel: Any, results: Results) -> None:
        """A ticked map is in the foreground of every view; its threshold hides low values."""
        row = panel.results.maps.rows["entropy"]
        row.box.click()
        entropy = results.maps["entropy"]
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            self.assertEqual(composite.GetForegroundVolumeID(), entropy.GetID())
        row.opacity.value = 0.25
        self.assertAlmostEqual(composite.GetForegroundOpacity(), 0.25)
        row.button.click()
        row.threshold.value = 0.4
        self.assertAlmostEqual(entropy.GetDisplayNode().GetLowerThreshold(), 0.4)
        row.box.click()
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            self.assertIsNone(composite.GetForegroundVolumeID())

    def check_model_and_report(self, panel: Any) -> None:
        """There is a verdict with its reasons, and a report that opens."""
        self.assertTrue(panel.ui.verdictLabel.text)
        panel.ui.whyButton.click()
        self.assertTrue(panel.ui.whyText.plainText.strip())
        panel.ui.reportButton.click()
        self.assertTrue(panel.results.report_window.visible)
        panel.results.close_report()
        self.assertFalse(panel.ui.saveBundleButton.enabled)  # HEAL adapts no model

    def test_views_show_the_slice_that_the_user_looks_at(self) -> None:
        """Both views have the user's slice, orientation and zoom; a plot shows at first click."""
        self.need_views()
        self.need_packages()
        panel = open_panel()
        volume = load_sample()
        self.assertIs(panel.ui.inputVolumeSelector.currentNode(), volume)  # it is in sight
        fill(panel, volume, "adami")
        user = slicer.app.layoutManager().layoutLogic().GetLayoutNode().GetViewArrangement()
        red = slicer.app.applicationLogic().GetSliceLogicByLayoutName("Red")
        red.GetSliceNode().RotateToVolumePlane(volume)
        red.FitSliceToBackground()
        red.SetSliceOffset(red.GetSliceOffset() + 20)
        run_to_the_end(panel)
        results = panel.results.results

        panel.ui.bothRadio.click()
        wait_a_moment()
        shown = {"SFDASource": results.get("source"), "SFDAResult": results.own}
        for view, segmentation in shown.items():
            logic = slicer.app.applicationLogic().GetSliceLogicByLayoutName(view)
            self.assertAlmostEqual(logic.GetSliceOffset(), red.GetSliceOffset(), places=2)
            self.assertEqual(plane(logic), plane(red))
            for mine, users in zip(
                logic.GetSliceNode().GetFieldOfView()[:2],
                red.GetSliceNode().GetFieldOfView()[:2],
                strict=True,
            ):
                self.assertGreaterEqual(mine, users - 1e-6)  # nothing is cropped
            composite = logic.GetSliceCompositeNode()
            self.assertEqual(composite.GetBackgroundVolumeID(), volume.GetID())
            self.assertTrue(composite.GetLinkedControl())
            display = segmentation.GetDisplayNode()
            self.assertTrue(display.GetVisibility())
            self.assertEqual(list(display.GetViewNodeIDs()), [f"vtkMRMLSliceNode{view}"])

        panel.ui.plotsButton.click()
        wait_a_moment()
        plot = slicer.app.layoutManager().plotWidget(0).mrmlPlotViewNode()
        self.assertEqual(plot.GetPlotChartNodeID(), results.get("curves").GetID())
        display = results.node.GetDisplayNode()
        self.assertTrue(display.GetVisibility())
        self.assertEqual(list(display.GetViewNodeIDs() or ()), [])  # in every view
        panel.ui.plotsButton.click()
        layout = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
        self.assertEqual(layout.GetViewArrangement(), user)

        panel.ui.surfaceCheckBox.click()
        self.assertTrue(results.node.GetSegmentation().ContainsRepresentation("Closed surface"))
        panel.ui.bothRadio.click()
        slicer.mrmlScene.Clear()
        self.assertEqual(layout.GetViewArrangement(), user)

    def test_an_option_is_changed_in_its_field(self) -> None:
        """Every kind of field can be changed; the form stays and the request has the values."""
        panel = open_panel()
        fill(panel, load_sample(), "adami")
        field = panel.method.field("learning_rate")
        field.setFocus()
        field.text = "1e-3"
        field.clearFocus()  # which ends the editing
        field.editingFinished.emit()  # where there is no focus to lose
        panel.method.field("settle_bn").click()
        wait_a_moment()
        self.assertIs(panel.method.field("learning_rate"), field)
        self.assertEqual(panel.request().options["learning_rate"], 1e-3)
        self.assertIn("settle_bn", panel.request().options)
        panel.ui.resetOptionsButton.click()
        self.assertEqual(panel.request().options, {})

    def test_the_logic_adapts_a_model_without_the_panel(self) -> None:
        """AdaMI through the logic leaves an adapted model and its curves."""
        self.need_packages()
        volume = load_sample()
        logic = open_panel().logic
        run = logic.start(request_for(volume, "adami"))
        with self.assertRaises(RuntimeError):
            logic.start(request_for(volume, "adami"))  # two runs cannot overlap
        wait(lambda: (run.advance(), run.ended)[1])
        self.assertEqual(run.state.value, State.DONE.value, run.message)
        self.assertIsNotNone(run.results[0].adapted_bundle)
        self.assertIsNotNone(run.results[0].get("curves"))
        logic.abandon()
        self.assertIsNone(run.results[0].adapted_bundle)

    def test_cancel_leaves_nothing_behind(self) -> None:
        """A cancelled run adds no node and leaves no file."""
        self.need_packages()
        panel = open_panel()
        fill(panel, load_sample(), "heal")
        before = slicer.mrmlScene.GetNumberOfNodes()
        panel.ui.applyButton.click()
        run = panel.logic.run
        wait(lambda: run.progress.stage != "starting")
        panel.ui.applyButton.click()
        wait(lambda: run.ended)
        self.assertEqual(run.state.value, State.CANCELLED.value)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)
        self.assertFalse(run.folder.exists())
        self.assertEqual(panel.ui.applyButton.text, "Adapt && Segment")

    def test_a_bad_bundle_is_told_before_anything_starts(self) -> None:
        """What is no source model disables the button, says why, and is refused by the logic."""
        panel = open_panel()
        volume = load_sample()
        fill(panel, volume, "heal")
        with tempfile.TemporaryDirectory() as folder:
            panel.ui.bundlePathEdit.currentPath = folder
            self.assertFalse(panel.ui.applyButton.enabled)
            self.assertIn("metadata.json", panel.ui.applyButton.toolTip)
            with self.assertRaises(RequestError):
                panel.logic.start(Request((staging.image_of([volume]),), folder, "heal"))

    def test_closing_the_scene_ends_the_run(self) -> None:
        """The job ends with its scene, and nothing of it appears in the next one."""
        self.need_packages()
        panel = open_panel()
        fill(panel, load_sample(), "heal")
        panel.ui.applyButton.click()
        run = panel.logic.run
        wait(lambda: run.progress.stage != "starting")
        slicer.mrmlScene.Clear()
        self.assertEqual(run.state.value, State.CANCELLED.value)
        self.assertFalse(run.folder.exists())
        self.assertEqual(results_in_scene(), [])
        self.assertEqual(panel.ui.applyButton.text, "Adapt && Segment")

    def test_the_module_can_be_reloaded(self) -> None:
        """After a reload the panel works with the state of the scene."""
        panel = open_panel()
        volume = load_sample()
        fill(panel, volume, "adami")
        slicer.util.reloadScriptedModule("SFDASegmenter")
        panel = open_panel()
        self.assertEqual(panel.request().method, "adami")
        self.assertEqual(panel.request().images[0].nodes, (volume.GetID(),))
