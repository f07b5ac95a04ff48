"""What the pictures of results are drawn with: a figure laid out in inches from its top left.

Knows slices, outlines and text; not which picture they are for.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib.style
import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patheffects import withStroke

from SFDALib import NOTICE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from SFDALib.bundle import Label

FOOTER = NOTICE.removesuffix(".")
BACKGROUND, BRIGHT, MUTED = "#14161a", "#f2f2f2", "#a9b0ba"
DASHED = (0, (2.5, 1.2))
# Inches.
MARGIN, GAP, NARROWEST = 0.35, 0.08, 7.0
PANEL, NARROWEST_COLUMN = 2.9, 1.35
TITLE_LINE, TEXT_LINE, SMALL_LINE = 0.32, 0.22, 0.17
# Points.
TITLE, TEXT, SMALL = 15, 10, 8.5
_DPI = 120
_SWATCH = 0.24  # inches
_SIDES = (0.02, 0.5, "R"), (0.98, 0.5, "L"), (0.5, 0.98, "A"), (0.5, 0.02, "P")
_LEAST_SURROUNDINGS = 40.0  # mm


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What every picture of results shows. Arrays lie along LPS: i to the left, j to the back, k to
    the head.

    Args:
        image: ``(C, K, J, I)`` or ``(K, J, I)``. Three channels are shown as red, green and blue,
            of any other number the first.
        spacing_kji: mm along K, J, I.
        labels: the classes.
        title, subtitle: what was run, on what.
    """

    image: np.ndarray
    spacing_kji: tuple[float, float, float]
    labels: Sequence[Label]
    title: str
    subtitle: str


LegendColumns = list[list[tuple["Label | None", str]]]


class Canvas:
    """A dark figure of ``width`` x ``height`` inches.

    It is made under the default style, whatever the user's matplotlibrc says: see ``plain_style``.
    """

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), dpi=_DPI)

    def save(self, path: str | os.PathLike[str]) -> None:
        """As PNG; the same picture gives the same bytes."""
        metadata = {"Software": None}
        self.figure.savefig(path, format="png", facecolor=BACKGROUND, metadata=metadata)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        bottom = self.height - top - height
        return self.figure.add_axes(
            (left / self.width, bottom / self.height, width / self.width, height / self.height)
        )

    def panel(
        self, left: float, top: float, width: float, height: float, patient_axes: bool
    ) -> Axes:
        """Axes for an axial slice, with the patient's sides where there is a patient."""
        axes = self.axes(left, top, width, height)
        axes.set_axis_off()
        if patient_axes:
            for x, y, letter in _SIDES:
                annotate(axes, x, y, letter)
        return axes

    def write(self, x: float, top: float, lines: Sequence[str], line: float, **style: Any) -> None:
        style = {"size": TEXT, "color": BRIGHT} | style
        for row, text in enumerate(lines):
            y = 1 - (top + row * line) / self.height
            self.figure.text(x / self.width, y, text, va="top", parse_math=False, **style)

    def legend(self, columns: LegendColumns, top: float) -> None:
        """Draw what ``legend_columns`` laid out, over the whole width."""
        pitch = (self.width - 2 * MARGIN) / max(1, len(columns))
        for column, lines in enumerate(columns):
            left = MARGIN + column * pitch
            for row, (label, text) in enumerate(lines):
                y = top + row * TEXT_LINE
                self.write(left + _SWATCH, y, [text], TEXT_LINE)
                if label is not None:
                    colour = np.array(label.color) / 255
                    self.axes(left, y + 0.01, 0.14, 0.14).set(
                        facecolor=colour, xticks=[], yticks=[]
                    )


def plain_style() -> Any:
    """The context in which every picture is made."""
    return matplotlib.style.context("default")


