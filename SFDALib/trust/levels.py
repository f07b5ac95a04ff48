"""The levels of a verdict: what each one means, and which segmentation it delivers.

Standard library alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Decision = Literal["better", "look", "keep", "both-wrong"]
Delivered = Literal["source", "result"]


@dataclass(frozen=True)
class Level:
    """One level.

    Args:
        colour: in which it is shown.
        delivered: the segmentation that is delivered: the source model's or the method's result;
            of "look" the result where it is probably better and its volumes are plausible.
        meaning: in a few words.
        advice: what the reader is to do, as a clause, by the segmentation that is delivered;
            without the gate that is always the result.
    """

    colour: Literal["green", "amber", "grey", "red"]
    delivered: Delivered
    meaning: str
    advice: Mapping[Delivered, str]


SAME = "look at it before you use it"
"""What to do where the adaptation changed nothing and something is to be looked at."""

_USE_NEITHER = "use neither; segment by hand or by another model"
LEVELS: dict[Decision, Level] = {
    "better": Level(
        "green",
        "result",
        "better and plausible",
        {"result": "use this result", "source": "use the method's result"},
    ),
    "look": Level(
        "amber",
        "source",
        "look at both before you use one",
        {
            "source": "compare both; the source model's is delivered",
            "result": "compare it with the source model's first",
        },
    ),
    "keep": Level(
        "grey",
        "source",
        "no better: the source model's is kept",
        {
            "source": "the source model's segmentation is kept",
            "result": "use the source model's segmentation instead",
        },
    ),
    "both-wrong": Level(
        "red",
        "source",
        "both look wrong",
        {"source": _USE_NEITHER, "result": _USE_NEITHER},
    ),
}
"""By the name that report.json has for it; the best level first."""
