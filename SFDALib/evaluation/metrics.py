"""How well a segmentation agrees with a reference: overlap, surface distances in mm, volumes in ml.

Every measure of one class uses one notion of surface: the surface elements ("surfels") that the
2x2x2 voxel neighbourhoods (2x2 in a single slice) cut out of a mask, each with its area in mm²
(length in mm), as defined by S. Nikolov et al., "Clinically applicable segmentation of head and
neck anatomy for radiotherapy", JMIR 2021, and google-deepmind's `surface-distance`; MONAI finds
them. With d(s) the distance of a surfel of one mask to the closest surfel of the other:

- Dice: 2 |P ∩ R| / (|P| + |R|), in voxels.
- ASD: the average *symmetric* surface distance (ASSD): the area-weighted mean of d over the surfels
  of both masks together, in mm. Not one-directional, and not the mean of two directional means.
- HD95: the larger of the two directional 95th percentiles of d, weighted by area, in mm.
- Surface Dice: the share of the area of both surfaces with d <= tolerance.

MONAI's own ASD and HD95 run over the centres of boundary voxels, all weighted alike; the two kinds
differ by up to about a voxel. The image's border counts as surface. A volume of one slice is
measured as a 2D contour: it has no top or bottom, and its thickness counts only in ml.

Empty masks. Both empty: nothing to measure, all measures NaN (neither a success nor a failure).
One empty: a failure, Dice and surface Dice 0; no distance exists, ASD and HD95 NaN. A mean over
cases is therefore always given with the number counted, excluded and failed (`summarise`).

This room knows arrays and spacings, and nothing of methods, files or geometry beyond the spacing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from SFDALib.errors import RequestError

MEASURES = ("dice", "asd_mm", "hd95_mm", "surface_dice")
"""The measures of `ClassMetrics` that `summarise` averages."""


@dataclass(frozen=True)
class ClassMetrics:
    """Agreement of one class of one case; NaN where the empty-mask policy above says so."""

    dice: float
    asd_mm: float
    """Average symmetric surface distance, mm."""
    hd95_mm: float
    """95th percentile Hausdorff distance, mm."""
    surface_dice: float
    """Surface Dice at `tolerance_mm`."""
    tolerance_mm: float
    predicted_ml: float
    reference_ml: float
    empty: Literal["none", "prediction", "reference", "both"]
    """Which of the two masks holds no voxel."""

    @property
    def failed(self) -> bool:
        """Whether exactly one mask is empty: the class was missed, or found where there is none."""
        return self.empty in ("prediction", "reference")


@dataclass(frozen=True)
class MeasureSummary:
    """One measure over many cases; `counted + excluded` is the number of cases."""

    mean: float
    """Over the finite values; NaN where there is none."""
    counted: int
    """Cases in the mean."""
    excluded: int
    """Cases without a value, not in the mean."""
    failed: int
    """Cases with exactly one empty mask: counted, as 0, in Dice and surface Dice; excluded from ASD
    and HD95, whose means must not be shown without this number."""


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Dice of two boolean masks of equal shape; NaN where both are empty, 0 where one is.

    Raises RequestError where the shapes differ.
    """
    if prediction.shape != reference.shape:
        raise RequestError(
            f"Found a prediction of shape {prediction.shape} and a reference of shape"
            f" {reference.shape}; expected equal shapes: resample the prediction to the reference's"
            " grid (nearest neighbour)."
        )
    total = np.count_nonzero(prediction) + np.count_nonzero(reference)
    return float(2 * np.count_nonzero(prediction & reference) / total) if total else math.nan


def volume_ml(mask: np.ndarray, spacing: Sequence[float]) -> float:
    """Volume in ml of a boolean mask (K, J, I), spacing (k, j, i) in mm; a slice has its thickness.

    Raises RequestError where the mask is not 3D or the spacing is not three positive numbers.
    """
    if mask.ndim != 3:
        raise RequestError(
            f"Found a mask of shape {mask.shape}; expected three axes (K, J, I):"
            " give a single slice as (1, J, I)."
        )
    if len(spacing) != 3 or not all(math.isfinite(s) and s > 0 for s in spacing):
        raise RequestError(
            f"Found the spacing {tuple(spacing)}; expected three positive numbers in mm (k, j, i):"
            " correct the volume's header."
        )
    return float(np.count_nonzero(mask) * math.prod(spacing) / 1000)


