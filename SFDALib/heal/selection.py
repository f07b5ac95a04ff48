"""Edge-guided selection (EGS): the diffusion sample whose edges best follow the condition.

Works on numpy arrays, as the Canny detector does. Edges are found slice by slice along ``axis``
(0, the slices, in our order (k, j, i)); samples and condition must lie on the same grid. Left out:
edges of the brain area in the condition, whose outline would outweigh the structures' own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, assert_never

import numpy as np
from skimage.feature import canny
from skimage.morphology import dilation, disk
from skimage.segmentation import find_boundaries

from SFDALib.methods.heal import HealOptions

LabelEdges = Literal["canny", "boundary"]


@dataclass(frozen=True)
class Selection:
    """Edge agreement of every sample with the condition, and the sample chosen.

    Args:
        scores: S_i of each sample, in [0, 1].
        densities: share of each sample's voxels that are edges (widened by the tolerance).
        intersections: |E_Ii and E_Y*| of each sample, in voxels.
        condition_edge_count: |E_Y*|, in voxels.
        chosen: index of the best sample by ``edge_score``, the first on ties; None if the condition
            has no edges, for then nothing tells the samples apart.
        notes: degenerate outcomes, in plain words.
    """

    scores: tuple[float, ...]
    densities: tuple[float, ...]
    intersections: tuple[int, ...]
    condition_edge_count: int
    chosen: int | None
    notes: tuple[str, ...]


def canny_edges(
    image: np.ndarray, sigma: float, low: float = 0.1, high: float = 0.2, axis: int = 0
) -> np.ndarray:
    """Canny edges of each slice of a volume.

    Args:
        image: (k, j, i), any real type; the thresholds are in its own units.
        sigma: width of the Gaussian, in pixels.
        low: low hysteresis threshold on the gradient.
        high: high hysteresis threshold on the gradient.
        axis: the axis along which the slices lie.

    Returns:
        (k, j, i) bool.
    """
    slices = np.moveaxis(image.astype(np.float32), axis, 0)
    edges = np.stack([canny(s, sigma, low_threshold=low, high_threshold=high) for s in slices])
    return np.moveaxis(edges, 0, axis)


def label_edges(
    labels: np.ndarray,
    method: LabelEdges,
    sigma: float,
    low: float = 0.1,
    high: float = 0.2,
    axis: int = 0,
) -> np.ndarray:
    """Edges of a label map, slice by slice.

    "canny" runs the detector on the label values themselves, as the released code does, so
    that a step between distant labels is a stronger edge. "boundary" takes the inner
    morphological edge: foreground pixels with a 4-neighbour of another label.

    Args:
        labels: (k, j, i) integers.
        method: "canny" or "boundary"; sigma, low and high are Canny's.

    Returns:
        (k, j, i) bool.
    """
    match method:
        case "canny":
            return canny_edges(labels, sigma, low, high, axis)
        case "boundary":
            slices = np.moveaxis(labels, axis, 0)
            edges = np.stack([find_boundaries(s, connectivity=1, mode="inner") for s in slices])
            return np.moveaxis(edges, 0, axis)
        case _:
            assert_never(method)


def condition_edges(labels: np.ndarray, options: HealOptions, axis: int = 0) -> np.ndarray:
    """The edges that samples are compared with, (k, j, i) bool, of Y* (k, j, i)."""
    return label_edges(labels, options.label_edges, **_detector(options, labels, axis))


def _detector(options: HealOptions, labels: np.ndarray, axis: int) -> dict[str, Any]:
    """Canny's arguments; its sigma depends on whether there are several slices."""
    sigma = options.canny_sigma
    if sigma is None:
        sigma = 3.0 if labels.shape[axis] == 1 else 1.0
    return {"sigma": sigma, "low": options.canny_low, "high": options.canny_high, "axis": axis}


def widened(edges: np.ndarray, tolerance: int, axis: int = 0) -> np.ndarray:
    """Edges (k, j, i) widened within each slice by a disk of radius ``tolerance`` pixels."""
    return dilation(edges, np.expand_dims(disk(tolerance), axis)) if tolerance else edges


def edge_agreement(image_edges: np.ndarray, condition_edges: np.ndarray) -> tuple[int, float]:
    """Share of the condition's edges that the image has too, S = |E_I and E_Y| / |E_Y|.

    Counted over the whole volume, not averaged over slices.

    Args:
        image_edges: (k, j, i) bool.
        condition_edges: (k, j, i) bool.

    Returns:
        Voxels in the intersection, and S in [0, 1]; (0, 0.0) if the condition has no edges.
    """
    intersection = int(np.count_nonzero(image_edges & condition_edges))
    total = int(np.count_nonzero(condition_edges))
    return intersection, intersection / total if total else 0.0


def _scaled(image: np.ndarray) -> np.ndarray:
    least, most = image.min(), image.max()
    return (image - least) / (most - least) if most > least else np.zeros_like(image)


def select_sample(
    samples: Sequence[np.ndarray],
    condition_labels: np.ndarray,
    options: HealOptions,
    axis: int = 0,
) -> Selection:
    """Choose the sample whose Canny edges cover most of the condition's edges.

    Args:
        samples: images of (k, j, i) or (C, k, j, i), which are scaled to [0, 1] by their least and
            largest value, as in the released code; the edges of several channels are those of
            their mean.
        condition_labels: (k, j, i) integers, Y* on the samples' grid, without any label for the
            brain area.
        axis: the axis of (k, j, i) along which the slices lie.
    """
    detector = _detector(options, condition_labels, axis)
    condition = condition_edges(condition_labels, options, axis)
    agreements, densities = [], []
    for sample in samples:
        image = _scaled(sample.mean(axis=0) if sample.ndim == 4 else sample)
        edges = widened(canny_edges(image, **detector), options.edge_tolerance, axis)
        agreements.append(edge_agreement(edges, condition))
        densities.append(float(edges.mean()))
    scores = tuple(score for _, score in agreements)
    merits = scores
    if options.edge_score == "corrected":
        merits = tuple((s - d) / max(1 - d, 1e-9) for s, d in zip(scores, densities, strict=True))

    chosen: int | None = merits.index(max(merits))
    notes: tuple[str, ...] = ()
    if not condition.any():
        chosen = None
        notes = ("The condition has no edges: no sample can be preferred to another.",)
    elif max(scores) == 0:
        notes = ("No sample shares an edge with the condition: the first is chosen unproven.",)
    return Selection(
        scores=scores,
        densities=tuple(densities),
        intersections=tuple(count for count, _ in agreements),
        condition_edge_count=int(np.count_nonzero(condition)),
        chosen=chosen,
        notes=notes,
    )
