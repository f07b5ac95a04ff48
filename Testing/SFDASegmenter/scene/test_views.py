"""The layouts and views in which the panel shows a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from panel_bench import compare, settle, shown_in

FOUR_UP = 3  # vtkMRMLLayoutNode.SlicerLayoutFourUpView


def layout() -> int:
    import slicer

    return slicer.app.layoutManager().layout


def slice_node(view: str) -> Any:
    import slicer

    return slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceNode{view}")


def look(volume: Any, offset: float, zoom: float) -> Any:
    """Look at a volume in its own planes, at another slice and closer, as users do."""
    import slicer

    logic = slicer.app.layoutManager().sliceWidget("Red").sliceLogic()
    node = logic.GetSliceNode()
    node.RotateToVolumePlane(volume)
    logic.FitSliceToBackground()
    logic.SetSliceOffset(logic.GetSliceOffset() + offset)
    width, height, depth = node.GetFieldOfView()
    node.SetFieldOfView(width / zoom, height / zoom, depth)
    settle()
    return node


@pytest.mark.parametrize("shown", ["both", "all"])
def test_views_beside_each_other_show_the_users_slice_orientation_and_zoom(
    panel: Any,
    fill: Callable[..., Any],
    run: Callable[[], Any],
    pump: Callable[..., None],
    shown: str,
) -> None:
    import slicer
    from slicer_standin import user

    volume = fill("none")  # oblique: its planes are not the body's
    if shown == "all":
        compare(panel, "none", "heal", "adami")
    users = look(volume, offset=7.0, zoom=2.0)
    wanted = slicer.util.arrayFromVTKMatrix(users.GetSliceToRAS()).copy()
    across, down, _depth = users.GetFieldOfView()
    run()
    if shown == "both":
        user.click(panel.ui.bothRadio)
    views = slicer.app.layoutManager().sliceViewNames()
    assert views == (
        ("SFDASource", "SFDAResult")
        if shown == "both"
        else ("SFDAMethod1", "SFDAMethod2", "SFDAMethod3")
    )
    pump(lambda: np.isfinite(slice_node(views[0]).GetFieldOfView()).all())
    pump(lambda: slice_node(views[0]).GetFieldOfView()[0] >= 0.99 * across, 5)
    for view in views:
        node = slice_node(view)
        found = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())
        assert np.allclose(found, wanted, atol=1e-3), view
        shares = np.array(node.GetFieldOfView()[:2]) / (across, down)
        assert min(shares) == pytest.approx(1.0, abs=0.01), "neither cropped nor smaller"
        width, height, _ = node.GetDimensions()
        mm_each_way = node.GetFieldOfView()[0] / width, node.GetFieldOfView()[1] / height
        assert mm_each_way[0] == pytest.approx(mm_each_way[1], rel=0.01)
        composite = slicer.app.layoutManager().sliceWidget(view).mrmlSliceCompositeNode()
        assert composite.GetLinkedControl()
        assert composite.GetBackgroundVolumeID() == volume.GetID()


def test_result_source_and_both_are_switched_and_the_users_layout_comes_back(
    panel: Any, fill: Callable[..., Any], run: Callable[[], Any]
) -> None:
    import slicer
    from slicer_standin import user

    red = slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView
    slicer.app.layoutManager().setLayout(red)
    settle()
    fill("heal")
    run()
    results = panel.results.results
    result, source, own = results.node, results.get("source"), results.own
    assert (shown_in(result, "Red"), shown_in(source, "Red")) == (True, False)
    user.click(panel.ui.sourceRadio)
    assert (shown_in(result, "Red"), shown_in(source, "Red")) == (False, True)
    user.click(panel.ui.bothRadio)
    assert own.GetName() == "head HEAL method's own", "also where the source's is delivered"
    assert shown_in(source, "SFDASource")
    assert not shown_in(own, "SFDASource")
    assert shown_in(own, "SFDAResult")
    assert not shown_in(source, "SFDAResult")
    user.click(panel.ui.resultRadio)
    assert layout() == red
    assert (shown_in(result, "Red"), shown_in(source, "Red")) == (True, False)


def test_a_plot_is_there_at_the_first_click(
    panel: Any, fill: Callable[..., Any], run: Callable[[], Any]
) -> None:
    import slicer
    from slicer_standin import user

    fill("adami")
    run()
    for node in slicer.util.getNodesByClass("vtkMRMLPlotViewNode"):
        slicer.mrmlScene.RemoveNode(node)  # of another test
    user.click(panel.ui.plotsButton)
    manager = slicer.app.layoutManager()
    assert manager.plotViewCount == 1
    chart = panel.results.results.get("curves")
    assert manager.plotWidget(0).mrmlPlotViewNode().GetPlotChartNodeID() == chart.GetID()
    names = [chart.GetNthPlotSeriesNode(i).GetName() for i in range(3)]
    assert all(name[:1].isupper() and "_" not in name for name in names), names
    assert any(name.startswith("Brain") for name in names), names


def test_plots_after_both_show_the_segmentation_in_the_users_views(
    panel: Any, fill: Callable[..., Any], run: Callable[[], Any]
) -> None:
    import slicer
    from slicer_standin import user

    fill("adami")
    run()
    user.click(panel.ui.bothRadio)
    user.click(panel.ui.plotsButton)
    views = slicer.app.layoutManager().sliceViewNames()
    assert "Red" in views
    results = panel.results.results
    nodes = (results.node, results.get("source"), results.own)
    for view in views:
        assert any(shown_in(node, view) for node in nodes), view


def test_closing_the_scene_while_both_is_shown_brings_the_users_layout_back(
    panel: Any, fill: Callable[..., Any], run: Callable[[], Any]
) -> None:
    import slicer
    from slicer_standin import user

    fill("none")
    run()
    user.click(panel.ui.bothRadio)
    assert layout() != FOUR_UP
    slicer.mrmlScene.Clear()
    settle()
    assert layout() == FOUR_UP
    slicer.mrmlScene.Clear()
    settle()
    assert layout() == FOUR_UP
    assert slicer.app.layoutManager().sliceViewNames() == ("Red", "Green", "Yellow")


def test_the_result_is_shown_in_3d_at_a_tick(
    panel: Any, fill: Callable[..., Any], run: Callable[[], Any]
) -> None:
    from slicer_standin import user

    fill("none")
    run()
    node = panel.results.results.node
    surface = "Closed surface"
    assert not node.GetSegmentation().ContainsRepresentation(surface)
    user.click(panel.ui.surfaceCheckBox)
    assert node.GetSegmentation().ContainsRepresentation(surface)
    assert node.GetDisplayNode().GetVisibility3D()
    user.click(panel.ui.surfaceCheckBox)
    assert (
        not node.GetSegmentation().ContainsRepresentation(surface)
        or not node.GetDisplayNode().GetVisibility3D()
    )


def test_methods_are_compared_beside_each_other_with_what_they_agree_on(
    panel: Any, fill: Callable[..., Any], run: Callable[[], Any]
) -> None:
    import slicer
    from slicer_standin import user

    fill("none")
    compare(panel, "none", "heal", "adami")
    assert set(panel.request().compared) == {"none", "heal", "adami"}
    ended = run()
    assert ended.state.value == "done", ended.message
    results = panel.results.results
    titles = ["No adaptation", "HEAL", "AdaMI"]
    assert [one.node.GetAttribute("SFDA.Method") for one in results.compared] == titles
    assert panel.ui.allRadio.checked
    views = ("SFDAMethod1", "SFDAMethod2", "SFDAMethod3")
    assert slicer.app.layoutManager().sliceViewNames() == views
    for view, one, title in zip(views, results.compared, titles, strict=True):
        assert [shown_in(one.own, other) for other in views] == [view == o for o in views]
        assert title_of(view) == title
        assert one.get("vote_entropy") is results.get("vote_entropy")
        assert one.get("consensus_staple") is not None
    user.click(panel.results.maps.rows["vote_entropy"].box)
    composite = slicer.app.layoutManager().sliceWidget(views[0]).mrmlSliceCompositeNode()
    assert composite.GetForegroundVolumeID() == results.get("vote_entropy").GetID()
    assert [path.name for path in results.pictures] == ["overview.png", "comparison.png"]
    user.click(panel.ui.resultRadio)
    shown = [one for one in results.compared if shown_in(one.node, "Red")]
    assert [one.node.GetName() for one in shown] == [results.node.GetName()]


def title_of(view: str) -> str:
    """The name that is written in a view; its label has room for two or three letters alone."""
    import slicer
    import vtk
    from slicer_standin.window import LABEL

    assert 0 < len(slice_node(view).GetLayoutLabel()) <= LABEL, view
    annotation = slicer.app.layoutManager().sliceWidget(view).sliceView().cornerAnnotation()
    return annotation.GetText(vtk.vtkCornerAnnotation.UpperEdge)


def test_all_compared_results_are_reached_page_by_page_with_their_names(
    panel: Any, fill: Callable[..., Any], run: Callable[[], Any]
) -> None:
    import slicer
    from slicer_standin import application, user

    fill("none")
    compare(panel)
    asked = set(panel.request().compared)
    assert len(asked) > 6
    run()
    seen: list[str] = []
    while True:
        views = slicer.app.layoutManager().sliceViewNames()
        assert application.window().window.width == 1280, "the window keeps its size"
        for view in views:
            seen.append(title_of(view))
            (node,) = [one for one in panel.results.results.compared if shown_in(one.own, view)]
            assert node.node.GetAttribute("SFDA.Method") == seen[-1]
        if not panel.ui.nextPageButton.enabled:
            break
        user.click(panel.ui.nextPageButton)
    assert len(seen) == len(set(seen)) == len(asked)
    pages = -(-len(seen) // 6)
    assert panel.ui.pageLabel.text == f"Page {pages} of {pages}"
    user.click(panel.ui.previousPageButton)
    assert panel.ui.pageLabel.text == f"Page {pages - 1} of {pages}"


def test_a_scene_that_was_saved_with_both_opens_with_the_users_layout_or_both(
    panel: Any, fill: Callable[..., Any], run: Callable[[], Any], tmp_path: Path
) -> None:
    import slicer
    from slicer_standin import user

    fill("none")
    run()
    user.click(panel.ui.bothRadio)
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear()
    settle()
    slicer.util.loadScene(str(path))
    settle()
    views = slicer.app.layoutManager().sliceViewNames()
    assert views == ("SFDASource", "SFDAResult")
    assert panel.ui.bothRadio.checked
    assert shown_in(panel.results.results.get("source"), "SFDASource")
    user.click(panel.ui.resultRadio)
    assert layout() == FOUR_UP


@pytest.mark.parametrize("broken", [(0.0, 0.0, 0.0), (float("nan"), 30.0, 1.0)])
def test_views_that_lost_their_field_of_view_show_the_volume_again(
    panel: Any,
    fill: Callable[..., Any],
    run: Callable[[], Any],
    broken: tuple[float, float, float],
) -> None:
    """A view that was fitted before it had a size is saved as no number, and read as 0."""
    from slicer_standin import error_log, user

    fill("none")
    run()
    user.click(panel.ui.bothRadio)
    user.click(panel.ui.resultRadio)
    for view in ("SFDASource", "SFDAResult", "Red"):
        slice_node(view).SetFieldOfView(*broken)
    user.click(panel.ui.bothRadio)
    settle()
    for view in ("SFDASource", "SFDAResult"):
        assert min(slice_node(view).GetFieldOfView()[:2]) > 20, "an extent of the volume"
    error_log.errors.clear()  # VTK logs the plane without extent, even when it is just given one
