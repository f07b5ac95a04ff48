"""HEAL's steps against its released code (parity/heal_egs.json) and examples done by hand."""

from __future__ import annotations

import inspect
import json

import numpy as np
import pytest
import torch
from paths import PARITY

from SFDALib.heal.denoising import hierarchical_denoising
from SFDALib.heal.fusion import size_aware_fusion
from SFDALib.heal.selection import (
    canny_edges,
    edge_agreement,
    label_edges,
    select_sample,
    widened,
)
from SFDALib.methods.heal import HealOptions

EGS = json.loads((PARITY / "heal_egs.json").read_text())
EGS_IMAGES = [np.array(image) for image in EGS["images"]]
EGS_LABELS = np.array(EGS["label_map"])


def binary(foreground: torch.Tensor) -> torch.Tensor:
    """(2, k, j, i) class probabilities from those of the foreground."""
    return torch.stack([1 - foreground, foreground])


def confident_square() -> torch.Tensor:
    """Certain foreground of 8 x 8 pixels in one slice of 16 x 16."""
    foreground = torch.zeros(1, 16, 16)
    foreground[:, 4:12, 4:12] = 1.0
    return binary(foreground)


def noisy_circle() -> tuple[torch.Tensor, torch.Tensor]:
    """A circle with a soft rim, a false-positive blob of p ~ .88 and noise; and the circle."""
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    radius = torch.hypot(rows - 48, columns - 48)
    blob = torch.hypot(rows - 14, columns - 14) < 7
    logit = (26 - radius).clamp(-5, 5)
    logit[blob] = 2.0
    logit += torch.randn(96, 96, generator=generator)
    # single false positives, as a shifted scanner gives them
    logit[torch.rand(96, 96, generator=generator) < 0.01] = 1.0
    return binary(logit.sigmoid()[None]), (radius < 26)[None]


def precision(labels: torch.Tensor, truth: torch.Tensor) -> float:
    return ((labels != 0) & truth).sum().item() / (labels != 0).sum().item()


# --- hierarchical denoising


def test_the_monotone_reading_raises_the_precision_that_the_released_one_lowers():
    probabilities, truth = noisy_circle()
    before = precision(probabilities.argmax(0), truth)
    monotone = hierarchical_denoising(probabilities, HealOptions())
    released = hierarchical_denoising(
        probabilities, HealOptions(nig="released", entropy_source="hist10")
    )
    assert precision(monotone.labels, truth) > before + 0.05
    assert precision(released.labels, truth) < before
    assert 0.7 < monotone.kept_by_nig < 0.9
    assert monotone.notes == ()


def test_the_rejected_can_be_told_from_the_predicted_background():
    probabilities, _ = noisy_circle()
    denoised = hierarchical_denoising(probabilities, HealOptions())
    predicted = probabilities.argmax(0)
    assert torch.equal(denoised.labels, torch.where(denoised.valid, predicted, 0))
    assert (denoised.valid & (predicted == 0)).any()
    assert (~denoised.valid & (predicted == 1)).any()
    kept = (denoised.labels != 0).sum() / (predicted != 0).sum()
    assert denoised.kept_by_nig == pytest.approx(kept.item())
    assert denoised.nig.min() == 0
    assert denoised.nig.max() == pytest.approx(1, abs=1e-5)


def test_the_paper_reading_keeps_everything_and_says_so():
    probabilities, _ = noisy_circle()
    denoised = hierarchical_denoising(probabilities, HealOptions(nig="paper"))
    assert torch.equal(denoised.labels, probabilities.argmax(0))
    assert denoised.kept_by_nig == 1
    assert denoised.max_variance < 0
    assert any("alpha <= 1" in note for note in denoised.notes)
    assert any("No foreground voxel was rejected" in note for note in denoised.notes)


