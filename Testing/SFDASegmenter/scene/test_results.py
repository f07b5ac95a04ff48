"""A run's results, found in the scene: over their own images, compared, and after a reload."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scene_bench import centre_ras


@pytest.fixture
def cohort(panel: Any, recorded_jobs: Path, head_file: Path) -> list[Any]:
    """The results of one run on two volumes; the second lies beside the first."""
    import slicer
    from SFDASegmenterLib.scene.placement import Origin, Placement

    placed = []
    for name, shift in (("first", 0.0), ("second", 500.0)):
        volume = slicer.util.loadVolume(str(head_file), {"name": name})
        volume.SetOrigin([place + shift for place in volume.GetOrigin()])
        placement = Placement(recorded_jobs / "none", Origin(name, volume.GetID()), "one run")
        for _ in placement.steps():
            pass
        placed.append(placement.results)
    return placed


def backgrounds() -> set[str]:
    import slicer

    nodes = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    return {node.GetBackgroundVolumeID() for node in nodes}


def test_images_of_a_cohort_are_not_compared(panel: Any, cohort: list[Any]) -> None:
    assert [len(results.compared) for results in cohort] == [1, 1]
    panel.results.choose(cohort[0])
    assert panel.parameters.shown == "result"
    assert not panel.ui.allRadio.visible


def test_a_result_is_shown_over_its_own_image(panel: Any, cohort: list[Any]) -> None:
    import slicer

    red = slicer.app.applicationLogic().GetSliceLogicByLayoutName("Red")
    for results in (*cohort, cohort[0]):
        panel.ui.resultSelector.setCurrentNode(results.node)
        assert backgrounds() == {results.input.GetID()}
        bounds = [0.0] * 6
        results.input.GetRASBounds(bounds)
        matrix = red.GetSliceNode().GetSliceToRAS()
        center = [matrix.GetElement(axis, 3) for axis in range(3)]
        for axis in range(3):  # it does not look past it
            assert bounds[2 * axis] <= center[axis] <= bounds[2 * axis + 1]


def test_both_show_the_plane_of_the_view_whatever_was_in_it(panel: Any, cohort: list[Any]) -> None:
    import slicer
    from panel_bench import settle
    from slicer_standin import user

    logic = slicer.app.applicationLogic().GetSliceLogicByLayoutName
    panel.ui.resultSelector.setCurrentNode(cohort[0].node)
    logic("Red").GetSliceCompositeNode().SetBackgroundVolumeID(cohort[1].input.GetID())
    for view in ("Green", "Yellow"):
        logic(view).GetSliceCompositeNode().SetBackgroundVolumeID(None)
    user.click(panel.ui.bothRadio)
    settle()
    wanted = slicer.vtkMRMLSliceNode()
    wanted.RotateToVolumePlane(cohort[0].input)
    shown = logic("SFDASource").GetSliceNode().GetSliceToRAS()
    for row in range(3):
        for column in range(3):
            expected = wanted.GetSliceToRAS().GetElement(row, column)
            assert abs(shown.GetElement(row, column)) == pytest.approx(abs(expected))


def test_a_saved_scene_brings_the_results_back(
    segmenter: Any, placed: Callable[[], Any], tmp_path: Path
) -> None:
    from SFDASegmenterLib.scene.results import results_in_scene

    slicer = segmenter.slicer
    results = placed().results
    centre = centre_ras(slicer, results.node)
    report = results.report
    entropy = slicer.util.arrayFromVolume(results.get("entropy")).copy()
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear()
    assert results_in_scene() == []
    slicer.util.loadScene(str(path))
    (found,) = results_in_scene()
    assert found.report == report
    assert np.array_equal(slicer.util.arrayFromVolume(found.get("entropy")), entropy)
    assert found.get("entropy").GetDisplayNode().GetColorNode().GetName() == "SFDA inferno"
    assert np.allclose(centre_ras(slicer, found.node), centre, atol=0.01)
    assert found.get("samples").GetNumberOfDataNodes() == 3
    found.select_sample(0)
    assert found.sample is not None
    assert found.input is not None
    assert found.folder is not None, "the run's files are still there"


def test_files_that_went_are_not_offered(segmenter: Any, phantom: Callable[..., Any]) -> None:
    volume = segmenter.load(phantom().image)
    results = segmenter.run([volume], "adami", epochs=1)
    assert results.adapted_bundle is not None
    shutil.rmtree(results.folder.parent)
    assert results.folder is None
    assert results.adapted_bundle is None
