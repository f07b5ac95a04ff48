"""Measure, without labels, how a result differs from the source model's segmentation.

All on the model's grid. Numbers are means over the classes that are in the source's or in the
result's segmentation, unless they are said to be of the worst class.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from scipy import ndimage
from torch import Tensor

from SFDALib.bundle.description import Label
from SFDALib.bundle.parts import AtHome
from SFDALib.evaluation.agreement import label_dice
from SFDALib.trust.structures import Structure, measure_structures
from SFDALib.uncertainty import entropy

Segment = Callable[[np.ndarray], Tensor]
"""An image ``(C, k, j, i)`` to class probabilities ``(K, k, j, i)``."""

BAND = 3  # voxels in plane on either side of a contour; its gradients are compared with these
CONTRAST = 0.8  # of the image with lower contrast, around each channel's mean
LEAST_RATIO = 0.01  # of two volumes; also used for a class that vanished


@dataclass(frozen=True)
class Evidence:
    """One image, segmented by the source model and again.

    Args:
        image: (C, k, j, i), normalised for the model.
        source, result: class probabilities (K, k, j, i).
        labels: the bundle's foreground classes.
        spacing_kji: of the model's grid, in mm.
        source_again: the source model, to be applied to the changed image.
        result_again: the adapted network; None for a method without one (HEAL).
        weight_distance: ``||w - w_source|| / ||w_source||``; None where no weight changed.
        collapsed: whether the adaptation was stopped because it collapsed.
        at_home: what the bundle says of the model on images of its own kind.
        draws: label maps (k, j, i) of all diffusion samples (HEAL).
        draw_scores: the score S of each sample.
    """

    image: np.ndarray
    source: Tensor
    result: Tensor
    labels: Sequence[Label]
    spacing_kji: tuple[float, float, float]
    source_again: Segment | None = None
    result_again: Segment | None = None
    weight_distance: float | None = None
    collapsed: bool = False
    at_home: AtHome | None = None
    draws: Sequence[np.ndarray] = ()
    draw_scores: Sequence[float] = ()

    @cached_property
    def in_source(self) -> Segmentation:
        """What the source model made."""
        return Segmentation.of(self.source, self)

    @cached_property
    def in_result(self) -> Segmentation:
        """What is judged."""
        return Segmentation.of(self.result, self)


@dataclass(frozen=True)
class Segmentation:
    """One segmentation of the evidence.

    Args:
        labels: ``(k, j, i)``.
        entropy: ``(k, j, i)`` in bits; None for labels without probabilities.
        structures: each class by itself.
    """

    labels: np.ndarray
    entropy: np.ndarray | None
    structures: tuple[Structure, ...]

    @classmethod
    def of(cls, probabilities: Tensor, evidence: Evidence) -> Segmentation:
        """From class probabilities ``(K, k, j, i)``."""
        labels = probabilities.argmax(0).cpu().numpy()
        bits = entropy(probabilities.float(), "bits").cpu().numpy()
        known = bits if bits.any() else None  # one-hot: labels without probabilities
        measured = measure_structures(labels, known, evidence.labels, evidence.spacing_kji)
        return cls(labels, known, measured)


@dataclass(frozen=True)
class Signals:
    """What was measured; None where that is impossible.

    Args:
        entropy_*: mean entropy in bits over the voxels labelled in either segmentation; None for a
            method that gives labels alone.
        stability_*: mean Dice of the segmentation with those of the flipped image and of the image
            with lower contrast, 0 to 1.
        size_error_*: ``|log(size / expected)|``, of the volume in ml or, of a single slice, of the
            area.
        outside_*: ``|log(volume / nearest bound)|`` outside the plausible range in ml; 0 inside.
        shape_*: how far the shapes are from plausible ones, see ``Structure.deviation``.
        largest_*: share of the largest connected component.
        components_*: number of connected components, all classes together.
        edge_*: mean gradient on the contours over that in a band around them; above 1 the contours
            follow edges of the image.
        agreement: Dice between the result and the source's segmentation.
        shrinkage, growth: log of the factor by which the worst class shrank or grew; 0 if none did.
        weight_distance, collapsed: as in ``Evidence``.
        draw_agreement: mean Dice between every two of the draws.
        draw_spread: the best score of a draw less the worst.
        others: mean Dice with the results of other methods, in a comparison.
        *_home: of the source model on images of its own kind, see ``AtHome``.
    """

    entropy_source: float | None
    entropy_result: float | None
    stability_source: float | None
    stability_result: float | None
    size_error_source: float | None
    size_error_result: float | None
    outside_source: float | None
    outside_result: float | None
    largest_source: float | None
    largest_result: float | None
    components_source: int
    components_result: int
    edge_source: float | None
    edge_result: float | None
    agreement: float
    shrinkage: float
    growth: float
    weight_distance: float | None
    collapsed: bool
    draw_agreement: float | None = None
    draw_spread: float | None = None
    others: float | None = None
    shape_source: float | None = None
    shape_result: float | None = None
    dice_home: float | None = None
    entropy_home: float | None = None
    stability_home: float | None = None

    @property
    def unchanged(self) -> bool:
        """Whether both segmentations are the same."""
        return self.agreement == 1


def measure(evidence: Evidence) -> Signals:
    """The signals of one result.

    Two passes of each network over the image, see ``stability``.
    """
    source, result = evidence.in_source, evidence.in_result
    gradient = _gradient(evidence.image)
    shown = (source.labels > 0) | (result.labels > 0)
    sizes = [
        (int((source.labels == label.value).sum()), int((result.labels == label.value).sum()))
        for label in evidence.labels
    ]
    changes = [math.log(_ratio(now, was)) for was, now in sizes if was or now]
    scores, home = evidence.draw_scores, evidence.at_home
    values: dict[str, Any] = {}
    for name, of, again in (
        ("source", source, evidence.source_again),
        ("result", result, evidence.result_again),
    ):
        shares = [part.largest for part in of.structures if part.largest is not None]
        values |= {
            f"entropy_{name}": None if of.entropy is None else mean_entropy(of.entropy, shown),
            f"stability_{name}": again and stability(of.labels, evidence.image, again),
            f"size_error_{name}": _size_error(of.labels, evidence),
            f"outside_{name}": _outside(of.structures),
            f"shape_{name}": _shape(of.structures),
            f"largest_{name}": float(np.mean(shares)) if shares else None,
            f"components_{name}": sum(part.components for part in of.structures),
            f"edge_{name}": _edge_agreement(of.labels, gradient),
        }
    return Signals(
        **values,
        agreement=label_dice(source.labels, result.labels),
        shrinkage=max(0.0, *(-change for change in changes), 0.0),
        growth=max(0.0, *changes, 0.0),
        weight_distance=evidence.weight_distance,
        collapsed=evidence.collapsed,
        draw_agreement=_pairwise(evidence.draws),
        draw_spread=max(scores) - min(scores) if len(scores) > 1 else None,
        dice_home=home.dice if home else None,
        entropy_home=home.entropy_bits if home else None,
        stability_home=home.stability if home else None,
    )


def stability(labels: np.ndarray, image: np.ndarray, segment: Segment) -> float:
    """Mean Dice with the segmentations of the image flipped along i and with lower contrast.

    Args:
        labels: ``(k, j, i)``, of the image as it is.
        image: ``(C, k, j, i)``.
        segment: the network that made the labels.
    """
    mean = image.mean(axis=(1, 2, 3), keepdims=True)
    lower = (mean + CONTRAST * (image - mean)).astype(np.float32)
    flipped = np.ascontiguousarray(image[..., ::-1])
    views = (segment(flipped).flip(-1), segment(lower))
    return float(np.mean([label_dice(labels, p.argmax(0).cpu().numpy()) for p in views]))


def weight_distance(weights: Mapping[str, Tensor], source: Mapping[str, Tensor]) -> float:
    """``||w - w_source|| / ||w_source||`` over all floating-point entries of two state dicts."""
    moved = total = 0.0
    for name, value in source.items():
        if value.is_floating_point():
            now = weights[name].to(value.device)
            moved += float((now - value).double().square().sum())
            total += float(value.double().square().sum())
    return math.sqrt(moved / total) if total else 0.0


def _pairwise(draws: Sequence[np.ndarray]) -> float | None:
    """Mean Dice between every two of them."""
    scores = [label_dice(one, other) for one, other in combinations(draws, 2)]
    return float(np.mean(scores)) if scores else None


def _ratio(now: float, was: float) -> float:
    """``now / was``, between LEAST_RATIO and its inverse."""
    ratio = now / was if was else math.inf
    return min(max(ratio, LEAST_RATIO), 1 / LEAST_RATIO)


def mean_entropy(values: np.ndarray, shown: np.ndarray) -> float:
    """The mean of the entropy where something is shown, of all of it if nothing is."""
    return float(values[shown].mean() if shown.any() else values.mean())


def _size_error(labels: np.ndarray, evidence: Evidence) -> float | None:
    """Mean over the classes whose mean size is in the bundle."""
    errors = []
    area_mm2 = math.prod(evidence.spacing_kji[1:])
    voxel_ml = math.prod(evidence.spacing_kji) / 1000
    for label in evidence.labels:
        count = int((labels == label.value).sum())
        if labels.shape[0] > 1 and label.mean_ml:
            errors.append(abs(math.log(_ratio(count * voxel_ml, label.mean_ml))))
        elif labels.shape[0] == 1 and label.slice_area_mm2:
            errors.append(abs(math.log(_ratio(count * area_mm2, label.slice_area_mm2))))
    return float(np.mean(errors)) if errors else None


def _outside(structures: Sequence[Structure]) -> float | None:
    """Mean over the classes with a plausible range in ml; None for a single slice."""
    errors = []
    for part in structures:
        if part.ml is not None and part.plausible_ml:
            low, high = part.plausible_ml
            nearest = min(max(part.ml, low), high)
            errors.append(abs(math.log(_ratio(part.ml, nearest))))
    return float(np.mean(errors)) if errors else None


def _shape(structures: Sequence[Structure]) -> float | None:
    """Mean over the classes with a plausible shape."""
    every = [part.deviation for part in structures if part.deviation is not None]
    return float(np.mean(every)) if every else None


def _gradient(image: np.ndarray) -> np.ndarray:
    """In-plane gradient magnitude (k, j, i), of the channels' mean."""
    mean = image.mean(axis=0)
    along = (ndimage.correlate1d(mean, (-0.5, 0, 0.5), axis, mode="nearest") for axis in (1, 2))
    first, second = along
    return np.hypot(first, second)


def _edge_agreement(labels: np.ndarray, gradient: np.ndarray) -> float | None:
    """Mean gradient on the contours of the labels over that within BAND voxels of them."""
    cross = ndimage.generate_binary_structure(2, 1)[None]
    high = ndimage.maximum_filter(labels, footprint=cross)
    border = high != ndimage.minimum_filter(labels, footprint=cross)
    if not border.any():
        return None
    band = ndimage.binary_dilation(border, cross, iterations=BAND)
    around = float(gradient[band].mean())
    return float(gradient[border].mean() / around) if around > 0 else None
