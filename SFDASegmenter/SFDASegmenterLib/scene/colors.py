"""Colour tables for the uncertainty maps, matplotlib's inferno and viridis: dark is low.

Both rise steadily in lightness, so that they also read in grey and for the colour-blind. They are
made here because the nodes of that name differ between versions of Slicer, or are absent.
"""

from __future__ import annotations

import slicer

STEPS = 256
# Colours at equal distances, RGB 0 to 1, by matplotlib's name.
ANCHORS = {
    "inferno": (  # from black over violet and orange to pale yellow
        (0.00, 0.00, 0.02),
        (0.16, 0.04, 0.33),
        (0.42, 0.09, 0.43),
        (0.66, 0.18, 0.37),
        (0.86, 0.32, 0.22),
        (0.97, 0.55, 0.06),
        (0.98, 0.79, 0.21),
        (0.98, 0.99, 0.65),
    ),
    "viridis": (  # from dark violet over teal to yellow
        (0.27, 0.00, 0.33),
        (0.27, 0.20, 0.50),
        (0.21, 0.36, 0.55),
        (0.15, 0.51, 0.56),
        (0.13, 0.66, 0.51),
        (0.35, 0.78, 0.38),
        (0.68, 0.86, 0.19),
        (0.99, 0.91, 0.14),
    ),
}


def color_node(colormap: str) -> slicer.vtkMRMLColorTableNode:
    """The scene's colour table for a colour map, made if it is not there.

    Args:
        colormap: matplotlib's name; one without anchors here is shown as inferno.
    """
    anchors = ANCHORS.get(colormap, ANCHORS["inferno"])
    name = f"SFDA {colormap}"
    node = slicer.mrmlScene.GetFirstNodeByName(name)
    if node is not None:
        return node
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode", name)
    node.SetTypeToUser()
    node.SetNumberOfColors(STEPS)
    node.GetLookupTable().SetTableRange(0, STEPS - 1)
    for step in range(STEPS):
        place = step / (STEPS - 1) * (len(anchors) - 1)
        below = min(int(place), len(anchors) - 2)
        share = place - below
        red, green, blue = (
            (1 - share) * a + share * b
            for a, b in zip(anchors[below], anchors[below + 1], strict=True)
        )
        node.SetColor(step, f"{step / (STEPS - 1):.3f}", red, green, blue, 1.0)
    node.SetAttribute("Category", "SFDA")
    return node