def test_the_paper_reading_keeps_everything_with_four_classes_too():
    probabilities = torch.full((4, 2, 3, 3), 0.2)
    probabilities[2] = 0.4
    denoised = hierarchical_denoising(probabilities, HealOptions(nig="paper"))
    assert denoised.valid.all()
    assert (denoised.labels == 2).all()


def test_the_released_filter_strips_straight_borders_and_keeps_corners():
    # Border pixels see 6 ones of 9 and go, corners 4 and inner pixels 9 and stay: 64 - 24.
    options = HealOptions(entropy_source="hist10", nig="released")
    denoised = hierarchical_denoising(confident_square(), options)
    assert int(denoised.labels.sum()) == 40
    assert denoised.labels[0, 4, 4] == 1
    assert denoised.labels[0, 4, 8] == 0
    assert denoised.max_variance == pytest.approx(0.1065859 / 0.01, rel=1e-4)


def test_the_regional_entropy_is_normalised_by_the_number_of_classes():
    # Four equal classes: 2 bits, E = 1; the arg-max is the background, so d = 0.
    probabilities = torch.full((4, 1, 3, 3), 0.25)
    denoised = hierarchical_denoising(probabilities, HealOptions(var_norm="none"))
    torch.testing.assert_close(denoised.entropy, torch.full((1, 3, 3), 2.0))
    assert denoised.max_variance == pytest.approx(0.81 * 0.51 / 0.11, rel=1e-4)


@pytest.mark.parametrize(("unit", "kept"), [("bits", 0.0), ("nats", 1.0), ("normalised", 0.0)])
def test_tau1_is_in_the_unit_asked_for_and_the_map_always_in_bits(unit, kept):
    # p = .96: .2423 bits, .1679 nats
    probabilities = binary(torch.full((1, 4, 4), 0.96))
    denoised = hierarchical_denoising(probabilities, HealOptions(entropy_unit=unit))
    assert denoised.kept_by_entropy == kept
    torch.testing.assert_close(denoised.entropy, torch.full((1, 4, 4), 0.24229), rtol=1e-4, atol=0)


@pytest.mark.parametrize(("unit", "kept"), [("bits", 0.0), ("normalised", 1.0)])
def test_a_normalised_tau1_grows_with_the_number_of_classes(unit, kept):
    # .95 and .05 of four classes: .286 bits, of at most 2
    probabilities = torch.tensor([0.05, 0.95, 0.0, 0.0]).view(4, 1, 1, 1).expand(4, 1, 2, 2)
    options = HealOptions(entropy_unit=unit)
    assert hierarchical_denoising(probabilities, options).kept_by_entropy == kept


@pytest.mark.parametrize(("diff", "disagreement"), [("hard", 1.0), ("prob", 0.9)])
def test_a_doubted_foreground_voxel_disagrees_by_one_or_by_its_probability(diff, disagreement):
    probabilities = binary(torch.full((1, 3, 3), 0.9))  # .469 bits: doubted
    options = HealOptions(diff=diff, var_norm="none")
    bits = 0.4689956
    expected = (0.8 * bits + 0.01) * (0.5 * bits + 0.01) / (0.01 + 0.1 * (1 - disagreement))
    denoised = hierarchical_denoising(probabilities, options)
    assert denoised.max_variance == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("diff", "disagreement"), [("hard", 0.0), ("prob", 0.9)])
def test_a_doubted_background_voxel_disagrees_by_its_probability_or_not_at_all(diff, disagreement):
    probabilities = binary(torch.full((1, 3, 3), 0.1))
    bits = 0.4689956
    options = HealOptions(diff=diff, var_norm="none")
    denoised = hierarchical_denoising(probabilities, options)
    scale = 0.01 + 0.1 * (1 - disagreement)
    expected = (0.8 * bits + 0.01) * (0.5 * bits + 0.01) / scale
    assert denoised.max_variance == pytest.approx(expected, rel=1e-4)


