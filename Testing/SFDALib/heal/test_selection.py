"""Edge-guided selection, held against the numbers of the released code."""

from __future__ import annotations

import json

import numpy as np
import pytest
from paths import PARITY

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
