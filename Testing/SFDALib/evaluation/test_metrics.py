"""The metrics against numbers derived by hand, google-deepmind's package and MONAI's metrics."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from paths import ROOT
from scipy.ndimage import gaussian_filter
from scipy.stats import sem
from scipy.stats import t as student

from SFDALib.errors import RequestError
from SFDALib.evaluation.metrics import (
    ClassMetrics,
    dice,
    evaluate_labels,
    evaluate_mask,
    summarise,
    volume_ml,
)

FIXTURE = json.loads((ROOT / "Testing" / "parity" / "surface_distance.json").read_text())
FIXTURE_MASKS = tuple(np.array(FIXTURE[name], dtype=bool) for name in ("pred", "gt"))
ANISOTROPIC = (2.5, 0.8, 1.1)


def blobs(seed: int, shape: tuple[int, ...] = (14, 22, 18)) -> tuple[np.ndarray, np.ndarray]:
    """Two overlapping irregular masks that reach the border of the image."""
    rng = np.random.default_rng(seed)
    common = gaussian_filter(rng.standard_normal(shape), 2)
    own = [gaussian_filter(rng.standard_normal(shape), 2) for _ in range(2)]
    prediction, reference = (common + 0.4 * field > 0.02 for field in own)
    return prediction, reference


def box(shape: tuple[int, ...], *ranges: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(*r) for r in ranges)] = True
    return mask


def case(**changes: object) -> ClassMetrics:
    perfect = dict(dice=1.0, asd_mm=0.0, hd95_mm=0.0, surface_dice=1.0, tolerance_mm=1.0)
    return ClassMetrics(
        **perfect | dict(predicted_ml=1.0, reference_ml=1.0, empty="none") | changes
    )


@pytest.mark.parametrize("name", ["iso1", "aniso"])
def test_surface_measures_equal_the_numbers_of_the_deepmind_fixture(name: str) -> None:
    expected = FIXTURE[name]
    for tolerance, surface_dice in expected["surface_dice"].items():
        found = evaluate_mask(*FIXTURE_MASKS, expected["spacing"], float(tolerance))
        assert found.surface_dice == pytest.approx(surface_dice, rel=1e-5)
    assert found.hd95_mm == pytest.approx(expected["hd95"], rel=1e-5)
    # The pooled mean lies between the two directional means of the fixture.
    low, high = sorted(expected["average_surface_distance"])
    assert low < found.asd_mm < high


@pytest.mark.parametrize(
    ("shape", "spacing"), [((14, 22, 18), ANISOTROPIC), ((1, 40, 30), ANISOTROPIC)]
)
@pytest.mark.parametrize("seed", range(3))
def test_surface_measures_agree_with_the_deepmind_package(
    seed: int, shape: tuple[int, ...], spacing: tuple[float, ...]
) -> None:
    oracle = pytest.importorskip("surface_distance")
    prediction, reference = blobs(seed, shape)
    found = evaluate_mask(prediction, reference, spacing, tolerance_mm=1.0)

    flat = shape[0] == 1
    masks = (reference[0], prediction[0]) if flat else (reference, prediction)
    surfels = oracle.compute_surface_distances(*masks, spacing[1:] if flat else spacing)
    areas = [surfels[f"surfel_areas_{side}"].sum() for side in ("gt", "pred")]
    means = oracle.compute_average_surface_distance(surfels)
    assert found.surface_dice == pytest.approx(
        oracle.compute_surface_dice_at_tolerance(surfels, 1.0), rel=1e-5
    )
    assert found.hd95_mm == pytest.approx(oracle.compute_robust_hausdorff(surfels, 95), rel=1e-5)
    assert found.asd_mm == pytest.approx(np.average(means, weights=areas), rel=1e-5)
    assert found.asd_mm > 0.1 and 0.1 < found.surface_dice < 0.99


@pytest.mark.parametrize("seed", range(3))
def test_measures_agree_with_monais_metrics_within_a_voxel(seed: int) -> None:
    import torch
    from monai import metrics

    prediction, reference = blobs(seed)
    found = evaluate_mask(prediction, reference, ANISOTROPIC, tolerance_mm=1.0)

    pair = [torch.tensor(mask[None, None], dtype=torch.float32) for mask in (prediction, reference)]
    surface_dice = metrics.SurfaceDiceMetric([1.0], include_background=True, use_subvoxels=True)
    hausdorff = metrics.HausdorffDistanceMetric(include_background=True, percentile=95)
    average = metrics.SurfaceDistanceMetric(include_background=True, symmetric=True)
    assert found.dice == pytest.approx(metrics.DiceMetric()(*pair).item(), rel=1e-5)
    assert found.surface_dice == pytest.approx(
        surface_dice(*pair, spacing=ANISOTROPIC).item(), rel=1e-5
    )
    # MONAI's distances run between centres of boundary voxels, ours between their corners: either
    # end moves by at most half a voxel's diagonal (1.42 mm here).
    diagonal = math.hypot(*ANISOTROPIC)
    monai_hd95 = hausdorff(*pair, spacing=ANISOTROPIC).item()
    assert found.hd95_mm == pytest.approx(monai_hd95, abs=diagonal)
    monai_asd = average(*pair, spacing=ANISOTROPIC).item()
    assert found.asd_mm == pytest.approx(monai_asd, abs=diagonal / 4)


def test_a_box_shifted_by_two_voxels_has_the_numbers_derived_by_hand() -> None:
    # 10 x 10 x 10 voxels of 2 x 1 x 0.5 mm, shifted by 2 voxels (1 mm) along i.
    shape = (14, 14, 16)
    reference = box(shape, (2, 12), (2, 12), (2, 12))
    prediction = box(shape, (2, 12), (2, 12), (4, 14))
    found = evaluate_mask(prediction, reference, (2.0, 1.0, 0.5), tolerance_mm=1.0)
    assert found.dice == pytest.approx(0.8)  # 800 of 1000 voxels shared
    assert found.predicted_ml == found.reference_ml == pytest.approx(1.0)  # 1000 x 1 mm³
    # The end faces (200 mm² each of 700 mm² in all) lie 1 mm apart, so more than 5 % of the area.
    assert found.hd95_mm == pytest.approx(1.0)
    assert found.surface_dice == 1.0  # everything within 1 mm, the tolerance included
    assert found.empty == "none" and not found.failed


def test_the_average_distance_of_two_sheets_is_the_gap_between_them() -> None:
    # Sheets one voxel thick in k and reaching from border to border, 5 mm apart. Each has an upper
    # and a lower face; their distances are 4 and 5 mm (faces at 2, 3 and at 7, 8 mm).
    shape = (12, 60, 60)
    prediction, reference = (box(shape, (k, k + 1), (0, 60), (0, 60)) for k in (2, 7))
    found = evaluate_mask(prediction, reference, (1.0, 1.0, 1.0), tolerance_mm=4.0)
    assert found.asd_mm == pytest.approx(4.5)
    assert found.hd95_mm == pytest.approx(5.0)
    assert found.surface_dice == pytest.approx(0.5)


def test_spacing_counts_along_its_own_axis() -> None:
    shape = (8, 40, 40)
    prediction, reference = (box(shape, (k, k + 2), (4, 36), (4, 36)) for k in (2, 3))
    distances = [
        evaluate_mask(prediction, reference, spacing, 1.0).hd95_mm
        for spacing in ((3.0, 1.0, 1.0), (1.0, 3.0, 1.0), (1.0, 1.0, 3.0))
    ]
    assert distances == pytest.approx([3.0, 1.0, 1.0])


def test_the_measures_do_not_depend_on_the_order_of_the_arguments() -> None:
    prediction, reference = blobs(seed=5)
    there = evaluate_mask(prediction, reference, ANISOTROPIC, 1.0)
    back = evaluate_mask(reference, prediction, ANISOTROPIC, 1.0)
    for measure in ("dice", "asd_mm", "hd95_mm", "surface_dice"):
        assert getattr(there, measure) == pytest.approx(getattr(back, measure), rel=1e-12)
    assert (there.predicted_ml, there.reference_ml) == (back.reference_ml, back.predicted_ml)


def test_identical_masks_agree_perfectly() -> None:
    mask, _ = blobs(seed=6)
    found = evaluate_mask(mask, mask, ANISOTROPIC, tolerance_mm=0.0)
    assert (found.dice, found.asd_mm, found.hd95_mm, found.surface_dice) == (1.0, 0.0, 0.0, 1.0)


def test_a_single_slice_is_measured_as_a_contour_and_not_as_a_slab() -> None:
    # Squares of 20 mm, the predicted one shifted by 2 mm along i. Each contour has 76 surfels of
    # 1 mm and 4 corners of 1/sqrt(2) mm. Beyond 1 mm of the other contour are the outer side (19
    # surfels and 2 corners) and the inner one but for its ends (17 surfels), all at 2 mm.
    contour, beyond = 76 + 4 / math.sqrt(2), 36 + 2 / math.sqrt(2)
    shape = (1, 40, 40)
    reference = box(shape, (0, 1), (5, 25), (5, 25))
    prediction = box(shape, (0, 1), (5, 25), (7, 27))
    thin = evaluate_mask(prediction, reference, (0.1, 1.0, 1.0), tolerance_mm=1.0)
    thick = evaluate_mask(prediction, reference, (9.0, 1.0, 1.0), tolerance_mm=1.0)
    assert thin.hd95_mm == pytest.approx(2.0)
    assert thin.surface_dice == pytest.approx(1 - beyond / contour, rel=1e-6)
    assert (thin.asd_mm, thin.hd95_mm, thin.surface_dice) == (
        thick.asd_mm,
        thick.hd95_mm,
        thick.surface_dice,
    )
    assert thin.reference_ml == pytest.approx(0.04)  # 400 mm² x 0.1 mm
    assert thick.reference_ml == pytest.approx(3.6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slice_along_any_axis_gives_the_same_contour(axis: int) -> None:
    prediction, reference = (mask[0] for mask in blobs(seed=2, shape=(1, 40, 30)))
    spacing = np.insert([0.8, 1.1], axis, 5.0)
    found = evaluate_mask(
        np.expand_dims(prediction, axis), np.expand_dims(reference, axis), spacing, 1.0
    )
    expected = evaluate_mask(prediction[None], reference[None], (5.0, 0.8, 1.1), 1.0)
    assert found == expected


def test_a_distance_equal_to_the_tolerance_counts_as_agreement() -> None:
    # 3 x 0.1 exceeds 0.3 in float64.
    shape = (1, 4, 30)
    prediction, reference = (box(shape, (0, 1), (0, 4), (i, i + 10)) for i in (4, 7))
    assert evaluate_mask(prediction, reference, (1.0, 1.0, 0.1), 0.3).surface_dice == 1.0


def test_both_masks_empty_is_nothing_to_measure() -> None:
    nothing = np.zeros((4, 5, 6), dtype=bool)
    found = evaluate_mask(nothing, nothing, ANISOTROPIC, 1.0)
    assert found.empty == "both" and not found.failed
    for measure in (found.dice, found.asd_mm, found.hd95_mm, found.surface_dice):
        assert math.isnan(measure)
    assert found.predicted_ml == found.reference_ml == 0.0


@pytest.mark.parametrize("missing", ["prediction", "reference"])
def test_one_mask_empty_is_a_failure_without_distances(missing: str) -> None:
    something = box((4, 5, 6), (1, 3), (1, 3), (1, 3))
    masks = {"prediction": something, "reference": something, missing: something & False}
    found = evaluate_mask(**masks, spacing=ANISOTROPIC, tolerance_mm=1.0)
    assert found.empty == missing and found.failed
    assert found.dice == found.surface_dice == 0.0
    assert math.isnan(found.asd_mm) and math.isnan(found.hd95_mm)


def test_a_failed_case_lowers_the_mean_dice_and_is_reported_beside_the_mean_distance() -> None:
    good = case(dice=0.9, asd_mm=1.0, hd95_mm=4.0, surface_dice=0.8)
    nan = math.nan
    missed = case(dice=0.0, asd_mm=nan, hd95_mm=nan, surface_dice=0.0, empty="prediction")
    absent = case(dice=nan, asd_mm=nan, hd95_mm=nan, surface_dice=nan, empty="both")
    summary = summarise([good, missed, absent])
    assert summary["dice"].mean == pytest.approx(0.45)
    assert summary["surface_dice"].mean == pytest.approx(0.4)
    assert (summary["dice"].counted, summary["dice"].excluded) == (2, 1)
    assert summary["hd95_mm"].mean == pytest.approx(4.0)
    assert (summary["hd95_mm"].counted, summary["hd95_mm"].excluded) == (1, 2)
    assert all(measure.failed == 1 for measure in summary.values())
    assert math.isnan(summary["hd95_mm"].low) and math.isnan(summary["hd95_mm"].high)


def test_the_interval_of_a_mean_is_student_s() -> None:
    values = (0.7, 0.8, 0.9, 0.96)
    (low, high) = student.interval(0.95, 3, np.mean(values), sem(values))
    summary = summarise([case(dice=value) for value in values])["dice"]
    assert (summary.low, summary.high) == (pytest.approx(low), pytest.approx(high))


def test_the_dice_of_two_empty_masks_is_what_the_caller_says() -> None:
    nothing = np.zeros((2, 3, 4), dtype=bool)
    assert math.isnan(dice(nothing, nothing))
    assert dice(nothing, nothing, both_empty=1.0) == 1.0
    assert dice(nothing, ~nothing, both_empty=1.0) == 0.0


def test_a_summary_without_any_value_has_no_mean() -> None:
    summary = summarise([])
    assert math.isnan(summary["dice"].mean)
    assert (summary["dice"].counted, summary["dice"].excluded, summary["dice"].failed) == (0, 0, 0)


def test_each_label_of_a_label_map_is_measured_by_itself() -> None:
    shape = (4, 6, 8)
    reference = np.zeros(shape, dtype=np.uint8)
    reference[1:3, 1:3, 1:5] = 1
    reference[1:3, 4:6, 1:5] = 2
    prediction = reference.copy()
    prediction[1:3, 1:3, 3:5] = 2
    found = evaluate_labels(
        prediction, reference, (1.0, 1.0, 1.0), labels=(1, 2, 3), tolerance_mm=1
    )
    assert list(found) == [1, 2, 3]
    assert found[1].dice == pytest.approx(2 * 8 / (8 + 16))
    assert found[2].dice == pytest.approx(2 * 16 / (24 + 16))
    assert found[3].empty == "both"


def test_volume_is_voxels_times_spacing_in_ml() -> None:
    mask = box((10, 20, 30), (0, 5), (0, 10), (0, 20))  # 1000 voxels of 2.2 mm³
    assert volume_ml(mask, ANISOTROPIC) == pytest.approx(2.2)


def test_the_measures_are_plain_numbers() -> None:
    found = evaluate_mask(*blobs(seed=4), np.array(ANISOTROPIC), 1.0)
    values = [v for v in dataclasses.asdict(found).values() if not isinstance(v, str)]
    assert {type(value) for value in values} == {float}


def test_unequal_shapes_are_refused_with_both_shapes() -> None:
    with pytest.raises(RequestError, match=r"\(2, 3, 4\).*\(2, 3, 5\).*resample"):
        dice(np.ones((2, 3, 4), dtype=bool), np.ones((2, 3, 5), dtype=bool))


@pytest.mark.parametrize(
    "spacing", [(1.0, 1.0), (1.0, 0.0, 1.0), (1.0, -1.0, 1.0), (1.0, math.nan, 1.0)]
)
def test_an_unusable_spacing_is_refused(spacing: tuple[float, ...]) -> None:
    mask = np.ones((2, 3, 4), dtype=bool)
    with pytest.raises(RequestError, match="three positive numbers in mm"):
        evaluate_mask(mask, mask, spacing, 1.0)


def test_a_mask_without_a_slice_axis_is_refused() -> None:
    mask = np.ones((3, 4), dtype=bool)
    with pytest.raises(RequestError, match=r"\(1, J, I\)"):
        evaluate_mask(mask, mask, (1.0, 1.0, 1.0), 1.0)


@pytest.mark.parametrize("tolerance", [-1.0, math.nan])
def test_an_unusable_tolerance_is_refused(tolerance: float) -> None:
    mask = np.ones((2, 3, 4), dtype=bool)
    with pytest.raises(RequestError, match="at least 0"):
        evaluate_mask(mask, mask, ANISOTROPIC, tolerance)
