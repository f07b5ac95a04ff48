"""Results of several images: each is shown over its own, and only methods are compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


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