def test_samples_are_scaled_to_their_own_range_before_their_edges_are_found():
    labels = np.zeros((2, 24, 24), np.int64)
    labels[:, 6:18, 6:18] = 1
    sample = labels + 0.02 * np.random.default_rng(0).random(labels.shape)
    whole, faint = (
        select_sample([x], labels, HealOptions()) for x in (sample, 0.05 * sample + 0.4)
    )
    assert whole.scores == faint.scores and whole.scores[0] > 0.5
    assert whole.densities == faint.densities
    assert select_sample([np.full(labels.shape, 0.5)], labels, HealOptions()).scores == (0.0,)


def test_intersecting_both_masks_is_stricter():
    probabilities, _ = noisy_circle()
    either = hierarchical_denoising(probabilities, HealOptions())
    both = hierarchical_denoising(probabilities, HealOptions(hd_combine="and_entropy"))
    certain = both.entropy <= 0.2
    assert torch.equal(both.valid, either.valid & certain)
    assert both.valid.sum() < either.valid.sum()
    assert both.kept_by_nig == either.kept_by_nig


def test_the_region_may_reach_into_neighbouring_slices():
    foreground = torch.full((3, 9, 9), 1.0)
    foreground[1] = 0.8
    in_plane = hierarchical_denoising(binary(foreground), HealOptions())
    in_space = hierarchical_denoising(binary(foreground), HealOptions(region="3x3x3", tau2=0.0))
    assert (in_plane.nig[0] == 0).all()
    assert in_plane.valid[0].all() and not in_plane.valid[1].any()
    assert in_space.nig[1].min() > in_space.nig[0].max()
    assert in_space.max_variance < in_plane.max_variance


def test_a_flat_map_rejects_nothing_and_says_so():
    denoised = hierarchical_denoising(binary(torch.full((1, 5, 5), 0.9)), HealOptions())
    assert denoised.valid.all()
    assert (denoised.nig == 0).all()
    assert any("same in every voxel" in note for note in denoised.notes)


def test_rejecting_every_foreground_voxel_leaves_an_empty_label_and_says_so():
    foreground = torch.zeros(1, 9, 9)
    foreground[0, 4, 4] = 0.6
    denoised = hierarchical_denoising(binary(foreground), HealOptions())
    assert not denoised.labels.any()
    assert denoised.kept_by_nig == 0
    assert any("Every foreground voxel was rejected" in note for note in denoised.notes)


def test_a_prediction_without_foreground_is_no_rejection():
    denoised = hierarchical_denoising(binary(torch.rand(2, 5, 5) * 0.4), HealOptions())
    assert not denoised.labels.any()
    assert (denoised.kept_by_entropy, denoised.kept_by_nig) == (1, 1)
    assert any("predicts no foreground" in note for note in denoised.notes)


# --- edge-guided selection


def test_label_edges_match_the_released_code():
    edges = label_edges(EGS_LABELS, "canny", EGS["sigma"], axis=EGS["axis"])
    np.testing.assert_array_equal(edges, np.array(EGS["label_edges"], dtype=bool))


def test_canny_with_sigma_three_matches_the_released_2d_script():
    edges = canny_edges(EGS_IMAGES[0][None, :, :, 0], sigma=3.0)
    np.testing.assert_array_equal(edges[0], np.array(EGS["canny_sigma3_2d"], dtype=bool))


def test_scores_and_choice_match_the_released_code():
    for image, count in zip(EGS_IMAGES, EGS["edge_counts"], strict=True):
        assert canny_edges(image, EGS["sigma"], axis=EGS["axis"]).sum() == count
    selection = select_sample(EGS_IMAGES, EGS_LABELS, HealOptions(), axis=EGS["axis"])
    intersections, scores = zip(*EGS["S"], strict=True)
    assert selection.intersections == intersections
    assert selection.scores == pytest.approx(scores, rel=1e-5)
    assert selection.scores == pytest.approx((0.95, 0.275, 0.504167), rel=1e-5)
    assert selection.condition_edge_count == 240
    assert selection.chosen == EGS["selected_index_argmax_first"] == 0
    assert selection.notes == ()


