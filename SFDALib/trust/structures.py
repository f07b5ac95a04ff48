"""Measure each structure of a segmentation by itself, and name what is to be looked at in it.

Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from SFDALib.bundle.description import Label
from SFDALib.bundle.labels import PlausibleShape
from SFDALib.trust.findings import UNUSUAL, Finding
from SFDALib.volume.shape import Shape, shapes

PIECES = 0.8  # largest connected part of a structure that is in one piece, at least
PIECES_LOST = 0.1  # by which it is smaller than in the source's segmentation, at least
IN_WORDS = {  # a number of the shape, as a clause
    "length_mm": "length {} mm, plausible {} to {} mm",
    "width_mm": "width {} mm, plausible {} to {} mm",
    "thickness_mm": "thickness {} mm, plausible {} to {} mm",
    "fill": "it fills {} of the ellipsoid around it, plausible {} to {}",
    "distance_mm": "its centre is {} mm from that of all structures, plausible {} to {} mm",
}
UNSURE_BITS = 0.5  # mean entropy inside a structure; with two classes, of 0.89 to 0.11
FARTHEST = 4.0  # deviation of a number of the shape that counts; also of a missing structure


@dataclass(frozen=True)
class Structure:
    """One structure of a segmentation on the model's grid.

    Args:
        name: of the structure.
        ml: its volume; None in a single slice.
        plausible_ml: the bundle's range of volumes, if it has one.
        components: number of connected components.
        largest: share of the largest of them; None without voxels.
        entropy_bits: mean inside it; None without voxels, or for labels without probabilities.
        shape: None without voxels or in a single slice.
        plausible_shape: the bundle's, if it has one.
    """

    name: str
    ml: float | None
    plausible_ml: tuple[float, float] | None
    components: int
    largest: float | None
    entropy_bits: float | None
    shape: Shape | None = None
    plausible_shape: PlausibleShape | None = None

    @property
    def deviation(self) -> float | None:
        """How far its shape is from the plausible one: the root mean square of ``deviations``; None
        in a single slice and without plausible ranges.
        """
        squares = [value**2 for value in self.deviations().values()]
        return math.sqrt(sum(squares) / len(squares)) if squares else None

    def deviations(self) -> dict[str, float]:
        """How far each number of its shape is from the middle of its plausible range.

        On a logarithmic scale, 1 at the ends of the range and at most ``FARTHEST``, which is also
        that of a structure without voxels. Empty in a single slice and without plausible ranges.
        """
        if self.plausible_shape is None or self.ml is None:
            return {}
        return {
            name: _deviation(getattr(self.shape, name, None), *bounds)
            for name, bounds in vars(self.plausible_shape).items()
            if bounds
        }


def measure_structures(
    labels: np.ndarray,
    entropy: np.ndarray | None,
    classes: Sequence[Label],
    spacing: tuple[float, ...],
) -> tuple[Structure, ...]:
    """Measure every structure.

    Args:
        labels: ``(k, j, i)``.
        entropy: ``(k, j, i)`` in bits; None for labels without probabilities.
        classes: the structures.
        spacing: mm along the axes of ``labels``.
    """
    found, is_volume = [], labels.shape[0] > 1
    outlines: Sequence[Shape | None] = [None] * len(classes)
    if is_volume:
        outlines = shapes(labels, [label.value for label in classes], spacing)
    for label, outline in zip(classes, outlines, strict=True):
        inside = labels == label.value
        numbered, components = ndimage.label(inside)
        sizes = np.bincount(numbered.ravel())[1:]
        shown = components > 0
        found.append(
            Structure(
                name=label.name,
                ml=float(sizes.sum()) * math.prod(spacing) / 1000 if is_volume else None,
                plausible_ml=label.size_ml,
                components=components,
                largest=float(sizes.max() / sizes.sum()) if shown else None,
                entropy_bits=float(entropy[inside].mean())
                if shown and entropy is not None
                else None,
                shape=outline,
                plausible_shape=label.shape,
            )
        )
    return tuple(found)


def _deviation(value: float | None, low: float, high: float) -> float:
    if not value:
        return FARTHEST
    half = max(math.log(high / low) / 2, 1e-6)  # of a range without a width
    return min(abs(math.log(value / math.sqrt(low * high))) / half, FARTHEST)


def compared(
    source: Sequence[Structure], result: Sequence[Structure]
) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """What is to be looked at in the source's segmentation, and what in the result."""
    in_source = [finding for structure in source for finding in _of_itself(structure)]
    in_result = []
    for was, now in zip(source, result, strict=True):
        in_result += [*_of_itself(now), *_fell_apart(was, now)]
    return tuple(in_source), tuple(in_result)


def _of_itself(structure: Structure) -> list[Finding]:
    """A volume outside the plausible range, and a model that is unsure."""
    found, name = [], structure.name
    if structure.ml is not None and structure.plausible_ml is not None:
        low, high = structure.plausible_ml
        size = f"({_ml(structure.ml)} ml, plausible {_ml(low)} to {_ml(high)} ml)"
        if structure.ml > high:
            found.append(Finding("too large", name, f"{name} is too large {size}"))
        elif not structure.ml and low:
            found.append(Finding("missing", name, f"{name} is missing"))
        elif structure.ml < low:
            found.append(Finding("too small", name, f"{name} is too small {size}"))
    unusual = _unusual(structure)
    if unusual:
        found.append(Finding("unusual shape", name, f"{name} has an unusual shape ({unusual})"))
    bits = structure.entropy_bits
    if bits is not None and bits > UNSURE_BITS:
        text = f"the model is unsure in {name} (mean entropy {bits:.2f} bits)"
        found.append(Finding("unsure", name, text))
    return found


def _unusual(structure: Structure) -> str:
    """The number of an unusual shape that is farthest off, in words; empty for a usual one."""
    if structure.shape is None or (structure.deviation or 0) <= UNUSUAL:
        return ""
    found = structure.deviations()
    worst = max(found, key=found.__getitem__)
    values = (getattr(structure.shape, worst), *getattr(structure.plausible_shape, worst))
    return IN_WORDS[worst].format(*(_digits(value, 2) for value in values))


def _fell_apart(was: Structure, now: Structure) -> list[Finding]:
    """A structure in more pieces than in the source's segmentation; lesions may have many."""
    if was.largest is None or now.largest is None:
        return []
    if now.largest >= PIECES or now.largest > was.largest - PIECES_LOST:
        return []
    text = (
        f"{now.name} is in pieces (the largest of {now.components} has {100 * now.largest:.0f} %)"
    )
    return [Finding("in pieces", now.name, text)]


def _ml(value: float) -> str:
    """A volume with three digits, as in 1,880 and 9.52."""
    return _digits(value, 3)


def _digits(value: float, count: int) -> str:
    """A number rounded to so many digits, without an exponent where it is large."""
    rounded = float(f"{value:.{count}g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 10 ** (count - 1) else f"{rounded:.{count}g}"
