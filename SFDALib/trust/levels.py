"""The levels of a verdict: what each one means, and which segmentation it delivers.

Standard library alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Decision = Literal["better", "look", "keep", "both-wrong"]
Delivered = Literal["source", "result"]


@dataclass(frozen=True)
class Level:
    """One level.

    Args:
        colour: in which it is shown.
        delivered: the segmentation that is delivered: the source model's or the method's result.
        meaning: in a few words.
    """

    colour: Literal["green", "amber", "grey", "red"]
    delivered: Delivered
    meaning: str


LEVELS: dict[Decision, Level] = {
    "better": Level("green", "result", "better and plausible"),
    "look": Level("amber", "source", "look at both before you use one"),
    "keep": Level("grey", "source", "no better: the source model's is kept"),
    "both-wrong": Level("red", "source", "both look wrong"),
}
"""By the name that report.json has for it; the best level first."""