def test_the_slices_lie_along_the_first_axis_by_default():
    turned = [np.moveaxis(image, 2, 0) for image in EGS_IMAGES]
    selection = select_sample(turned, np.moveaxis(EGS_LABELS, 2, 0), HealOptions())
    assert selection == select_sample(EGS_IMAGES, EGS_LABELS, HealOptions(), axis=2)


def test_a_condition_without_edges_scores_nothing_and_chooses_nothing():
    empty = np.zeros_like(EGS_LABELS)
    image_edges = canny_edges(EGS_IMAGES[0], 1.0, axis=2)
    assert edge_agreement(image_edges, empty.astype(bool)) == tuple(EGS["S_empty_condition"])
    selection = select_sample(EGS_IMAGES, empty, HealOptions(), axis=2)
    assert selection.chosen is None
    assert selection.scores == (0.0, 0.0, 0.0)
    assert selection.condition_edge_count == 0
    assert "no edges" in selection.notes[0]


def test_equal_scores_choose_the_first():
    samples = [EGS_IMAGES[1], EGS_IMAGES[2], EGS_IMAGES[2]]
    assert select_sample(samples, EGS_LABELS, HealOptions(), axis=2).chosen == 1


def test_samples_without_any_common_edge_are_told():
    blank = np.zeros(EGS_LABELS.shape)
    selection = select_sample([blank, blank], EGS_LABELS, HealOptions(), axis=2)
    assert selection.chosen == 0
    assert "No sample shares an edge" in selection.notes[0]


def test_a_single_image_is_smoothed_with_sigma_three_and_a_volume_with_one():
    image, labels = EGS_IMAGES[0][None, :, :, 0], EGS_LABELS[None, :, :, 0]
    assert select_sample([image], labels, HealOptions()) == select_sample(
        [image], labels, HealOptions(canny_sigma=3.0)
    )
    pair, pair_labels = np.repeat(image, 2, axis=0), np.repeat(labels, 2, axis=0)
    assert select_sample([pair], pair_labels, HealOptions()) == select_sample(
        [pair], pair_labels, HealOptions(canny_sigma=1.0)
    )


def test_the_canny_thresholds_are_read():
    unreachable = HealOptions(canny_low=5.0, canny_high=10.0)
    assert select_sample(EGS_IMAGES, EGS_LABELS, unreachable, axis=2).chosen is None


def test_edges_of_a_sample_with_channels_are_those_of_their_mean():
    image = EGS_IMAGES[0]
    channels = np.stack([image * 0.5, image * 1.5])
    assert select_sample([channels], EGS_LABELS, HealOptions(), axis=2) == select_sample(
        [image], EGS_LABELS, HealOptions(), axis=2
    )


def test_boundary_edges_are_the_rim_of_each_label():
    labels = np.zeros((2, 7, 8), dtype=np.int64)
    labels[:, 1:6, 1:7] = 1
    labels[:, 3, 3] = 2
    edges = label_edges(labels, "boundary", sigma=1.0)
    # rim of 5 x 6: 18; the single pixel of label 2 and its four neighbours: 5; both slices
    assert edges.sum() == 2 * (18 + 5)
    assert not edges[labels == 0].any()
    options = HealOptions(label_edges="boundary")
    assert select_sample([labels / 2], labels, options).condition_edge_count == 46


@pytest.mark.parametrize(("tolerance", "expected"), [(0, 0.0), (1, 0.0), (2, 1.0)])
def test_the_tolerance_bridges_pixels_within_a_slice_only(tolerance, expected):
    condition = np.zeros((2, 9, 9), dtype=bool)
    condition[0, 4] = True
    image = np.zeros_like(condition)
    image[0, 6] = True
    assert edge_agreement(widened(image, tolerance), condition) == (expected * 9, expected)
    other_slice = np.roll(image, 1, axis=0)
    assert edge_agreement(widened(other_slice, tolerance), condition) == (0, 0.0)


