"""What the pictures of results are drawn with, on matplotlib's constrained layout.

The panels are laid out first; titles, legend and footer are then added above and below them, and
the picture is cut to what was drawn. Knows slices, outlines and text; not which picture they are
for.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from SFDALib import NOTICE
from SFDALib.bundle.description import Label

FOOTER = NOTICE.removesuffix(".")
BRIGHT, MUTED = "#f2f2f2", "#a9b0ba"
DASHED = (0, (2.5, 1.2))
PANEL = 2.9  # inches of a panel's longer side
TITLE, TEXT, SMALL = 15.0, 10.0, 8.5  # points
_BACKGROUND = "#14161a"
_MARGIN, _GAP = 0.35, 0.1  # inches
_CHARACTER = 0.62  # mean width of a character in DejaVu Sans, by the size
_STYLE = {
    "figure.facecolor": _BACKGROUND,
    "savefig.facecolor": _BACKGROUND,
    "figure.dpi": 120,
    "figure.constrained_layout.w_pad": 0.03,
    "figure.constrained_layout.wspace": 0.0,
    "figure.constrained_layout.hspace": 0.0,
    "text.color": BRIGHT,
    "font.size": TEXT,
    "axes.facecolor": _BACKGROUND,
    "axes.titlesize": TEXT,
    "axes.titleweight": "bold",
    "axes.labelcolor": MUTED,
    "axes.labelsize": SMALL,
    **{f"axes.spines.{side}": False for side in ("left", "right", "top", "bottom")},
    "xtick.color": MUTED,
    "xtick.labelsize": SMALL,
    "xtick.major.size": 2,
    "image.cmap": "gray",
    "legend.frameon": False,
    "legend.borderpad": 0,
    "legend.borderaxespad": 0,
    "legend.handlelength": 1.0,
    "legend.handleheight": 1.0,
}
_SIDES = (0.02, 0.5, "R"), (0.98, 0.5, "L"), (0.5, 0.98, "A"), (0.5, 0.02, "P")


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


def picture_style() -> AbstractContextManager[None]:
    """The context in which every picture is made, whatever the user's matplotlibrc says."""
    return matplotlib.style.context(["default", _STYLE])


def panels(
    rows: int, columns: int, height: float, width: float, gap: float = 0.03
) -> tuple[Figure, np.ndarray]:
    """A figure of equal panels.

    Args:
        rows, columns: their number.
        height, width: of a panel in inches, about.
        gap: inches above and below each panel with its texts.

    Returns:
        The figure and its axes ``(rows, columns)``.
    """
    size = (columns * width, rows * (height + 0.1) + 1.0)
    figure = Figure(size, layout=ConstrainedLayoutEngine(compress=True, h_pad=gap))
    axes = figure.subplots(rows, columns, squeeze=False, subplot_kw={"xticks": [], "yticks": []})
    return figure, axes