def evaluate_mask(
    prediction: np.ndarray,
    reference: np.ndarray,
    spacing: Sequence[float],
    tolerance_mm: float,
) -> ClassMetrics:
    """All measures of one class or region.

    prediction, reference: boolean (K, J, I); K, J or I may be 1 (a single slice).
    spacing: (k, j, i) in mm. tolerance_mm: of the surface Dice, at least 0.

    Raises RequestError for unequal shapes, a mask that is not 3D, or an unusable spacing or
    tolerance.
    """
    if not (math.isfinite(tolerance_mm) and tolerance_mm >= 0):
        raise RequestError(
            f"Found the tolerance {tolerance_mm} mm; expected a number of at least 0:"
            " give the surface deviation in mm that counts as agreement."
        )
    overlap = dice(prediction, reference)
    predicted_ml = volume_ml(prediction, spacing)
    reference_ml = volume_ml(reference, spacing)
    if predicted_ml and reference_ml:
        empty = "none"
        surfaces = _Surfaces.measure(prediction, reference, spacing)
        asd, hd95 = surfaces.average(), surfaces.percentile(95)
        surface_dice = surfaces.share_within(tolerance_mm)
    else:
        empty = "prediction" if reference_ml else "reference" if predicted_ml else "both"
        asd = hd95 = math.nan
        surface_dice = overlap
    return ClassMetrics(
        overlap, asd, hd95, surface_dice, tolerance_mm, predicted_ml, reference_ml, empty
    )


def evaluate_labels(
    prediction: np.ndarray,
    reference: np.ndarray,
    spacing: Sequence[float],
    labels: Iterable[int],
    tolerance_mm: float,
) -> dict[int, ClassMetrics]:
    """`evaluate_mask` for each of `labels` in two integer label maps (K, J, I).

    A region of several labels is measured with `evaluate_mask` and `np.isin(map, labels)`.
    """
    return {
        label: evaluate_mask(prediction == label, reference == label, spacing, tolerance_mm)
        for label in labels
    }


def summarise(cases: Iterable[ClassMetrics]) -> dict[str, MeasureSummary]:
    """The mean of each of `MEASURES` over the cases of one class, with what it leaves out."""
    cases = list(cases)
    failed = sum(case.failed for case in cases)
    summary = {}
    for measure in MEASURES:
        values = [getattr(case, measure) for case in cases]
        finite = [value for value in values if math.isfinite(value)]
        mean = math.fsum(finite) / len(finite) if finite else math.nan
        summary[measure] = MeasureSummary(mean, len(finite), len(values) - len(finite), failed)
    return summary


@dataclass(frozen=True)
class _Surfaces:
    """The surfels of the prediction and of the reference.

    distances: per mask (n,) float32, mm to the closest surfel of the other mask.
    areas: per mask (n,) float64, mm² (mm for contours).
    """

    distances: tuple[np.ndarray, np.ndarray]
    areas: tuple[np.ndarray, np.ndarray]

    @classmethod
    def measure(
        cls, prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]
    ) -> _Surfaces:
        """Of two masks (K, J, I) with a voxel each; a singleton axis is dropped."""
        import torch
        from monai.metrics import get_mask_edges, get_surface_distance

        spacing = [float(s) for s in spacing]
        if 1 in prediction.shape:
            axis = prediction.shape.index(1)
            prediction, reference = prediction.squeeze(axis), reference.squeeze(axis)
            del spacing[axis]
        # MONAI computes the areas of torch tensors only.
        masks = (torch.tensor(mask, dtype=torch.bool) for mask in (prediction, reference))
        edges_p, edges_r, areas_p, areas_r = get_mask_edges(*masks, spacing=spacing)
        distances = (
            get_surface_distance(edges_p, edges_r, spacing=spacing),
            get_surface_distance(edges_r, edges_p, spacing=spacing),
        )
        areas = (areas_p[edges_p], areas_r[edges_r])
        return cls(
            tuple(d.numpy() for d in distances), tuple(a.numpy().astype(np.float64) for a in areas)
        )

    def average(self) -> float:
        """Area-weighted mean distance over both surfaces, mm."""
        return float(np.average(np.concatenate(self.distances), weights=np.concatenate(self.areas)))

    def percentile(self, percent: float) -> float:
        """The smallest distance in mm that covers `percent` of the area, of the worse direction."""
        worst = 0.0
        for distances, areas in zip(self.distances, self.areas, strict=True):
            order = np.argsort(distances)
            covered = np.cumsum(areas[order])
            at = np.searchsorted(covered, covered[-1] * percent / 100)
            worst = max(worst, float(distances[order[at]]))
        return worst

    def share_within(self, tolerance_mm: float) -> float:
        """The share of the area of both surfaces that lies within `tolerance_mm` of the other."""
        # In float32, where 3 x 0.1 mm is within 0.3 mm; in float64 it is not.
        within = np.concatenate(self.distances) <= np.float32(tolerance_mm)
        areas = np.concatenate(self.areas)
        return float(areas[within].sum() / areas.sum())
