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

from SFDALib.results.drawing import (
    FOOTER,
    GAP,
    MARGIN,
    MUTED,
    NARROWEST,
    PANEL,
    SMALL,
    SMALL_LINE,
    TEXT,
    TEXT_LINE,
    TITLE,
    TITLE_LINE,
    Canvas,
    Picture,
    annotate,
    around,
    grey_or_colour,
    legend_columns,
    outline,
    plain_style,
    show,
    slices_that_say_most,
    text_width,
    windowed,
    wrapped,
)

_MOST_PANELS = 6
_CELL_WIDTH, _CELL_HEIGHT = 0.62, 0.32  # inches
_BLACK_ABOVE = 0.6  # of this Dice cells are too bright for white figures


@dataclass(frozen=True)
class ComparedResult:
    """One method's result: its name as shown, labels ``(K, J, I)``, and a line on its volumes."""

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


def draw_comparison(path: str | os.PathLike[str], picture: ComparisonPicture) -> None:
    """Write the picture as PNG; the same picture gives the same bytes."""
    with plain_style():
        _Drawing(picture).canvas.save(path)


class _Drawing:
    """The figure, laid out from top to bottom."""

    def __init__(self, picture: ComparisonPicture) -> None:
        self.picture = picture
        self.names = [f"{n}. {result.title}" for n, result in enumerate(picture.results, start=1)]
        maps = np.stack([result.labels for result in picture.results])
        self.is_volume = maps.shape[1] > 1  # a photograph has no patient axes
        box = around(maps.any(axis=0), picture.spacing_kji) if self.is_volume else ()
        # The smallest and the largest label differ exactly where not all are the same.
        (self.slice,) = slices_that_say_most(maps.min(axis=0), maps.max(axis=0), most=1)
        image = grey_or_colour(picture.image[(..., *box)])
        self.image = windowed(image, [self.slice])[0]
        self.shown = maps[:_MOST_PANELS, self.slice][(slice(None), *box)]

        count = len(self.shown)
        self.columns = 2 if count in (2, 4) else min(count, 3)
        _, dy, dx = picture.spacing_kji
        rows, columns = self.shown.shape[1:]
        scale = PANEL / max(rows * dy, columns * dx)
        self.panel_width, self.panel_height = columns * dx * scale, rows * dy * scale
        self.column_width = max(self.panel_width, PANEL)
        grid_width = self.columns * (self.column_width + GAP) - GAP
        self.width = max(grid_width, NARROWEST, self._matrix_width()) + 2 * MARGIN
        self.grid_left = (self.width - grid_width) / 2
        self._lay_out_and_draw()

    def _matrix_width(self) -> float:
        self.names_width = max(text_width(name, TEXT) for name in self.names) + 0.15
        return self.names_width + len(self.names) * _CELL_WIDTH

    def _lay_out_and_draw(self) -> None:
        picture, width = self.picture, self.width - 2 * MARGIN
        title = wrapped(picture.title, width, TITLE, "bold")
        subtitle = wrapped(picture.subtitle, width, TEXT)
        headings = [
            wrapped(name, self.column_width, TEXT, "bold") for name in self.names[:_MOST_PANELS]
        ]
        captions = [
            wrapped(result.caption, self.column_width, SMALL)
            for result in picture.results[:_MOST_PANELS]
        ]
        legend = legend_columns(picture.labels, [label.name for label in picture.labels], width)
        remarks = [line for text in picture.remarks for line in wrapped(text, width, SMALL)]
        heading_height = max(map(len, headings)) * TEXT_LINE + 0.04
        row_height = heading_height + self.panel_height + max(map(len, captions)) * SMALL_LINE + 0.2

        subtitle_top = MARGIN + len(title) * TITLE_LINE
        grid_top = subtitle_top + len(subtitle) * TEXT_LINE + 0.15
        rows = -(-len(self.shown) // self.columns)
        legend_top = grid_top + rows * row_height
        matrix_top = legend_top + max(map(len, legend), default=0) * TEXT_LINE + 0.2
        cells_top = matrix_top + 2 * TEXT_LINE + 0.05
        remarks_top = cells_top + len(self.names) * _CELL_HEIGHT + 0.2
        footer_top = remarks_top + len(remarks) * SMALL_LINE + 0.1
        self.canvas = Canvas(self.width, footer_top + SMALL_LINE + MARGIN / 2)

        write = self.canvas.write
        write(MARGIN, MARGIN, title, TITLE_LINE, size=TITLE, weight="bold")
        write(MARGIN, subtitle_top, subtitle, TEXT_LINE, color=MUTED)
        small = {"size": SMALL, "color": MUTED}
        for index, (heading, caption) in enumerate(zip(headings, captions, strict=True)):
            row, column = divmod(index, self.columns)
            left, top = self._column_left(column), grid_top + row * row_height
            middle, panel_top = left + self.column_width / 2, top + heading_height
            write(middle, top, heading, TEXT_LINE, weight="bold", ha="center")
            self._draw_result(index, left, panel_top)
            caption_top = panel_top + self.panel_height + 0.05
            write(middle, caption_top, caption, SMALL_LINE, ha="center", **small)
        self.canvas.legend(legend, legend_top)
        self._draw_matrix(matrix_top, cells_top)
        write(MARGIN, remarks_top, remarks, SMALL_LINE, **small)
        write(MARGIN, footer_top, [FOOTER], SMALL_LINE, **small)

    def _column_left(self, column: int) -> float:
        return self.grid_left + column * (self.column_width + GAP)

    def _draw_result(self, index: int, left: float, top: float) -> None:
        left += (self.column_width - self.panel_width) / 2
        axes = self.canvas.panel(left, top, self.panel_width, self.panel_height, self.is_volume)
        show(axes, self.image)
        outline(axes, self.shown[index], self.picture.labels)
        if self.is_volume:
            count = self.picture.results[index].labels.shape[0]
            annotate(axes, 0.02, 0.98, f"slice {self.slice + 1} / {count}")

    def _draw_matrix(self, top: float, cells_top: float) -> None:
        classes = self.picture.labels
        of = f"of {classes[0].name}" if len(classes) == 1 else "(mean over the structures)"
        heading = f"Dice {of} between the results"
        self.canvas.write(MARGIN, top, [heading], TEXT_LINE, weight="bold")
        count, left = len(self.names), MARGIN + self.names_width
        axes = self.canvas.axes(left, cells_top, count * _CELL_WIDTH, count * _CELL_HEIGHT)
        axes.set_axis_off()
        colours = matplotlib.colormaps["viridis"].with_extremes(bad="#3a3e46")
        axes.imshow(self.picture.dice, colours, vmin=0, vmax=1, aspect="auto")
        for row, name in enumerate(self.names):
            middle = cells_top + (row + 0.5) * _CELL_HEIGHT - 0.07
            self.canvas.write(MARGIN, middle, [name], TEXT_LINE)
            number_left = left + (row + 0.5) * _CELL_WIDTH
            number_top = cells_top - TEXT_LINE
            self.canvas.write(number_left, number_top, [str(row + 1)], TEXT_LINE, ha="center")
            for column in range(count):
                value = self.picture.dice[row, column]
                text = f"{value:.2f}" if np.isfinite(value) else "–"
                colour = "black" if value > _BLACK_ABOVE else "white"
                axes.text(
                    column, row, text, color=colour, size=SMALL + 0.5, ha="center", va="center"
                )
