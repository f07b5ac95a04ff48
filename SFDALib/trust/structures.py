"""Measure each structure of a segmentation by itself, and name what is to be looked at in it.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from SFDALib.bundle.description import Label
from SFDALib.trust.findings import Finding

PIECES = 0.8  # largest connected part of a structure that is in one piece, at least
PIECES_LOST = 0.1  # by which it is smaller than in the source's segmentation, at least
UNSURE_BITS = 0.5  # mean entropy inside a structure; with two classes, of 0.89 to 0.11


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
    """

    name: str
    ml: float | None
    plausible_ml: tuple[float, float] | None
    components: int
    largest: float | None
    entropy_bits: float | None


def measure_structures(
    labels: np.ndarray, entropy: np.ndarray | None, classes: Sequence[Label], voxel_ml: float
) -> tuple[Structure, ...]:
    """Measure every structure.

    Args:
        labels: ``(k, j, i)``.
        entropy: ``(k, j, i)`` in bits; None for labels without probabilities.
        classes: the structures.
        voxel_ml: volume of a voxel.
    """
    found = []
    for label in classes:
        inside = labels == label.value
        numbered, components = ndimage.label(inside)
        sizes = np.bincount(numbered.ravel())[1:]
        shown = components > 0
        found.append(
            Structure(
                name=label.name,
                ml=float(sizes.sum()) * voxel_ml if labels.shape[0] > 1 else None,
                plausible_ml=label.size_ml,
                components=components,
                largest=float(sizes.max() / sizes.sum()) if shown else None,
                entropy_bits=float(entropy[inside].mean())
                if shown and entropy is not None
                else None,
            )
        )
    return tuple(found)


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
    bits = structure.entropy_bits
    if bits is not None and bits > UNSURE_BITS:
        text = f"the model is unsure in {name} (mean entropy {bits:.2f} bits)"
        found.append(Finding("unsure", name, text))
    return found


def _fell_apart(was: Structure, now: Structure) -> list[Finding]:
    """A structure in more pieces than in the source's segmentation; lesions may have many."""
    if was.largest is None or now.largest is None:
        return []
    if now.largest >= PIECES or now.largest > was.largest - PIECES_LOST:
        return []
    text = f"{now.name} is in pieces (the largest of {now.components} has {now.largest:.0%})"
    return [Finding("in pieces", now.name, text)]


def _ml(value: float) -> str:
    """A volume with three digits, as in 1,880 and 9.52."""
    return f"{float(f'{value:.3g}'):,.0f}" if abs(value) >= 100 else f"{value:.3g}"
