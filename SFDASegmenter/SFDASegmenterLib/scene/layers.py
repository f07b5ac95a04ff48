"""What the slice views show: an overlay in the foreground, and two linked views side by side.

What the user had in the foreground is kept with each view, in the scene, and put back when the
overlay is switched off.
"""

from __future__ import annotations

from collections.abc import Iterator

import slicer

from SFDASegmenterLib.scene.results import MAPS, Results

KEPT = "SFDA.foreground"  # reference of a composite node to what the user had there
KEPT_OPACITY = "SFDA.ForegroundOpacity"  # its attribute; present while an overlay is shown
SIDE_BY_SIDE = 20260  # number of the layout
VIEWS = {"SFDASource": "Source model", "SFDAResult": "Result"}


def show_overlay(
    volume: slicer.vtkMRMLScalarVolumeNode, opacity: float, threshold: float | None
) -> None:
    """Show a volume over the image in every slice view.

    Args:
        threshold: values up to here are transparent; None shows all of them.
    """
    display = volume.GetScalarVolumeDisplayNode()
    if threshold is None:
        display.ApplyThresholdOff()
    else:
        display.AutoThresholdOff()
        # A hair above, as the zeros of a map are to be hidden at threshold 0.
        display.SetThreshold(max(threshold, 1e-6), max(display.GetWindowLevelMax(), 1.0) * 2)
        display.ApplyThresholdOn()
    for composite in _composites():
        if composite.GetAttribute(KEPT_OPACITY) is None:
            composite.SetNodeReferenceID(KEPT, composite.GetForegroundVolumeID())
            composite.SetAttribute(KEPT_OPACITY, f"{composite.GetForegroundOpacity():.6g}")
        composite.SetForegroundVolumeID(volume.GetID())
        composite.SetForegroundOpacity(opacity)
    _show_legend(volume if threshold is not None else None)


def hide_overlay() -> None:
    """Put back what the user had in the foreground."""
    for composite in _composites():
        opacity = composite.GetAttribute(KEPT_OPACITY)
        if opacity is None:
            continue
        composite.SetForegroundVolumeID(composite.GetNodeReferenceID(KEPT))
        composite.SetForegroundOpacity(float(opacity))
        composite.RemoveAttribute(KEPT_OPACITY)
        composite.RemoveNodeReferenceIDs(KEPT)
    _show_legend(None)


def show_segmentations(results: Results, shown: str) -> None:
    """Show the result ("result"), the source model's ("source"), or each in a view ("both")."""
    source = results.get("source")
    for node, role, view in (
        (results.node, "result", "SFDAResult"),
        (source, "source", "SFDASource"),
    ):
        display = node.GetDisplayNode() if node is not None else None
        if display is None:
            continue
        display.RemoveAllViewNodeIDs()
        if shown == "both":
            display.AddViewNodeID(f"vtkMRMLSliceNode{view}")
        display.SetVisibility(shown in (role, "both"))


def hide_segmentations(results: Results) -> None:
    """Hide both, as another run's are to be shown."""
    for node in (results.node, results.get("source")):
        if node is not None and node.GetDisplayNode() is not None:
            node.GetDisplayNode().RemoveAllViewNodeIDs()
            node.GetDisplayNode().SetVisibility(False)


def register_layout() -> None:
    """Make the layout of the two views known, so that a scene that was saved with it opens."""
    layout = _layout_node()
    if layout is not None and not layout.IsLayoutDescription(SIDE_BY_SIDE):
        layout.AddLayoutDescription(SIDE_BY_SIDE, _description())


def show_side_by_side(results: Results) -> None:
    """Two linked slice views, the source model's result at the left and the result at the right.

    Without a main window there are no views, and nothing happens.
    """
    register_layout()
    layout = _layout_node()
    if layout is None:
        return
    if layout.GetViewArrangement() != SIDE_BY_SIDE:
        layout.SetAttribute("SFDA.LayoutBefore", str(layout.GetViewArrangement()))
        layout.SetViewArrangement(SIDE_BY_SIDE)
    logic = slicer.app.applicationLogic()
    for view in VIEWS:
        slice_logic = logic.GetSliceLogicByLayoutName(view)
        if slice_logic is None or results.input is None:
            continue
        composite = slice_logic.GetSliceCompositeNode()
        composite.SetLinkedControl(True)
        composite.SetHotLinkedControl(True)
        if composite.GetBackgroundVolumeID() != results.input.GetID():
            composite.SetBackgroundVolumeID(results.input.GetID())
            slice_logic.FitSliceToBackground()


def leave_side_by_side() -> None:
    """Back to the layout that the user had."""
    layout = _layout_node()
    if layout is None or layout.GetViewArrangement() != SIDE_BY_SIDE:
        return
    layout.SetViewArrangement(int(layout.GetAttribute("SFDA.LayoutBefore") or 0))


def show_plots(chart: slicer.vtkMRMLPlotChartNode) -> None:
    """A plot beside the views; nothing without a main window."""
    layout = _layout_node()
    if layout is None:
        return
    selection = slicer.app.applicationLogic().GetSelectionNode()
    selection.SetActivePlotChartID(chart.GetID())
    slicer.app.applicationLogic().PropagatePlotChartSelection()
    layout.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotView)


def show_input(results: Results) -> None:
    """Put the input behind the overlays in views that show nothing yet."""
    if results.input is None:
        return
    for composite in _composites():
        if not composite.GetBackgroundVolumeID():
            composite.SetBackgroundVolumeID(results.input.GetID())


def _show_legend(volume: slicer.vtkMRMLScalarVolumeNode | None) -> None:
    """Show the colour legend of this map alone."""
    logic = slicer.modules.colors.logic()
    for node in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode"):
        shown = node.GetDisplayableNode()
        if shown is not None and shown.GetAttribute("SFDA.Role") in MAPS:
            node.SetVisibility(False)
    if volume is None:
        return
    legend = logic.GetColorLegendDisplayNode(volume)
    if legend is None:
        legend = logic.AddDefaultColorLegendDisplayNode(volume)
        legend.SetTitleText(MAPS[volume.GetAttribute("SFDA.Role")].title)
        legend.SetLabelFormat("%.2f")
        legend.SetUseColorNamesForLabels(False)
        legend.SetNumberOfLabels(5)
    legend.SetVisibility(True)


def _composites() -> Iterator[slicer.vtkMRMLSliceCompositeNode]:
    yield from slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")


def _layout_node() -> slicer.vtkMRMLLayoutNode | None:
    manager = slicer.app.layoutManager()
    return manager.layoutLogic().GetLayoutNode() if manager is not None else None


def _description() -> str:
    views = "".join(
        f'<item><view class="vtkMRMLSliceNode" singletontag="{tag}">'
        f'<property name="orientation" action="default">Axial</property>'
        f'<property name="viewlabel" action="default">{title[0]}</property>'
        f'<property name="viewcolor" action="default">{color}</property>'
        "</view></item>"
        for (tag, title), color in zip(VIEWS.items(), ("#7F8C8D", "#2E86C1"), strict=True)
    )
    return f'<layout type="horizontal" split="true">{views}</layout>'
