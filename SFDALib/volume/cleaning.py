"""MONAI's transforms that clean up a model's labels, as plain data (standard library alone)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from SFDALib.errors import RequestError


@dataclass(frozen=True)
class Cleaning:
    """A transform of MONAI that is applied to the labels.

    Args:
        transform: one of ``CLEANINGS``.
        arguments: of that class, as plain data.
        on: one of ``CLEANING_GRIDS``: applied on the model's grid, or on the input's.
        one_hot: whether it is applied to one mask for each output channel, not to one map of
            labels; always so where the channels are overlapping regions.
    """

    transform: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    on: str = "input"
    one_hot: bool = False


CLEANING_GRIDS = ("model", "input")
# MONAI's classes: for each argument the kind of value that it accepts beside null, and its default
CLEANINGS: Mapping[str, Mapping[str, tuple[str, Any]]] = {
    "KeepLargestConnectedComponent": {
        "applied_labels": ("labels", None),
        "is_onehot": ("switch", None),
        "independent": ("switch", True),
        "connectivity": ("connectivity", None),
        "num_components": ("count", 1),
    },
    "RemoveSmallObjects": {
        "min_size": ("size", 64),
        "connectivity": ("connectivity", 1),
        "independent_channels": ("switch", True),
        "by_measure": ("switch", False),
    },
    "FillHoles": {"applied_labels": ("labels", None), "connectivity": ("connectivity", None)},
    "LabelFilter": {"applied_labels": ("labels", None)},
}


def check_cleaning(step: Cleaning, where: str) -> Cleaning:
    """Check a transform and its arguments.

    Args:
        where: file and field, for the error.

    Returns:
        ``step``, unchanged.

    Raises:
        RequestError: an unknown transform or argument, or a value of the wrong kind.
    """
    known = CLEANINGS.get(step.transform, {})
    good = {
        "labels": lambda v: _is_label(v) or (isinstance(v, list) and v and all(map(_is_label, v))),
        "switch": lambda v: type(v) is bool,
        "connectivity": lambda v: type(v) is int and 1 <= v <= 3,
        "count": lambda v: type(v) is int and 1 <= v <= 1000,
        "size": lambda v: type(v) in (int, float) and 0 <= v <= 1e9,
    }
    wrong = [
        name
        for name, value in step.arguments.items()
        if name not in known or not (value is None or good[known[name][0]](value))
    ]
    lacking = step.transform == "LabelFilter" and not step.arguments.get("applied_labels")
    if (
        not known
        or wrong
        or lacking
        or step.on not in CLEANING_GRIDS
        or type(step.one_hot) is not bool
    ):
        raise RequestError(
            f"{where}: found {step.transform[:60]!r} with {dict(step.arguments)!r:.160}, expected"
            f" one of {', '.join(CLEANINGS)} with arguments of its own, on one of"
            f" {', '.join(CLEANING_GRIDS)}; correct it"
        )
    return step


def _is_label(value: object) -> bool:
    return type(value) is int and 0 <= value <= 255