def legend_columns(labels: Sequence[Label], texts: Sequence[str], width: float) -> LegendColumns:
    """Columns of lines that fill ``width`` inches; an entry's first line carries its label."""
    widest = max((text_width(text, TEXT) for text in texts), default=0.0) + _SWATCH
    lines: list[tuple[Label | None, str]] = []
    for label, text in zip(labels, texts, strict=True):
        first, *more = wrapped(text, width - _SWATCH, TEXT)
        lines += [(label, first), *((None, line) for line in more)]
    columns = max(1, min(len(lines), int(width / (widest + 0.3))))
    length = -(-len(lines) // columns)
    return [lines[start : start + length] for start in range(0, len(lines), length)]


def slices_that_say_most(source: np.ndarray, final: np.ndarray, most: int = 4) -> list[int]:
    """Up to ``most`` slices k, spread apart, from head to feet.

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
    apart = max(2, np.count_nonzero(votes) // (2 * most))
    votes = votes.copy()
    chosen: list[int] = []
    while votes.any() and len(chosen) < most:
        best = int(np.argmax(votes))
        chosen.append(best)
        votes[max(0, best - apart + 1) : best + apart] = 0
    return sorted(chosen, reverse=True)


def around(labelled: np.ndarray, spacing_kji: tuple[float, float, float]) -> tuple[slice, slice]:
    """The part of the plane ``(J, I)`` to show: what is labelled and half as much on either side.

    Args:
        labelled: ``(K, J, I)``; where nothing is, the whole plane is shown.
    """
    plane = labelled.any(axis=0)
    if not plane.any():
        return slice(None), slice(None)
    box = []
    for across, spacing in zip((1, 0), spacing_kji[1:], strict=True):
        first, last = np.flatnonzero(plane.any(axis=across))[[0, -1]]
        margin = max((last - first + 1) // 2, round(_LEAST_SURROUNDINGS / spacing))
        box.append(slice(max(0, first - margin), last + 1 + margin))
    return box[0], box[1]


def outline(axes: Axes, values: np.ndarray, labels: Sequence[Label], **style: Any) -> None:
    """Contours of every label in a slice ``(J, I)``, closed where they meet its border."""
    x, y = (np.arange(-1, size + 1) for size in values.shape[::-1])
    limits = axes.axis()
    for label in labels:
        mask = np.pad(values == label.value, 1).astype(float)
        if mask.any():
            colour = [np.array(label.color) / 255]
            contour = axes.contour(x, y, mask, [0.5], colors=colour, **{"linewidths": 1.3} | style)
            contour.set_path_effects([withStroke(linewidth=2.4, foreground="black", alpha=0.5)])
    axes.axis(limits)


def show(axes: Axes, picture: np.ndarray) -> None:
    """A slice in 0..1, grey ``(J, I)``, colour or RGBA ``(J, I, 3 or 4)``, filling its panel."""
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, aspect="auto", interpolation="hanning")


def annotate(axes: Axes, x: float, y: float, text: str) -> None:
    """Small text in a panel, anchored at the edge or corner that (x, y) in 0..1 is next to."""
    axes.text(
        x,
        y,
        text,
        transform=axes.transAxes,
        size=SMALL,
        color=BRIGHT,
        ha="left" if x < 0.5 else "right" if x > 0.5 else "center",
        va="bottom" if y < 0.5 else "top" if y > 0.5 else "center",
        path_effects=[withStroke(linewidth=2, foreground="black")],
    )


def grey_or_colour(image: np.ndarray) -> np.ndarray:
    """Of an image ``(K, J, I)`` or ``(C, K, J, I)`` what is shown: three channels as colours
    ``(K, J, I, 3)``, of any other number the first.
    """
    if image.ndim == 4:
        return np.moveaxis(image, 0, -1) if image.shape[0] == 3 else image[0]
    return image


def windowed(image: np.ndarray, slices: Sequence[int]) -> np.ndarray:
    """Some slices, scaled so that the whole image's 1st and 99th percentile become 0 and 1."""
    low, high = np.percentile(image, (1, 99))
    return np.clip((image[slices] - low) / max(high - low, np.finfo(np.float32).tiny), 0, 1)


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Inches, as drawn at the picture's resolution (hinting makes that matter)."""
    font = FontProperties(size=size, weight=weight)
    pixels, _, _ = RendererAgg(1, 1, _DPI).get_text_width_height_descent(text, font, ismath=False)
    return pixels / _DPI


def wrapped(text: str, width: float, size: float, weight: str = "normal") -> list[str]:
    """Lines no wider than ``width`` inches; a word that is longer, such as a path, is cut."""
    lines: list[str] = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}", size, weight) <= width:
            lines[-1] += f" {word}"
            continue
        while text_width(word, size, weight) > width:
            beginnings = [word[:n] for n in range(1, len(word))]
            fits = bisect_right(beginnings, width, key=lambda text: text_width(text, size, weight))
            lines.append(word[:fits])
            word = word[fits:]
        lines.append(word)
    return lines
