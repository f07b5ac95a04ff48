"""comparison.png: the results of several methods side by side, and how far every two agree.

Above, the slice on which the results differ most, once for each of the first six; below, the
pairwise Dice of all. Numbers before the names join the two.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from SFDALib.results import drawing
from SFDALib.results.drawing import Picture
from SFDALib.results.slices import around, grey_or_colour, slices_that_say_most, windowed

_MOST_PANELS = 6
_CELL_WIDTH, _CELL_HEIGHT = 0.62, 0.32  # inches
_BLACK_ABOVE = 0.6  # of this Dice cells are too bright for white figures


@dataclass(frozen=True)
class ComparedResult:
    """One method's result.

    Args:
        title: the method, as shown.
        labels: ``(K, J, I)``.
        caption: a line on its volumes.
    """

    title: str
    labels: np.ndarray
    caption: str


@dataclass(frozen=True, kw_only=True)
class ComparisonPicture(Picture):
    """The picture of several results.

    Args:
        results: the methods that worked, at least one.
        dice: ``(N, N)`` between the N results, mean over the classes; NaN is shown as a dash.
        remarks: what else is to be said, such as the methods that failed.
    """

    results: Sequence[ComparedResult]
    dice: np.ndarray
    remarks: Sequence[str] = ()

    @property
    def names(self) -> list[str]:
        """The methods, numbered."""
        return [f"{n}. {result.title}" for n, result in enumerate(self.results, start=1)]


def draw_comparison(path: str | os.PathLike[str], picture: ComparisonPicture) -> None:
    """Write the picture as PNG; the same picture gives the same bytes."""
    with drawing.picture_style():
        figure = _panels(picture)
        drawing.finish_panels(figure)
        drawing.add_titles(figure, picture.title, picture.subtitle)
        drawing.add_legend(figure, picture.labels, [label.name for label in picture.labels])
        _draw_matrix(figure, picture)
        for remark in picture.remarks:
            drawing.add_below(figure, remark)
        drawing.add_below(figure, drawing.FOOTER)
        drawing.save(figure, path)


def _panels(picture: ComparisonPicture) -> Figure:
    """The slice on which the results differ most, once for each of the first results."""
    maps = np.stack([result.labels for result in picture.results])
    is_volume = maps.shape[1] > 1  # a photograph has no patient's sides
    box = around(np.any(maps, axis=0), picture.spacing_kji) if is_volume else ()
    # The smallest and the largest label differ exactly where not all are the same.
    (k,) = slices_that_say_most(maps.min(axis=0), maps.max(axis=0), most=1)
    image = windowed(grey_or_colour(picture.image[(..., *box)]), [k])[0]
    shown = maps[:_MOST_PANELS, k][(slice(None), *box)]

    columns = 2 if len(shown) in (2, 4) else min(len(shown), 3)
    spacing = picture.spacing_kji[1:]
    height, width = (
        drawing.PANEL
        * np.multiply(shown.shape[1:], spacing)
        / max(np.multiply(shown.shape[1:], spacing))
    )
    figure, axes = drawing.panels(-(-len(shown) // columns), columns, height + 0.5, width, gap=0.08)
    for panel, name, result, labels in zip(
        axes.flat, picture.names, picture.results, shown, strict=False
    ):
        panel.set_title(drawing.wrapped(name, width, drawing.TEXT), parse_math=False)
        panel.set_xlabel(drawing.wrapped(result.caption, width, drawing.SMALL), parse_math=False)
        drawing.show(panel, image, spacing)
        drawing.outline(panel, labels, picture.labels)
        if is_volume:
            drawing.show_sides(panel)
            drawing.annotate(panel, 0.02, 0.98, f"slice {k + 1} / {maps.shape[1]}")
    for unused in axes.flat[len(shown) :]:
        unused.remove()
    return figure


def _draw_matrix(figure: Figure, picture: ComparisonPicture) -> None:
    """The Dice between every two results, its rows named and its columns numbered."""
    classes = picture.labels
    of = f"of {classes[0].name}" if len(classes) == 1 else "(mean over the structures)"
    heading = f"Dice {of} between the results"
    drawing.add_below(figure, heading, size=drawing.TEXT, weight="bold", color=drawing.BRIGHT)
    count = len(picture.names)
    axes = drawing.axes_below(figure, count * _CELL_WIDTH, count * _CELL_HEIGHT)
    colours = matplotlib.colormaps["viridis"].with_extremes(bad="#3a3e46")
    axes.imshow(picture.dice, colours, vmin=0, vmax=1, aspect="auto")
    axes.tick_params(length=0, colors=drawing.BRIGHT, labelsize=drawing.TEXT)
    axes.xaxis.tick_top()
    axes.set_xticks(range(count), [str(n + 1) for n in range(count)])
    axes.set_yticks(range(count), picture.names, parse_math=False)
    for (row, column), value in np.ndenumerate(picture.dice):
        axes.text(
            column,
            row,
            f"{value:.2f}" if np.isfinite(value) else "–",
            color="black" if value > _BLACK_ABOVE else "white",
            size=drawing.SMALL + 0.5,
            ha="center",
            va="center",
        )
    drawing.align_left(figure, axes)
