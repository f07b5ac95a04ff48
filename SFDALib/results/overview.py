"""overview.png: one picture that says what changed, where the model was unsure, and how much.

Rows are the slices on which source and final result differ most, columns the source model's
result, the final one, the uncertainty and the selected sample. Axial slices are shown as
radiologists look at them: from the feet, the patient's right on the viewer's left.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from SFDALib.results import drawing, layout
from SFDALib.results.drawing import Picture
from SFDALib.results.slices import around, grey_or_colour, slices_that_say_most, windowed

_LONE_PANEL = 4.4  # inches, where there is one row


@dataclass(frozen=True, kw_only=True)
class Overview(Picture):
    """The picture of one result.

    Args:
        source_labels, final_labels: ``(K, J, I)``, values of ``labels``.
        volumes: one text per label, such as "1320 → 1410 ml (+7 %)".
        uncertainty: ``(K, J, I)``; values at the window's lower end are transparent.
        uncertainty_map: which map that is: its title, unit and colours.
        uncertainty_window: the values of the first and the last colour.
        sample: ``(K, J, I)``, the selected sample of the diffusion model.
        sample_caption: such as "Sample 3 of 6, S = 0.42".
    """

    source_labels: np.ndarray
    final_labels: np.ndarray
    volumes: Sequence[str]
    uncertainty: np.ndarray | None = None
    uncertainty_map: layout.MapFile = layout.ENTROPY
    uncertainty_window: tuple[float, float] = (0.0, 1.0)
    sample: np.ndarray | None = None
    sample_caption: str = ""

    @property
    def is_volume(self) -> bool:
        """Whether there are axial slices; a photograph has no patient's sides."""
        return self.source_labels.shape[0] > 1

    @property
    def column_titles(self) -> list[tuple[str, str]]:
        """Heading and caption of each column."""
        unchanged = np.array_equal(self.source_labels, self.final_labels)
        final = "solid outline" + "; no voxel differs from the source model's" * unchanged
        columns = [("Source model", "dashed outline"), ("Final result", final)]
        if self.uncertainty is not None:
            columns.append((self.uncertainty_map.title, ""))  # the colour bar is its caption
        if self.sample is not None:
            columns.append(("Selected sample", self.sample_caption))
        return columns


def draw_overview(path: str | os.PathLike[str], overview: Overview) -> None:
    """Write the picture as PNG; the same overview gives the same bytes."""
    if overview.is_volume:
        overview = _around_labels(overview)
    with drawing.picture_style():
        figure = _panels(overview)
        drawing.finish_panels(figure)
        drawing.add_titles(figure, overview.title, overview.subtitle)
        texts = [
            f"{label.name}: {volume}"
            for label, volume in zip(overview.labels, overview.volumes, strict=True)
        ]
        drawing.add_legend(figure, overview.labels, texts)
        drawing.add_below(figure, drawing.FOOTER)
        drawing.save(figure, path)


def _panels(overview: Overview) -> Figure:
    """A row for each slice, a column for each kind of picture, and the colour bar."""
    slices = slices_that_say_most(overview.source_labels, overview.final_labels)
    columns = overview.column_titles
    height, width = np.multiply(overview.source_labels.shape[1:], overview.spacing_kji[1:])
    scale = (drawing.PANEL if len(slices) > 1 else _LONE_PANEL) / max(height, width)
    figure, axes = drawing.panels(len(slices), len(columns), height * scale, width * scale)
    image = windowed(grey_or_colour(overview.image), slices)
    sample = None if overview.sample is None else windowed(overview.sample, slices)
    for row, k in enumerate(slices):
        _draw_row(list(axes[row]), overview, k, image[row], None if sample is None else sample[row])
    for top, bottom, (heading, caption) in zip(axes[0], axes[-1], columns, strict=True):
        top.set_title(heading)
        bottom.set_xlabel(
            drawing.wrapped(caption, max(width * scale, 1.2), drawing.SMALL), parse_math=False
        )
    if overview.uncertainty is not None:
        _draw_colour_bar(figure, list(axes[:, 2]), overview)
    return figure


def _draw_row(
    axes: list[Axes], overview: Overview, k: int, image: np.ndarray, sample: np.ndarray | None
) -> None:
    """One slice in every column.

    Args:
        axes: of the row.
        k: the slice.
        image, sample: the slice in 0..1.
    """
    spacing, remaining = overview.spacing_kji[1:], iter(axes)
    source, final = next(remaining), next(remaining)
    drawing.show(source, image, spacing)
    drawing.outline(source, overview.source_labels[k], overview.labels, linestyles=[drawing.DASHED])
    drawing.show(final, image, spacing)
    drawing.outline(final, overview.final_labels[k], overview.labels)
    if overview.uncertainty is not None:
        panel = next(remaining)
        drawing.show(panel, 0.6 * image, spacing)
        drawing.show(panel, _uncertainty_colours(overview, overview.uncertainty[k]), spacing)
    if sample is not None:
        drawing.show(next(remaining), sample, spacing)
    if overview.is_volume:
        count = overview.source_labels.shape[0]
        drawing.annotate(source, 0.02, 0.98, f"slice {k + 1} / {count}")
        for panel in axes:
            drawing.show_sides(panel)


def _uncertainty_colours(overview: Overview, uncertainty: np.ndarray) -> np.ndarray:
    """RGBA ``(J, I, 4)``: transparent at the window's lower end, so that the image shows there."""
    share = Normalize(*overview.uncertainty_window, clip=True)(uncertainty).filled()
    colours = matplotlib.colormaps[overview.uncertainty_map.colormap](share)
    colours[..., 3] = np.clip(share / 0.25, 0, 1)
    return colours


def _draw_colour_bar(figure: Figure, axes: list[Axes], overview: Overview) -> None:
    """Below the column of the uncertainty."""
    low, high = overview.uncertainty_window
    bar = figure.colorbar(
        ScalarMappable(Normalize(low, high), overview.uncertainty_map.colormap),
        ax=axes,
        location="bottom",
        ticks=[low, (low + high) / 2, high],
        shrink=0.8,
        aspect=18,
        pad=0.01,
    )
    bar.outline.set_visible(False)
    bar.set_label(overview.uncertainty_map.legend)


def _around_labels(overview: Overview) -> Overview:
    """The same, cut to the part of the plane around what is labelled."""
    labelled = (overview.source_labels > 0) | (overview.final_labels > 0)
    box = around(labelled, overview.spacing_kji)
    arrays = ("image", "source_labels", "final_labels", "uncertainty", "sample")
    shown = {name: getattr(overview, name) for name in arrays}
    cut = {name: array[..., *box] for name, array in shown.items() if array is not None}
    return replace(overview, **cut)