def test_the_tolerance_is_read_from_the_options():
    shifted = [np.roll(EGS_IMAGES[0], 1, axis=0)]
    exact = select_sample(shifted, EGS_LABELS, HealOptions(), axis=2)
    tolerant = select_sample(shifted, EGS_LABELS, HealOptions(edge_tolerance=1), axis=2)
    assert tolerant.scores[0] > exact.scores[0] + 0.2


# --- size-aware fusion

# Six voxels in a row, classes background, 1 and 2: v_1 = 3, v_2 = 1, so k* = 2 and
# lambda = (1/3, 1) / (4/3) = (.25, .75).
DENOISED = torch.tensor([1, 1, 1, 2, 0, 0]).view(1, 1, 6)
GENERATED = torch.tensor(
    [
        [0.1, 0.2, 0.6, 0.7, 0.4, 0.90],
        [0.8, 0.3, 0.3, 0.2, 0.1, 0.06],
        [0.1, 0.5, 0.1, 0.1, 0.5, 0.04],
    ]
).view(3, 1, 1, 6)


def source_with(smallest_probability: float) -> torch.Tensor:
    """Source probabilities that give class 2 this much everywhere."""
    rest = (1 - smallest_probability) / 2
    return torch.tensor([rest, rest, smallest_probability]).view(3, 1, 1, 1).expand(3, 1, 1, 6)


def test_hard_fusion_replaces_the_smallest_class_by_that_of_the_denoised_label():
    # voxel 1: class 2 -> second best 1; voxel 4: class 2 -> second best 0; voxel 3 painted 2.
    fused = size_aware_fusion(GENERATED, DENOISED)
    assert fused.labels.flatten().tolist() == [1, 1, 0, 2, 0, 0]
    assert fused.smallest_class == 2
    assert fused.lambdas == pytest.approx((0.25, 0.75))
    assert not fused.skipped and fused.notes == ()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (source_with(0.6), [1, 1, 1, 2, 0, 0]),  # voxel 3: .75 * .6 > .25 * .7
        (source_with(0.06), [1, 1, 1, 1, 0, 0]),  # voxel 3: .75 * .06 < .25 * .7
        (None, [1, 1, 1, 2, 0, 0]),  # voxel 3: .75 * 1 > .25 * .7
    ],
)
def test_weighted_fusion_gives_a_voxel_no_class_that_neither_source_has_there(source, expected):
    """Voxel 3 is 2 in Y* and 1 in the sample, voxel 4 background and 2."""
    generated = GENERATED.clone()
    generated[:, 0, 0, 3] = torch.tensor([0.2, 0.7, 0.1])
    fused = size_aware_fusion(generated, DENOISED, source, mode="prob_lambda")
    assert fused.labels.flatten().tolist() == expected
    assert fused.smallest_class == 2
    either = torch.stack([DENOISED, generated.argmax(0)])
    assert (fused.labels == either).any(0).all()


def test_weighted_fusion_leaves_a_voxel_that_no_class_wants_as_background():
    generated = GENERATED.clone()
    generated[:, 0, 0, 4] = torch.tensor([0.0, 0.0, 1.0])  # k* here, where Y* has none
    fused = size_aware_fusion(generated, DENOISED, mode="prob_lambda")
    assert fused.labels[0, 0, 4] == 0


def test_the_highest_label_is_the_smallest_on_ties():
    denoised = torch.tensor([1, 1, 2, 2, 0, 0]).view(1, 1, 6)
    fused = size_aware_fusion(GENERATED, denoised)
    assert fused.smallest_class == 2
    assert fused.lambdas == (0.5, 0.5)


