"""What the labels of cases tell of each structure: its plausible volumes, areas and shape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any, Protocol

import numpy as np

from SFDALib.bundle.description import Label
from SFDALib.bundle.labels import PlausibleShape
from SFDALib.json_fields import SMALLEST
from SFDALib.volume.components import smallest_and_reach
from SFDALib.volume.shape import Shape, shapes

MARGIN = 0.25  # plausible: from 25 % below the smallest of the cases to 25 % above the largest


class Labelled(Protocol):
    """A case.

    Args:
        labels: ``(k, j, i)``.
        spacing_kji: mm.
    """

    @property
    def labels(self) -> np.ndarray:
        """See above."""

    @property
    def spacing_kji(self) -> tuple[float, float, float]:
        """See above."""


@dataclass(frozen=True)
class _Found:
    """One structure in one case.

    Args:
        ml: its volume.
        areas_mm2: its areas on the slices that show it.
        piece_ml, radius_mm: see ``smallest_and_reach``.
        shape: None for a single slice.
    """

    ml: float
    areas_mm2: np.ndarray
    piece_ml: float
    radius_mm: float
    shape: Shape | None


def measured(labels: Sequence[Label], cases: Iterable[Labelled], slices: bool) -> tuple[Label, ...]:
    """The labels with what the cases tell of them; a label that is in no case stays as it is.

    Args:
        labels: 1, 2, 3, ...; a ``size_ml`` that is there stays.
        cases: each is read once.
        slices: whether the model segments slice by slice, so that areas are of use.
    """
    found: list[list[_Found]] = [[] for _ in labels]
    for case in cases:
        for of_label, one in zip(found, _in_case(case, labels), strict=True):
            if one:
                of_label.append(one)
    return tuple(
        _described(label, of_label, slices) if of_label else label
        for label, of_label in zip(labels, found, strict=True)
    )


def widened(label: Label, found: Label) -> Label:
    """What was found of a label, its plausible ranges such that they include those of before."""
    shape = found.shape or label.shape
    if found.shape and label.shape:
        shape = PlausibleShape(*map(_union, astuple(label.shape), astuple(found.shape)))
    return replace(found, size_ml=_union(label.size_ml, found.size_ml), shape=shape)


def _union(one: Any, other: Any) -> Any:
    """The range that includes both; of one that is there that one."""
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), max(one[1], other[1])


def _in_case(case: Labelled, labels: Sequence[Label]) -> list[_Found | None]:
    """Of each label; None where the case does not show it."""
    volume = case.labels.shape[0] > 1
    outlines = shapes(case.labels, [label.value for label in labels], case.spacing_kji)
    return [
        _of_mask(case.labels == label.value, case.spacing_kji, shape if volume else None)
        if shape
        else None
        for label, shape in zip(labels, outlines, strict=True)
    ]


def _of_mask(inside: np.ndarray, spacing: tuple[float, ...], shape: Shape | None) -> _Found:
    piece_ml, radius_mm = smallest_and_reach(inside, spacing)
    per_slice = inside.sum(axis=(1, 2))
    return _Found(
        ml=float(inside.sum()) * float(np.prod(spacing)) / 1000,
        areas_mm2=per_slice[per_slice > 0] * float(np.prod(spacing[1:])),
        piece_ml=piece_ml,
        radius_mm=radius_mm,
        shape=shape,
    )


def _described(label: Label, found: Sequence[_Found], slices: bool) -> Label:
    volumes = [one.ml for one in found]
    outlines = [one.shape for one in found if one.shape]
    return replace(
        label,
        size_ml=label.size_ml or _plausible(volumes),
        mean_ml=max(round(float(np.mean(volumes)), 3), SMALLEST),
        slice_area_mm2=_mean_area(found) if slices else None,
        piece_ml=max(round(min(one.piece_ml for one in found) * (1 - MARGIN), 6), SMALLEST),
        radius_mm=round(max(one.radius_mm for one in found) * (1 + MARGIN), 3),
        shape=_plausible_shape(outlines) if outlines else None,
    )


def _mean_area(found: Sequence[_Found]) -> float:
    areas = np.concatenate([one.areas_mm2 for one in found])
    return max(round(float(areas.mean()), 2), SMALLEST)


def _plausible_shape(found: Sequence[Shape]) -> PlausibleShape:
    every: Any = zip(*map(astuple, found), strict=True)
    ranges: list[Any] = [None if None in values else _plausible(values) for values in every]
    return PlausibleShape(*ranges)


def _plausible(values: Sequence[float]) -> Any:
    low, high = (round(v, 3) for v in (min(values) * (1 - MARGIN), max(values) * (1 + MARGIN)))
    return max(low, SMALLEST), max(high, SMALLEST)
