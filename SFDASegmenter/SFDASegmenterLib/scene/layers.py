"""What the slice views show: an overlay in the foreground, and linked views beside each other.

What the user had in the foreground is kept with each view, in the scene, and put back when the
overlay is switched off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from xml.sax.saxutils import escape

import slicer

from SFDASegmenterLib.scene.results import MAPS, Results

KEPT = "SFDA.foreground"  # reference of a composite node to what the user had there
KEPT_OPACITY = "SFDA.ForegroundOpacity"  # its attribute; present while an overlay is shown
SIDE_BY_SIDE = 20260  # number of the layout of two views
COMPARISON = SIDE_BY_SIDE + 1  # number of the layout of a view for each method
MOST = 6  # views at once
COLUMNS = 3
TWO_VIEWS = ("SFDASource", "SFDAResult")
COLORS = ("#7F8C8D", "#2E86C1", "#16A085", "#8E44AD", "#D68910", "#CB4335")


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
    """Show the result ("result"), the source model's ("source"), or those of ``in_views`` each in
    its own view ("both", "all").
    """
    hide_segmentations(results)
    if shown in ("result", "source"):
        node = results.node if shown == "result" else results.get("source")
        if node is not None and node.GetDisplayNode() is not None:
            node.GetDisplayNode().SetVisibility(True)
        return
    for view, (_title, node) in in_views(results, shown).items():
        if node is not None and node.GetDisplayNode() is not None:
            node.GetDisplayNode().AddViewNodeID(f"vtkMRMLSliceNode{view}")
            node.GetDisplayNode().SetVisibility(True)


def in_views(
    results: Results, shown: str
) -> dict[str, tuple[str, slicer.vtkMRMLSegmentationNode | None]]:
    """What stands in each of the views beside each other: the view's label, and a segmentation.

    "both" are the source model's and the method's own; "all" are the compared methods' own.
    """
    if shown == "both":
        pairs = [("Source model", results.get("source")), ("Result", results.own)]
        return dict(zip(TWO_VIEWS, pairs, strict=True))
    compared = results.compared[:MOST]
    return {
        f"SFDAMethod{number}": (one.node.GetAttribute("SFDA.Method"), one.own)
        for number, one in enumerate(compared, start=1)
    }


def hide_segmentations(results: Results) -> None:
    """Hide all of the run's, as others are to be shown."""
    nodes = [node for one in results.compared for node in (one.node, one.own, one.get("source"))]
    for node in nodes:
        if node is not None and node.GetDisplayNode() is not None:
            node.GetDisplayNode().RemoveAllViewNodeIDs()
            node.GetDisplayNode().SetVisibility(False)


def register_layout() -> None:
    """Make the layout of the two views known, so that a scene that was saved with it opens."""
    layout = _layout_node()
    if layout is not None:
        titles = dict(zip(TWO_VIEWS, ("Source model", "Result"), strict=True))
        _describe(layout, SIDE_BY_SIDE, _description(titles))


def show_side_by_side(results: Results, shown: str = "both") -> None:
    """Linked slice views beside each other, see ``in_views``.

    Without a main window there are no views, and nothing happens.
    """
    layout = _layout_node()
    if layout is None:
        return
    titles = {view: title for view, (title, _node) in in_views(results, shown).items()}
    number = SIDE_BY_SIDE if shown == "both" else COMPARISON
    _describe(layout, number, _description(titles))
    if layout.GetViewArrangement() != number:
        if not _is_ours(layout):
            layout.SetAttribute("SFDA.LayoutBefore", str(layout.GetViewArrangement()))
        layout.SetViewArrangement(number)
    logic = slicer.app.applicationLogic()
    for view in titles:
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
    if layout is not None and _is_ours(layout):
        layout.SetViewArrangement(int(layout.GetAttribute("SFDA.LayoutBefore") or 0))


def _is_ours(layout: slicer.vtkMRMLLayoutNode) -> bool:
    return layout.GetViewArrangement() in (SIDE_BY_SIDE, COMPARISON)


def _describe(layout: slicer.vtkMRMLLayoutNode, number: int, description: str) -> None:
    """Make a layout known, or change it as other methods were compared."""
    if not layout.IsLayoutDescription(number):
        layout.AddLayoutDescription(number, description)
    elif layout.GetLayoutDescription(number) != description:
        layout.SetLayoutDescription(number, description)


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


def _description(titles: Mapping[str, str]) -> str:
    """The layout of these views, in rows of ``COLUMNS``."""
    views = [
        f'<item><view class="vtkMRMLSliceNode" singletontag="{tag}">'
        f'<property name="orientation" action="default">Axial</property>'
        f'<property name="viewlabel" action="default">{escape(title)}</property>'
        f'<property name="viewcolor" action="default">{color}</property>'
        "</view></item>"
        for (tag, title), color in zip(titles.items(), COLORS, strict=False)
    ]
    rows = ["".join(views[at : at + COLUMNS]) for at in range(0, len(views), COLUMNS)]
    inside = [f'<layout type="horizontal" split="true">{row}</layout>' for row in rows]
    if len(inside) == 1:
        return inside[0]
    items = "".join(f"<item>{row}</item>" for row in inside)
    return f'<layout type="vertical" split="true">{items}</layout>'
