"""How well a segmentation agrees with a reference: overlap, surface distances in mm, volumes in ml.

- Dice: 2 |P ∩ R| / (|P| + |R|), in voxels.
- ASD: the average *symmetric* surface distance (ASSD), in mm.
- HD95: the larger of the two directional 95th percentiles of the surface distance, in mm.
- Surface Dice: the share of both surfaces within a tolerance in mm of the other.

``surface_distance`` defines the last three. Volumes count the thickness of a single slice.

Empty masks. Both empty: nothing to measure, all measures are NaN (neither a success nor a failure).
One empty: a failure, Dice and surface Dice are 0; no distance exists, ASD and HD95 are NaN. A mean
over cases therefore always says how many cases were counted, excluded and failed (``summarise``).

Knows arrays and spacings, and nothing of methods, files or geometry beyond the spacing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import stdtrit

from SFDALib.errors import RequestError
from SFDALib.evaluation.surface_distance import (
    average_symmetric_surface_distance,
    hausdorff_95,
    surface_dice_at_tolerance,
    surface_distances,
)

MEASURES = ("dice", "asd_mm", "hd95_mm", "surface_dice")
"""The measures of ``ClassMetrics`` that ``summarise`` averages."""

CONFIDENCE = 0.95  # of the interval of a mean


@dataclass(frozen=True)
class ClassMetrics:
    """Agreement of one class of one case; NaN where the policy for empty masks above says so.

    Args:
        dice: 0 to 1.
        asd_mm: average symmetric surface distance, mm.
        hd95_mm: 95th percentile Hausdorff distance, mm.
        surface_dice: at ``tolerance_mm``, 0 to 1.
        tolerance_mm: of the surface Dice.
        predicted_ml, reference_ml: volumes.
        empty: which of the two masks has no voxel.
    """

    dice: float
    asd_mm: float
    hd95_mm: float
    surface_dice: float
    tolerance_mm: float
    predicted_ml: float
    reference_ml: float
    empty: Literal["none", "prediction", "reference", "both"]

    @property
    def failed(self) -> bool:
        """Whether exactly one mask is empty: the class was missed, or found where there is none."""
        return self.empty in ("prediction", "reference")


@dataclass(frozen=True)
class MeasureSummary:
    """One measure over many cases; ``counted + excluded`` is the number of cases.

    Args:
        mean: over the finite values; NaN where there is none.
        low, high: 95 % confidence interval of the mean by Student's t distribution; NaN for fewer
            than two values.
        counted: cases in the mean.
        excluded: cases without a value, not in the mean.
        failed: cases with exactly one empty mask. They count as 0 in Dice and surface Dice and are
            excluded from ASD and HD95, whose means must not be shown without this number.
    """

    mean: float
    low: float
    high: float
    counted: int
    excluded: int
    failed: int


def dice(prediction: np.ndarray, reference: np.ndarray, *, both_empty: float = math.nan) -> float:
    """Dice of two masks, ``2 |P ∩ R| / (|P| + |R|)``; 0 where one is empty.

        >>> dice(np.array([True, True, False]), np.array([False, True, False]))
        0.6666666666666666
        >>> dice(np.array([False]), np.array([False]), both_empty=1.0)
        1.0

    Args:
        prediction, reference: boolean, of equal shape.
        both_empty: the value where neither has a voxel.

    Raises:
        RequestError: the shapes differ.
    """
    if prediction.shape != reference.shape:
        raise RequestError(
            f"prediction: found the shape {prediction.shape}, expected that of the reference,"
            f" {reference.shape}; resample the prediction to the reference's grid (nearest"
            " neighbour)"
        )
    total = np.count_nonzero(prediction) + np.count_nonzero(reference)
    return float(2 * np.count_nonzero(prediction & reference) / total) if total else both_empty


def volume_ml(mask: np.ndarray, spacing: Sequence[float]) -> float:
    """Volume of a mask in ml; a single slice has its thickness.

    Args:
        mask: boolean ``(K, J, I)``.
        spacing: (k, j, i) in mm.

    Raises:
        RequestError: the mask is not 3D, or the spacing is not three positive numbers.
    """
    if mask.ndim != 3:
        raise RequestError(
            f"mask: found the shape {mask.shape}, expected three axes (K, J, I); give a single"
            " slice as (1, J, I)"
        )
    if len(spacing) != 3 or not all(math.isfinite(s) and s > 0 for s in spacing):
        raise RequestError(
            f"spacing: found {tuple(spacing)}, expected three positive numbers in mm (k, j, i);"
            " correct the volume's header"
        )
    return float(np.count_nonzero(mask) * math.prod(spacing) / 1000)


def evaluate_mask(
    prediction: np.ndarray,
    reference: np.ndarray,
    spacing: Sequence[float],
    tolerance_mm: float,
) -> ClassMetrics:
    """All measures of one class or region.

    Args:
        prediction, reference: boolean ``(K, J, I)``; K, J or I may be 1 (a single slice).
        spacing: (k, j, i) in mm.
        tolerance_mm: of the surface Dice, at least 0.

    Raises:
        RequestError: unequal shapes, a mask that is not 3D, or an unusable spacing or tolerance.
    """
    if not (math.isfinite(tolerance_mm) and tolerance_mm >= 0):
        raise RequestError(
            f"tolerance: found {tolerance_mm} mm, expected a number of at least 0; give the"
            " distance in mm up to which two surfaces count as equal"
        )
    overlap = dice(prediction, reference)
    predicted_ml = volume_ml(prediction, spacing)
    reference_ml = volume_ml(reference, spacing)
    empty = _which_is_empty(predicted_ml, reference_ml)
    if empty != "none":
        asd = hd95 = math.nan
        surface_dice = overlap
    else:
        surfaces = surface_distances(prediction, reference, spacing)
        asd = average_symmetric_surface_distance(surfaces)
        hd95 = hausdorff_95(surfaces)
        surface_dice = surface_dice_at_tolerance(surfaces, tolerance_mm)
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
    """``evaluate_mask`` for each of several labels.

    A region of several labels is measured with ``evaluate_mask`` and ``np.isin(map, labels)``.

    Args:
        prediction, reference: integer label maps ``(K, J, I)``.
        spacing: (k, j, i) in mm.
        labels: the values to measure.
        tolerance_mm: of the surface Dice.

    Returns:
        The measures by label.

    Raises:
        RequestError: as ``evaluate_mask`` does.
    """
    return {
        label: evaluate_mask(prediction == label, reference == label, spacing, tolerance_mm)
        for label in labels
    }


def summarise(cases: Iterable[ClassMetrics]) -> dict[str, MeasureSummary]:
    """Mean and confidence interval of each of ``MEASURES`` over the cases of one class."""
    cases = list(cases)
    failed = sum(case.failed for case in cases)
    summary = {}
    for measure in MEASURES:
        finite = [v for v in (getattr(case, measure) for case in cases) if math.isfinite(v)]
        mean = math.fsum(finite) / len(finite) if finite else math.nan
        margin = _margin_of_mean(finite)
        summary[measure] = MeasureSummary(
            mean, mean - margin, mean + margin, len(finite), len(cases) - len(finite), failed
        )
    return summary


def _margin_of_mean(values: Sequence[float]) -> float:
    """Half the width of the confidence interval, ``t s / sqrt(n)``; NaN for fewer than two."""
    if len(values) < 2:
        return math.nan
    t = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2))
    return t * float(np.std(values, ddof=1)) / math.sqrt(len(values))


def _which_is_empty(
    predicted_ml: float, reference_ml: float
) -> Literal["none", "prediction", "reference", "both"]:
    if predicted_ml:
        return "none" if reference_ml else "reference"
    return "prediction" if reference_ml else "both"
