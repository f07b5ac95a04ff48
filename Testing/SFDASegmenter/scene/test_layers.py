"""Maps over the image in the views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def test_an_overlay_gives_way_to_what_the_user_had_in_the_foreground(
    segmenter: Any, placed: Callable[[], Any], phantom: Callable[..., Any]
) -> None:
    from SFDASegmenterLib.scene import layers

    slicer = segmenter.slicer
    results = placed().results
    mine = segmenter.load(phantom().image)
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    assert composites, "the views are there"
    for composite in composites:
        composite.SetForegroundVolumeID(mine.GetID())
        composite.SetForegroundOpacity(0.35)
    layers.show_overlay(results.get("entropy"), 0.6, 0.2)
    layers.show_overlay(results.get("nig_uncertainty"), 0.5, 0.1)
    for composite in composites:
        assert composite.GetForegroundVolumeID() == results.get("nig_uncertainty").GetID()
        assert composite.GetForegroundOpacity() == pytest.approx(0.5)
    display = results.get("nig_uncertainty").GetDisplayNode()
    assert display.GetApplyThreshold()
    assert display.GetLowerThreshold() == pytest.approx(0.1)
    layers.hide_overlay()
    for composite in composites:
        assert composite.GetForegroundVolumeID() == mine.GetID()
        assert composite.GetForegroundOpacity() == pytest.approx(0.35)


def test_the_legend_of_the_shown_map_alone_is_visible(
    segmenter: Any, placed: Callable[[], Any]
) -> None:
    from SFDASegmenterLib.scene import layers

    logic = segmenter.slicer.modules.colors.logic()
    results = placed().results
    entropy, nig = results.get("entropy"), results.get("nig_uncertainty")
    layers.show_overlay(entropy, 0.6, 0.2)
    layers.show_overlay(nig, 0.6, 0.2)
    assert not logic.GetColorLegendDisplayNode(entropy).GetVisibility()
    assert logic.GetColorLegendDisplayNode(nig).GetVisibility()
    assert logic.GetColorLegendDisplayNode(entropy).GetTitleText() == "Entropy (bits)"
    layers.hide_overlay()
    assert not logic.GetColorLegendDisplayNode(nig).GetVisibility()
