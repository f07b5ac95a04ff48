"""overview.png: one picture that says what changed, where the model was unsure, and how much.

Rows are the slices on which source and final result differ most, columns the source model's
result, the final one, the uncertainty and the selected sample. Axial slices are shown as
radiologists look at them: from the feet, the patient's right on the viewer's left.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patheffects import withStroke

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from SFDALib.bundle import Label

_FOOTER = "Research software, not a medical device"
_MOST_ROWS = 4
_DPI = 120
_BACKGROUND, _BRIGHT, _MUTED = "#14161a", "#f2f2f2", "#a9b0ba"
_SIDES = (0.02, 0.5, "R"), (0.98, 0.5, "L"), (0.5, 0.98, "A"), (0.5, 0.02, "P")
_DASHED = (0, (2.5, 1.2))
# Inches.
_MARGIN, _GAP, _NARROWEST = 0.35, 0.08, 7.0
_PANEL, _LONE_PANEL, _NARROWEST_COLUMN = 2.9, 4.4, 1.35
_TITLE_LINE, _TEXT_LINE, _SMALL_LINE, _SWATCH = 0.32, 0.22, 0.17, 0.24
# Millimetres.
_LEAST_SURROUNDINGS = 40.0
# Points.
_TITLE, _TEXT, _SMALL = 15, 10, 8.5


@dataclass(frozen=True)
class Overview:
    """What the picture shows. Arrays lie along LPS: i to the left, j to the back, k to the head.

    Args:
        image: ``(C, K, J, I)`` or ``(K, J, I)``. Three channels are shown as red, green and blue,
            of any other number the first.
        spacing_kji: mm along K, J, I.
        source_labels, final_labels: ``(K, J, I)``, values of ``labels``.
        labels: the classes.
        volumes: one text per label, such as "1320 ml → 1410 ml (+7 %)".
        title, subtitle: what was run, on what.
        uncertainty: ``(K, J, I)``; values at the range's lower end are transparent.
        uncertainty_name, uncertainty_unit: as on the colour bar, such as "Entropy", "bits".
        uncertainty_range: the fixed window, so that pictures of two runs can be compared.
        sample: ``(K, J, I)``, the selected sample of the diffusion model.
        sample_caption: such as "sample 3 of 6, S = 0.42".
    """

    image: np.ndarray
    spacing_kji: tuple[float, float, float]
    source_labels: np.ndarray
    final_labels: np.ndarray
    labels: Sequence[Label]
    volumes: Sequence[str]
    title: str
    subtitle: str
    uncertainty: np.ndarray | None = None
    uncertainty_name: str = "Entropy"
    uncertainty_unit: str = "bits"
    uncertainty_range: tuple[float, float] = (0.0, 1.0)
    sample: np.ndarray | None = None
    sample_caption: str = ""


def draw_overview(path: str | os.PathLike[str], overview: Overview) -> None:
    """Write the picture as PNG; the same overview gives the same bytes."""
    with matplotlib.style.context("default"):  # whatever the user's matplotlibrc says
        figure = _Drawing(overview).figure
        figure.savefig(path, format="png", facecolor=_BACKGROUND, metadata={"Software": None})


def slices_that_say_most(source: np.ndarray, final: np.ndarray) -> list[int]:
    """Up to four slices k, spread apart, from head to feet.

    Those with the most voxels that differ; where nothing differs, those with the most foreground;
    where there is none, from the middle outwards.

    Args:
        source, final: label maps ``(K, J, I)``.
    """
    count = source.shape[0]
    from_middle = np.minimum(np.arange(count), np.arange(count)[::-1]) + 1
    for weight in (source != final, (source > 0) | (final > 0)):
        votes = np.count_nonzero(weight, axis=(1, 2))
        if votes.any():
            break
    else:
        votes = from_middle
    apart = max(2, np.count_nonzero(votes) // (2 * _MOST_ROWS))
    votes = votes.copy()
    chosen: list[int] = []
    while votes.any() and len(chosen) < _MOST_ROWS:
        best = int(np.argmax(votes))
        chosen.append(best)
        votes[max(0, best - apart + 1) : best + apart] = 0
    return sorted(chosen, reverse=True)


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
        scale = (_PANEL if len(self.slices) > 1 else _LONE_PANEL) / max(rows * dy, columns * dx)
        self.panel_width, self.panel_height = columns * dx * scale, rows * dy * scale
        self.column_width = max(self.panel_width, _NARROWEST_COLUMN)
        grid_width = len(self.headings) * (self.column_width + _GAP) - _GAP
        self.width = max(grid_width, _NARROWEST) + 2 * _MARGIN
        self.grid_left = (self.width - grid_width) / 2
        self._lay_out_and_draw()

    def _lay_out_and_draw(self) -> None:
        text_width = self.width - 2 * _MARGIN
        title = _wrapped(self.overview.title, text_width, _TITLE, "bold")
        subtitle = _wrapped(self.overview.subtitle, text_width, _TEXT)
        captions = [_wrapped(caption, self.column_width, _SMALL) for caption in self.captions]
        colour_bar_lines = 0 if self.overview.uncertainty is None else 3
        legend = self._legend(text_width)

        subtitle_top = _MARGIN + len(title) * _TITLE_LINE
        headings_top = subtitle_top + len(subtitle) * _TEXT_LINE + 0.15
        grid_top = headings_top + _TEXT_LINE + 0.04
        captions_top = grid_top + len(self.slices) * (self.panel_height + _GAP) + 0.02
        legend_top = captions_top + max(colour_bar_lines, *map(len, captions)) * _SMALL_LINE + 0.25
        footer_top = legend_top + max(map(len, legend), default=0) * _TEXT_LINE + 0.15
        self.height = footer_top + _SMALL_LINE + _MARGIN / 2
        self.figure = Figure(figsize=(self.width, self.height), dpi=_DPI)

        self._write(_MARGIN, _MARGIN, title, _TITLE_LINE, size=_TITLE, weight="bold")
        self._write(_MARGIN, subtitle_top, subtitle, _TEXT_LINE, color=_MUTED)
        for column, heading in enumerate(self.headings):
            middle = self._column_left(column) + self.column_width / 2
            self._write(middle, headings_top, [heading], _TEXT_LINE, weight="bold", ha="center")
            small = {"size": _SMALL, "color": _MUTED, "ha": "center"}
            self._write(middle, captions_top, captions[column], _SMALL_LINE, **small)
        self._draw_panels(grid_top)
        if self.overview.uncertainty is not None:
            self._draw_colour_bar(captions_top + 0.03)
        self._draw_legend(legend, legend_top, text_width / max(1, len(legend)))
        self._write(_MARGIN, footer_top, [_FOOTER], _SMALL_LINE, size=_SMALL, color=_MUTED)

    def _draw_panels(self, grid_top: float) -> None:
        overview = self.overview
        image = _windowed(_grey_or_colour(overview.image), self.slices)
        if overview.sample is not None:
            sample = _windowed(overview.sample, self.slices)
        for row, k in enumerate(self.slices):
            top = grid_top + row * (self.panel_height + _GAP)
            panels = iter([self._panel(column, top) for column in range(len(self.headings))])
            source, final = overview.source_labels[k], overview.final_labels[k]

            axes = next(panels)
            _show(axes, image[row])
            self._outline(axes, source, linestyles=[_DASHED])
            if self.is_volume:
                _annotate(axes, 0.02, 0.98, f"slice {k + 1} / {overview.source_labels.shape[0]}")

            axes = next(panels)
            _show(axes, image[row])
            self._outline(axes, final)

            if overview.uncertainty is not None:
                axes = next(panels)
                _show(axes, 0.6 * image[row])
                _show(axes, self._uncertainty_colours(overview.uncertainty[k]))

            if overview.sample is not None:
                _show(next(panels), sample[row])

    def _panel(self, column: int, top: float) -> Axes:
        left = self._column_left(column) + (self.column_width - self.panel_width) / 2
        axes = self._axes(left, top, self.panel_width, self.panel_height)
        axes.set_axis_off()
        if self.is_volume:
            for x, y, letter in _SIDES:
                _annotate(axes, x, y, letter)
        return axes

    def _outline(self, axes: Axes, labels: np.ndarray, **style: Any) -> None:
        """Contours of every label in a slice ``(J, I)``, closed where they meet its border."""
        x, y = (np.arange(-1, size + 1) for size in labels.shape[::-1])
        limits = axes.axis()
        for label in self.overview.labels:
            mask = np.pad(labels == label.value, 1).astype(float)
            if mask.any():
                colour = [np.array(label.color) / 255]
                contour = axes.contour(
                    x, y, mask, [0.5], colors=colour, **{"linewidths": 1.3} | style
                )
                contour.set_path_effects([withStroke(linewidth=2.4, foreground="black", alpha=0.5)])
        axes.axis(limits)

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
        axes = self._axes(left, top, width, 0.1)
        bar = self.figure.colorbar(
            colours, axes, orientation="horizontal", ticks=[low, (low + high) / 2, high]
        )
        bar.outline.set_visible(False)
        axes.tick_params(colors=_MUTED, labelsize=_SMALL, length=2, pad=1)
        label = f"{overview.uncertainty_name} ({overview.uncertainty_unit})"
        style = {"size": _SMALL, "color": _MUTED, "ha": "center"}
        self._write(left + width / 2, top + 0.3, [label], _SMALL_LINE, **style)

    def _legend(self, width: float) -> list[list[tuple[Label | None, str]]]:
        """Columns of lines; the first line of an entry carries its label, for the colour."""
        overview = self.overview
        texts = [
            f"{label.name}: {volume}"
            for label, volume in zip(overview.labels, overview.volumes, strict=True)
        ]
        widest = max((_text_width(text, _TEXT) for text in texts), default=0.0) + _SWATCH
        lines: list[tuple[Label | None, str]] = []
        for label, text in zip(overview.labels, texts, strict=True):
            first, *more = _wrapped(text, width - _SWATCH, _TEXT)
            lines += [(label, first), *((None, line) for line in more)]
        columns = max(1, min(len(lines), int(width / (widest + 0.3))))
        length = -(-len(lines) // columns)
        return [lines[start : start + length] for start in range(0, len(lines), length)]

    def _draw_legend(
        self, legend: list[list[tuple[Label | None, str]]], top: float, pitch: float
    ) -> None:
        for column, lines in enumerate(legend):
            left = _MARGIN + column * pitch
            for row, (label, text) in enumerate(lines):
                y = top + row * _TEXT_LINE
                self._write(left + _SWATCH, y, [text], _TEXT_LINE)
                if label is not None:
                    colour = np.array(label.color) / 255
                    self._axes(left, y + 0.01, 0.14, 0.14).set(
                        facecolor=colour, xticks=[], yticks=[]
                    )

    def _column_left(self, column: int) -> float:
        return self.grid_left + column * (self.column_width + _GAP)

    def _axes(self, left: float, top: float, width: float, height: float) -> Axes:
        bottom = self.height - top - height
        return self.figure.add_axes(
            (left / self.width, bottom / self.height, width / self.width, height / self.height)
        )

    def _write(self, x: float, top: float, lines: Sequence[str], line: float, **style: Any) -> None:
        style = {"size": _TEXT, "color": _BRIGHT} | style
        for row, text in enumerate(lines):
            y = 1 - (top + row * line) / self.height
            self.figure.text(x / self.width, y, text, va="top", parse_math=False, **style)


def _around_labels(overview: Overview) -> Overview:
    """Cut in plane to what is labelled and half as much on either side, so that it is seen well."""
    labelled = ((overview.source_labels > 0) | (overview.final_labels > 0)).any(axis=0)
    if not labelled.any():
        return overview
    _, dy, dx = overview.spacing_kji
    box = []
    for across, spacing in ((1, dy), (0, dx)):
        first, last = np.flatnonzero(labelled.any(axis=across))[[0, -1]]
        margin = max((last - first + 1) // 2, round(_LEAST_SURROUNDINGS / spacing))
        box.append(slice(max(0, first - margin), last + 1 + margin))
    arrays = ("image", "source_labels", "final_labels", "uncertainty", "sample")
    shown = {name: getattr(overview, name) for name in arrays}
    cut = {name: array[..., *box] for name, array in shown.items() if array is not None}
    return replace(overview, **cut)


def _show(axes: Axes, picture: np.ndarray) -> None:
    """A slice in 0..1, grey ``(J, I)``, colour or RGBA ``(J, I, 3 or 4)``, filling its panel."""
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, aspect="auto", interpolation="hanning")


def _annotate(axes: Axes, x: float, y: float, text: str) -> None:
    """Small text in a panel, anchored at the edge or corner that (x, y) in 0..1 is next to."""
    axes.text(
        x,
        y,
        text,
        transform=axes.transAxes,
        size=_SMALL,
        color=_BRIGHT,
        ha="left" if x < 0.5 else "right" if x > 0.5 else "center",
        va="bottom" if y < 0.5 else "top" if y > 0.5 else "center",
        path_effects=[withStroke(linewidth=2, foreground="black")],
    )


def _grey_or_colour(image: np.ndarray) -> np.ndarray:
    """The first channel ``(K, J, I)``, or three ``(K, J, I, 3)``."""
    if image.ndim == 4:
        return np.moveaxis(image, 0, -1) if image.shape[0] == 3 else image[0]
    return image


def _windowed(image: np.ndarray, slices: Sequence[int]) -> np.ndarray:
    """Some slices, scaled so that the whole image's 1st and 99th percentile become 0 and 1."""
    low, high = np.percentile(image, (1, 99))
    return np.clip((image[slices] - low) / max(high - low, np.finfo(np.float32).tiny), 0, 1)


def _text_width(text: str, size: float, weight: str = "normal") -> float:
    """Inches, as drawn at the picture's resolution (hinting makes that matter)."""
    font = FontProperties(size=size, weight=weight)
    pixels, _, _ = RendererAgg(1, 1, _DPI).get_text_width_height_descent(text, font, ismath=False)
    return pixels / _DPI


def _wrapped(text: str, width: float, size: float, weight: str = "normal") -> list[str]:
    """Lines no wider than ``width`` inches; a word that is longer, such as a path, is cut."""
    lines: list[str] = []
    for word in text.split():
        if lines and _text_width(f"{lines[-1]} {word}", size, weight) <= width:
            lines[-1] += f" {word}"
            continue
        while _text_width(word, size, weight) > width:
            fits = next(
                n
                for n in range(len(word) - 1, 0, -1)
                if _text_width(word[:n], size, weight) <= width
            )
            lines.append(word[:fits])
            word = word[fits:]
        lines.append(word)
    return lines
