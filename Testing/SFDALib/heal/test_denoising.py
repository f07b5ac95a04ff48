"""Hierarchical denoising of the source's prediction, on maps whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from SFDALib.heal.denoising import hierarchical_denoising
from SFDALib.heal.selection import (
    select_sample,
)
from SFDALib.methods.heal import HealOptions


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
