"""What the views show of a run: a map over the image, and segmentations, each in its views.

What the user had in the foreground is kept with each view, in the scene, and put back when the
overlay is switched off.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import slicer
from slicer.i18n import tr as _

from SFDALib.results import layout
from SFDASegmenterLib.scene.results import ROLE, Results, results_in_scene
from SFDASegmenterLib.scene.views import Named

KEPT = "SFDA.foreground"  # reference of a composite node to what the user had there
KEPT_OPACITY = "SFDA.ForegroundOpacity"  # its attribute; present while an overlay is shown
MOST = 6  # views at once
LEGEND = (0.07, 0.4)  # width and height in parts of the view: Slicer fits the texts to the width


def show_overlay(
    volume: slicer.vtkMRMLScalarVolumeNode, opacity: float, threshold: float | None
) -> None:
    """Show a volume over the image in every slice view.

    Args:
        volume: a map, or a sample.
        opacity: 0 is invisible, 1 hides the image.
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


def show_segmentations(results: Results, shown: str, page: int = 0) -> None:
    """Show the result ("result"), the source model's ("source"), or those of ``in_views`` each in
    its own view ("both", "all"), and no other run's.
    """
    hide_segmentations()
    if shown in ("result", "source"):
        _show(results.node if shown == "result" else results.get("source"))
        return
    for view, (_named, node) in in_views(results, shown, page).items():
        _show(node, f"vtkMRMLSliceNode{view}")


def in_views(
    results: Results, shown: str, page: int = 0
) -> dict[str, tuple[Named, slicer.vtkMRMLSegmentationNode | None]]:
    """What stands in each of the views beside each other, by the view's name.

    "both" are the source model's and the method's own; "all" are the compared methods' own, as many
    as there is room for on a page.
    """
    if shown == "both":
        return {
            "SFDASource": (Named(_("S"), _("Source model")), results.get("source")),
            "SFDAResult": (Named(_("R"), _method(results)), results.own),
        }
    first = page * MOST
    return {
        f"SFDAMethod{number}": (Named(str(first + number), _method(one)), one.own)
        for number, one in enumerate(results.compared[first : first + MOST], start=1)
    }


def _method(results: Results) -> str:
    return results.node.GetAttribute("SFDA.Method") or results.node.GetName()


def pages(results: Results) -> int:
    """How many pages of views all compared results take."""
    return math.ceil(len(results.compared) / MOST)


def hide_segmentations() -> None:
    """Hide those of all runs, as others are to be shown."""
    for one in results_in_scene():
        for node in (one.node, one.own, one.get("source")):
            display = node.GetDisplayNode() if node is not None else None
            if display is not None:
                display.RemoveAllViewNodeIDs()
                display.SetVisibility(False)


def show_surface(results: Results, shown: str, on: bool) -> None:
    """Show the segmentation in 3D, too, or not; its surface is made when first wanted."""
    node = results.get("source") if shown == "source" else results.node
    if node is None or node.GetDisplayNode() is None:
        return
    if on:
        node.CreateClosedSurfaceRepresentation()
    node.GetDisplayNode().SetVisibility3D(on)


def _show(node: slicer.vtkMRMLSegmentationNode | None, view: str | None = None) -> None:
    display = node.GetDisplayNode() if node is not None else None
    if display is None:
        return
    if view is not None:
        display.AddViewNodeID(view)
    display.SetVisibility(True)


def _show_legend(volume: slicer.vtkMRMLScalarVolumeNode | None) -> None:
    """Show the colour legend of this map alone."""
    logic = slicer.modules.colors.logic()
    for node in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode"):
        shown = node.GetDisplayableNode()
        if shown is not None and shown.GetAttribute(ROLE) in layout.maps():
            node.SetVisibility(False)
    if volume is None:
        return
    legend = logic.GetColorLegendDisplayNode(volume)
    if legend is None:
        legend = logic.AddDefaultColorLegendDisplayNode(volume)
        legend.SetTitleText(layout.maps()[volume.GetAttribute(ROLE)].legend)
        legend.SetLabelFormat("%.2f")
        legend.SetUseColorNamesForLabels(False)
        legend.SetNumberOfLabels(5)
        legend.SetSize(*LEGEND)
    legend.SetVisibility(True)


def _composites() -> Iterator[slicer.vtkMRMLSliceCompositeNode]:
    yield from slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
