"""overview.png: one picture that says what changed, where the model was unsure, and how much.

Rows are the slices on which source and final result differ most, columns the source model's
result, the final one, the uncertainty and the selected sample. Axial slices are shown as
radiologists look at them: from the feet, the patient's right on the viewer's left.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from SFDALib.results.drawing import (
    DASHED,
    FOOTER,
    GAP,
    MARGIN,
    MUTED,
    NARROWEST,
    NARROWEST_COLUMN,
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
    windowed,
    wrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_LONE_PANEL = 4.4  # inches


@dataclass(frozen=True, kw_only=True)
class Overview(Picture):
    """The picture of one result.

    Args:
        source_labels, final_labels: ``(K, J, I)``, values of ``labels``.
        volumes: one text per label, such as "1320 ml → 1410 ml (+7 %)".
        uncertainty: ``(K, J, I)``; values at the range's lower end are transparent.
        uncertainty_name, uncertainty_unit: as on the colour bar, such as "Entropy", "bits".
        uncertainty_range: the fixed window, so that pictures of two runs can be compared.
        sample: ``(K, J, I)``, the selected sample of the diffusion model.
        sample_caption: such as "sample 3 of 6, S = 0.42".
    """

    source_labels: np.ndarray
    final_labels: np.ndarray
    volumes: Sequence[str]
    uncertainty: np.ndarray | None = None
    uncertainty_name: str = "Entropy"
    uncertainty_unit: str = "bits"
    uncertainty_range: tuple[float, float] = (0.0, 1.0)
    sample: np.ndarray | None = None
    sample_caption: str = ""


def draw_overview(path: str | os.PathLike[str], overview: Overview) -> None:
    """Write the picture as PNG; the same overview gives the same bytes."""
    with plain_style():
        _Drawing(overview).canvas.save(path)


class _Drawing:
    """The figure, laid out in inches from its top left corner."""

    def __init__(self, overview: Overview) -> None:
        self.is_volume = overview.source_labels.shape[0] > 1  # a photograph has no patient axes
        if self.is_volume:
            overview = _around_labels(overview)
        self.overview = overview
        self.slices = slices_that_say_most(overview.source_labels, overview.final_labels)
        self.headings = ["Source model", "Final result"]
        self.captions = ["dashed outline", "solid outline"]
        if np.array_equal(overview.source_labels, overview.final_labels):
            self.captions[1] += "; no voxel differs from the source model's"
        if overview.uncertainty is not None:
            self.headings.append(overview.uncertainty_name)
            self.captions.append("")  # the colour bar lies there
        if overview.sample is not None:
            self.headings.append("Selected sample")
            self.captions.append(overview.sample_caption)

        _, rows, columns = overview.source_labels.shape
        _, dy, dx = overview.spacing_kji
        scale = (PANEL if len(self.slices) > 1 else _LONE_PANEL) / max(rows * dy, columns * dx)
        self.panel_width, self.panel_height = columns * dx * scale, rows * dy * scale
        self.column_width = max(self.panel_width, NARROWEST_COLUMN)
        grid_width = len(self.headings) * (self.column_width + GAP) - GAP
        self.width = max(grid_width, NARROWEST) + 2 * MARGIN
        self.grid_left = (self.width - grid_width) / 2
        self._lay_out_and_draw()

    def _lay_out_and_draw(self) -> None:
        text_width = self.width - 2 * MARGIN
        title = wrapped(self.overview.title, text_width, TITLE, "bold")
        subtitle = wrapped(self.overview.subtitle, text_width, TEXT)
        captions = [wrapped(caption, self.column_width, SMALL) for caption in self.captions]
        colour_bar_lines = 0 if self.overview.uncertainty is None else 3
        texts = [
            f"{label.name}: {volume}"
            for label, volume in zip(self.overview.labels, self.overview.volumes, strict=True)
        ]
        legend = legend_columns(self.overview.labels, texts, text_width)

        subtitle_top = MARGIN + len(title) * TITLE_LINE
        headings_top = subtitle_top + len(subtitle) * TEXT_LINE + 0.15
        grid_top = headings_top + TEXT_LINE + 0.04
        captions_top = grid_top + len(self.slices) * (self.panel_height + GAP) + 0.02
        legend_top = captions_top + max(colour_bar_lines, *map(len, captions)) * SMALL_LINE + 0.25
        footer_top = legend_top + max(map(len, legend), default=0) * TEXT_LINE + 0.15
        height = footer_top + SMALL_LINE + MARGIN / 2
        self.canvas = Canvas(self.width, height)

        self.canvas.write(MARGIN, MARGIN, title, TITLE_LINE, size=TITLE, weight="bold")
        self.canvas.write(MARGIN, subtitle_top, subtitle, TEXT_LINE, color=MUTED)
        for column, heading in enumerate(self.headings):
            middle = self._column_left(column) + self.column_width / 2
            self.canvas.write(
                middle, headings_top, [heading], TEXT_LINE, weight="bold", ha="center"
            )
            small = {"size": SMALL, "color": MUTED, "ha": "center"}
            self.canvas.write(middle, captions_top, captions[column], SMALL_LINE, **small)
        self._draw_panels(grid_top)
        if self.overview.uncertainty is not None:
            self._draw_colour_bar(captions_top + 0.03)
        self.canvas.legend(legend, legend_top)
        self.canvas.write(MARGIN, footer_top, [FOOTER], SMALL_LINE, size=SMALL, color=MUTED)

    def _draw_panels(self, grid_top: float) -> None:
        overview = self.overview
        image = windowed(grey_or_colour(overview.image), self.slices)
        if overview.sample is not None:
            sample = windowed(overview.sample, self.slices)
        for row, k in enumerate(self.slices):
            top = grid_top + row * (self.panel_height + GAP)
            panels = iter([self._panel(column, top) for column in range(len(self.headings))])
            source, final = overview.source_labels[k], overview.final_labels[k]

            axes = next(panels)
            show(axes, image[row])
            outline(axes, source, overview.labels, linestyles=[DASHED])
            if self.is_volume:
                annotate(axes, 0.02, 0.98, f"slice {k + 1} / {overview.source_labels.shape[0]}")

            axes = next(panels)
            show(axes, image[row])
            outline(axes, final, overview.labels)

            if overview.uncertainty is not None:
                axes = next(panels)
                show(axes, 0.6 * image[row])
                show(axes, self._uncertainty_colours(overview.uncertainty[k]))

            if overview.sample is not None:
                show(next(panels), sample[row])

    def _panel(self, column: int, top: float) -> Axes:
        left = self._column_left(column) + (self.column_width - self.panel_width) / 2
        return self.canvas.panel(left, top, self.panel_width, self.panel_height, self.is_volume)

    def _uncertainty_colours(self, uncertainty: np.ndarray) -> np.ndarray:
        """RGBA ``(J, I, 4)``: transparent at the window's lower end, so that anatomy stays seen."""
        share = Normalize(*self.overview.uncertainty_range, clip=True)(uncertainty).filled()
        colours = matplotlib.colormaps["inferno"](share)
        colours[..., 3] = np.clip(share / 0.25, 0, 1)
        return colours

    def _draw_colour_bar(self, top: float) -> None:
        overview = self.overview
        low, high = overview.uncertainty_range
        width = min(self.column_width, 2.2)
        left = self._column_left(2) + (self.column_width - width) / 2
        colours = ScalarMappable(Normalize(low, high), "inferno")
        axes = self.canvas.axes(left, top, width, 0.1)
        bar = self.canvas.figure.colorbar(
            colours, axes, orientation="horizontal", ticks=[low, (low + high) / 2, high]
        )
        bar.outline.set_visible(False)
        axes.tick_params(colors=MUTED, labelsize=SMALL, length=2, pad=1)
        label = f"{overview.uncertainty_name} ({overview.uncertainty_unit})"
        style = {"size": SMALL, "color": MUTED, "ha": "center"}
        self.canvas.write(left + width / 2, top + 0.3, [label], SMALL_LINE, **style)

    def _column_left(self, column: int) -> float:
        return self.grid_left + column * (self.column_width + GAP)


def _around_labels(overview: Overview) -> Overview:
    labelled = (overview.source_labels > 0) | (overview.final_labels > 0)
    box = around(labelled, overview.spacing_kji)
    arrays = ("image", "source_labels", "final_labels", "uncertainty", "sample")
    shown = {name: getattr(overview, name) for name in arrays}
    cut = {name: array[..., *box] for name, array in shown.items() if array is not None}
    return replace(overview, **cut)