def finish_panels(figure: Figure) -> None:
    """Lay the panels out for good; what is added from now on does not move them."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def add_titles(figure: Figure, title: str, subtitle: str) -> None:
    """Title and subtitle above what was drawn so far."""
    width = figure.get_tightbbox().width
    _add_above(figure, wrapped(subtitle, width, TEXT), 2 * _GAP, size=TEXT, color=MUTED)
    _add_above(figure, wrapped(title, width, TITLE), _GAP, size=TITLE, weight="bold")


def _add_above(figure: Figure, text: str, gap: float, **style: Any) -> None:
    box = figure.get_tightbbox()
    x, y = box.x0 / figure.get_figwidth(), (box.y1 + gap) / figure.get_figheight()
    figure.text(x, y, text, va="bottom", parse_math=False, **style)


def add_below(
    figure: Figure, text: str, size: float = SMALL, color: str = MUTED, weight: str = "normal"
) -> None:
    """A paragraph below what was drawn so far."""
    x, y, width = below(figure)
    style: dict[str, Any] = {"size": size, "color": color, "weight": weight}
    figure.text(x, y, wrapped(text, width, size), va="top", parse_math=False, **style)


def add_legend(figure: Figure, labels: Sequence[Label], texts: Sequence[str]) -> None:
    """A coloured square and a text for each label, in columns below what was drawn so far."""
    if not labels:
        return
    x, y, width = below(figure)
    entries = [wrapped(text, width - 0.3, TEXT) for text in texts]
    longest = max(len(line) for entry in entries for line in entry.splitlines())
    columns = int(width / (longest * TEXT / 72 * _CHARACTER + 0.5))
    legend = figure.legend(
        [Patch(color=rgb(label)) for label in labels],
        entries,
        loc="upper left",
        bbox_to_anchor=(x, y),
        ncols=max(1, min(len(entries), columns)),
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def below(figure: Figure) -> tuple[float, float, float]:
    """Where the next part begins: x and y as shares of the figure, and the width in inches."""
    box = figure.get_tightbbox()
    height = figure.get_figheight()
    return box.x0 / figure.get_figwidth(), (box.y0 - 2 * _GAP) / height, box.width


def axes_below(figure: Figure, width: float, height: float) -> Axes:
    """Axes of that size in inches below what was drawn so far, with room for labels above them."""
    x, y, _ = below(figure)
    share = height / figure.get_figheight()
    room = _GAP / figure.get_figheight()
    return figure.add_axes((x, y - room - share, width / figure.get_figwidth(), share))


def align_left(figure: Figure, axes: Axes) -> None:
    """Move axes to the right until the labels on their left begin where the axes did."""
    box, whole = axes.get_position(), axes.get_tightbbox()
    assert whole is not None  # as for axes that are invisible
    labels = whole.x0 / figure.dpi / figure.get_figwidth()
    axes.set_position((2 * box.x0 - labels, box.y0, box.width, box.height))


def save(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write what was drawn as PNG with a margin; the same picture gives the same bytes."""
    figure.savefig(
        path,
        format="png",
        bbox_inches="tight",
        pad_inches=_MARGIN,
        metadata={"Software": None},  # matplotlib's version would be named there
    )


def rgb(label: Label) -> tuple[float, float, float]:
    """A label's colour in 0..1."""
    red, green, blue = label.color
    return red / 255, green / 255, blue / 255


def wrapped(text: str, width: float, size: float) -> str:
    """Lines of about ``width`` inches; a word that is longer, such as a path, is cut."""
    return textwrap.fill(text, max(8, int(width / (size / 72 * _CHARACTER))))


def show(axes: Axes, picture: np.ndarray, spacing_ji: Sequence[float]) -> None:
    """A slice in its true proportions.

    Args:
        axes: the panel.
        picture: values 0..1, grey ``(J, I)``, colour or RGBA ``(J, I, 3 or 4)``.
        spacing_ji: mm along J and I.
    """
    aspect = spacing_ji[0] / spacing_ji[1]
    axes.imshow(picture, vmin=0, vmax=1, aspect=aspect, interpolation="hanning")


def show_sides(axes: Axes) -> None:
    """The letters of the patient's sides at the borders of an axial slice."""
    for x, y, letter in _SIDES:
        annotate(axes, x, y, letter)


def outline(axes: Axes, values: np.ndarray, labels: Sequence[Label], **style: Any) -> None:
    """Contours of every label in a slice ``(J, I)``, closed where they meet its border."""
    x, y = (np.arange(-1, size + 1) for size in values.shape[::-1])
    limits = axes.axis()
    for label in labels:
        mask = np.pad(values == label.value, 1).astype(float)
        if mask.any():
            colours = [rgb(label)]
            contour = axes.contour(x, y, mask, [0.5], colors=colours, **{"linewidths": 1.3} | style)
            contour.set_path_effects([withStroke(linewidth=2.4, foreground="black", alpha=0.5)])
    axes.axis(limits)


def annotate(axes: Axes, x: float, y: float, text: str) -> None:
    """Small text in a panel, anchored at the edge or corner that (x, y) in 0..1 is next to."""
    axes.text(
        x,
        y,
        text,
        transform=axes.transAxes,
        size=SMALL,
        ha="left" if x < 0.5 else "right" if x > 0.5 else "center",
        va="bottom" if y < 0.5 else "top" if y > 0.5 else "center",
        path_effects=[withStroke(linewidth=2, foreground="black")],
    )
