"""What is measured of two segmentations, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from signals_by_hand import LABEL, box, evidence, probabilities
from torch import Tensor

from SFDALib.trust.signals import measure, weight_distance


def test_entropy_counts_where_either_shows_a_class() -> None:
    mask = box(slice(0, 2))
    unsure = replace(evidence(mask, mask), result=probabilities(mask, 0.9))
    found = measure(unsure)
    assert found.entropy_result == pytest.approx(0.4689956, abs=1e-6)  # H(0.9) in bits


def test_sizes_are_compared_with_the_source_the_expected_and_the_plausible() -> None:
    found = measure(evidence(box(slice(0, 2)), box(slice(0, 8))))  # 8 and 32 ml
    assert (found.growth, found.shrinkage) == (pytest.approx(math.log(4)), 0)
    assert (found.size_error_source, found.size_error_result) == (0, pytest.approx(math.log(4)))
    assert (found.outside_source, found.outside_result) == (0, pytest.approx(math.log(2)))
    assert found.agreement == pytest.approx(2 * 8 / (8 + 32))


def test_a_single_slice_is_measured_by_its_area_and_has_no_volume() -> None:
    source, result = box(slice(0, 4))[:1], box(slice(0, 2))[:1]  # 8 and 4 mm²
    found = measure(evidence(source, result))
    assert (found.size_error_source, found.size_error_result) == (0, pytest.approx(math.log(2)))
    assert found.outside_result is None


def test_the_worst_class_decides_how_much_shrank() -> None:
    classes = (LABEL, replace(LABEL, value=2, name="Lesion"))
    source = torch.zeros(3, 1, 1, 12)
    result = torch.zeros(3, 1, 1, 12)
    for tensor, counts in ((source, (4, 6, 2)), (result, (3, 8, 1))):
        labels = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
        tensor.scatter_(0, labels.reshape(1, 1, 1, 12), 1.0)
    given = evidence(np.zeros((1, 1, 12)), np.zeros((1, 1, 12)), labels=classes)
    found = measure(replace(given, source=source, result=result))
    assert found.shrinkage == pytest.approx(math.log(2))  # of the lesion, 2 to 1
    assert found.growth == pytest.approx(math.log(8 / 6))  # of the brain


def test_components_are_counted_and_the_largest_one_shared() -> None:
    mask = np.zeros((1, 1, 8), dtype=bool)
    mask[..., :3] = mask[..., 6] = True
    found = measure(evidence(np.zeros_like(mask), mask))
    assert (found.components_source, found.largest_source) == (0, None)
    assert (found.components_result, found.largest_result) == (2, 0.75)


def test_a_segmenter_that_ignores_the_image_is_unstable_under_a_flip() -> None:
    left = box(slice(0, 4))
    ignorant = measure(evidence(left, left, source_again=lambda image: probabilities(left)))
    assert ignorant.stability_source == 0.5  # none of the flip, all of the duller view
    assert ignorant.stability_result is None

    def see(image: np.ndarray) -> Tensor:
        return probabilities(image[0] > 0)

    seen = replace(evidence(left, left, result_again=see), image=left[None].astype(np.float32))
    assert measure(seen).stability_result < 1  # around the mean, the background is above 0
    seen = replace(seen, result_again=lambda image: probabilities(image[0] > 0.5))
    assert measure(seen).stability_result == 1


def test_a_border_on_an_edge_of_the_image_agrees_with_it() -> None:
    image = np.zeros((1, 1, 16, 32), dtype=np.float32)
    image[..., 16:] = 1
    on, beside = np.zeros((2, 1, 16, 32), dtype=bool)
    on[..., 16:] = True
    beside[..., 18:] = True
    found = measure(replace(evidence(beside, on), image=image))
    # the step's gradient is 0.5 in two columns; the border is those two, the band these and 3 more
    # on either side: 0.5 over 2 * 0.5 / 8
    assert found.edge_result == pytest.approx(4.0)
    assert found.edge_source == pytest.approx(0.0)


def test_the_distance_of_weights_is_relative() -> None:
    source = {"a": torch.ones(4), "count": torch.tensor(3)}
    moved = {"a": torch.full((4,), 1.5), "count": torch.tensor(9)}
    assert weight_distance(moved, source) == pytest.approx(0.5)
    assert weight_distance(source, source) == 0


def test_two_empty_segmentations_agree() -> None:
    nothing = box(slice(0, 0))
    found = measure(evidence(nothing, nothing))
    assert found.agreement == 1
    assert (found.growth, found.shrinkage, found.edge_source) == (0, 0, None)


def test_draws_are_held_against_one_another() -> None:
    masks = [box(slice(0, n)).astype(np.uint8) for n in (2, 4, 8)]
    given = evidence(masks[0], masks[0], draws=masks, draw_scores=(0.5, 0.2, 0.3))
    found = measure(given)
    dice = (2 * 2 / (2 + 4), 2 * 2 / (2 + 8), 2 * 4 / (4 + 8))
    assert found.draw_agreement == pytest.approx(sum(dice) / 3)
    assert found.draw_spread == pytest.approx(0.3)


@pytest.mark.parametrize("draws", [0, 1])
def test_less_than_two_draws_tell_nothing(draws: int) -> None:
    mask = box(slice(0, 2))
    given = evidence(mask, mask, draws=[mask] * draws, draw_scores=[0.5] * draws)
    assert (measure(given).draw_agreement, measure(given).draw_spread) == (None, None)


def test_labels_alone_have_no_entropy() -> None:
    mask = box(slice(0, 2))
    assert measure(evidence(mask, mask)).entropy_result is None