@pytest.mark.parametrize("mode", ["hard", "prob_lambda"])
def test_a_class_absent_from_the_denoised_label_has_no_weight(mode):
    generated = torch.full((4, 1, 1, 6), 0.25)
    denoised = torch.tensor([1, 1, 1, 3, 3, 0]).view(1, 1, 6)
    fused = size_aware_fusion(generated, denoised, mode=mode)
    assert fused.smallest_class == 3
    assert fused.lambdas == pytest.approx((0.4, 0.0, 0.6))
    assert sum(fused.lambdas) == pytest.approx(1)


@pytest.mark.parametrize(
    ("generated", "denoised", "reason"),
    [
        (GENERATED[:2], [1, 1, 0, 0, 0, 0], "the model has a single foreground class"),
        (GENERATED, [1, 1, 0, 0, 0, 0], "holds a single foreground class (1)"),
        (GENERATED, [0, 0, 0, 0, 0, 0], "the denoised label is empty"),
    ],
)
@pytest.mark.parametrize("mode", ["hard", "prob_lambda"])
def test_with_nothing_to_fuse_the_generated_segmentation_stands(generated, denoised, reason, mode):
    fused = size_aware_fusion(generated, torch.tensor(denoised).view(1, 1, 6), mode=mode)
    assert fused.skipped
    assert torch.equal(fused.labels, generated.argmax(0))
    assert fused.smallest_class is None and fused.lambdas == ()
    assert reason in fused.notes[0]


def test_fusion_leaves_its_inputs_as_they_were():
    generated, denoised, source = GENERATED.clone(), DENOISED.clone(), source_with(0.6).clone()
    for mode in ("hard", "prob_lambda"):
        size_aware_fusion(generated, denoised, source, mode)
    assert torch.equal(generated, GENERATED)
    assert torch.equal(denoised, DENOISED)
    assert torch.equal(source, source_with(0.6))


def test_a_noisy_sample_does_not_win_by_having_edges_everywhere():
    square = np.zeros((1, 40, 40), np.uint8)
    square[:, 10:30, 10:30] = 1
    faithful = square * 0.8
    faithful[:, 10:30, 10:14] = 0  # one side of four lies elsewhere
    noise = np.random.default_rng(0).random((1, 40, 40)) * 2
    options = {"canny_sigma": 1.0, "edge_tolerance": 1}

    by_recall = select_sample([noise, faithful], square, HealOptions(**options))
    corrected = select_sample(
        [noise, faithful], square, HealOptions(edge_score="corrected", **options)
    )

    assert by_recall.scores == corrected.scores
    assert by_recall.densities == corrected.densities
    assert by_recall.chosen == 0
    assert corrected.chosen == 1


def test_the_edge_density_is_the_share_of_the_voxels_that_are_widened_edges():
    for tolerance in (0, 1):
        options = HealOptions(edge_tolerance=tolerance)
        selection = select_sample(EGS_IMAGES, EGS_LABELS, options, axis=2)
        for image, density in zip(EGS_IMAGES, selection.densities, strict=True):
            edges = widened(canny_edges(image, EGS["sigma"], axis=2), tolerance, axis=2)
            assert density == edges.sum() / edges.size


def test_a_sample_that_is_all_edges_wins_nothing_by_the_corrected_score():
    """Widened by more than the image is wide, three pixels meet everything: S = d = 1."""
    square = np.zeros((1, 20, 20), np.uint8)
    square[:, 6:14, 6:14] = 1
    options = HealOptions(canny_sigma=1.0, edge_tolerance=40, edge_score="corrected")
    selection = select_sample([square * 0.9], square, options)
    assert selection.scores == selection.densities == (1.0,)
    assert selection.chosen == 0


def test_fusion_is_hard_unless_said_otherwise():
    mode = inspect.signature(size_aware_fusion).parameters["mode"]
    assert HealOptions().fusion == mode.default
