"""What a prior says of each image, and which slices show a class."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from bundles import describe
from taught_head import source, targets

from SFDALib.adaptation.common import (
    loop,
    prior,
)
from SFDALib.adaptation.common.prior import VolumeRatios
from SFDALib.errors import RequestError
from SFDALib.methods import registry
from SFDALib.methods.option import PUBLISHED
from SFDALib.progress import silent

TWO, THREE = describe(2, 2), describe(2, 3)

PATCH_MM = (4.0, 96.0, 96.0)


def full_prior(text: str, shown: tuple[float, ...] = (10.0,), description: Any = TWO) -> list:
    return prior.class_ratios(text, description, PATCH_MM, shown, whole=False).tolist()


def test_a_prior_typed_as_ratio_or_per_cent_is_that_share_of_an_image() -> None:
    assert full_prior("0.2") == pytest.approx([0.8, 0.2])
    assert full_prior("20 %") == pytest.approx([0.8, 0.2])
    assert full_prior("20%,0.1", (1, 1), THREE) == pytest.approx([0.7, 0.2, 0.1])


def test_a_prior_in_ml_is_spread_over_the_slices_that_show_the_class() -> None:
    """A slice is 4 x 96 x 96 mm = 36.864 ml; 60 ml over 10 slices is 6 ml each."""
    assert full_prior("60 ml")[1] == pytest.approx(6 / 36.864)
    assert full_prior("60ml", (5.0,))[1] == pytest.approx(12 / 36.864)
    assert full_prior("30 ml", (0.0,))[1] == pytest.approx(30 / 36.864)  # shown nowhere: one slice


def test_the_bundles_prior_is_its_mean_area_in_2d_and_its_mean_volume_in_3d() -> None:
    """1200 mm2 of 96 x 96 mm; 60 ml of a block of 64 x 96 x 96 mm = 589.824 ml."""
    assert full_prior("bundle")[1] == pytest.approx(1200 / 9216)
    block = prior.class_ratios("bundle", describe(3, 2), (64.0, 96.0, 96.0), (1.0,), False)
    assert block[1].item() == pytest.approx(60 / 589.824)


@pytest.mark.parametrize(
    "text", ["much", "1400 l", "0.2,0.3", "", "-0.2", "0", "1", "120 %", "9 kg"]
)
def test_a_prior_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="option prior"):
        full_prior(text)


def test_for_a_whole_volume_the_bundles_prior_is_its_mean_volume_in_2d_too() -> None:
    """60 ml over 20 slices of 36.864 ml, whether or not they show the class."""
    ratios = prior.class_ratios("bundle", TWO, PATCH_MM, (20.0,), whole=True)
    assert ratios.tolist() == pytest.approx([1 - 3 / 36.864, 3 / 36.864])


@pytest.mark.parametrize("method", ["adami", "adaent"])
def test_a_single_slice_is_given_the_area_of_a_slice(method: str) -> None:
    """1200 mm2 of a slice of 96 x 96 mm are 13 %; 60 ml in the same slice of 9 mm would be 72 %."""
    image = targets(2, 2, 1)[0]
    slice_ = replace(image, array=image.array[:, 4:5])
    described = registry.find(method)
    values = described.values({"epochs": 1}, PUBLISHED)
    outcome = loop.adapt(described, source(), [slice_], values, 0, silent)
    assert "Brain 13.0 %" in outcome.notes[0]


def test_a_bundle_without_sizes_asks_for_the_prior() -> None:
    label = replace(TWO.labels[0], mean_ml=None, slice_area_mm2=None)
    with pytest.raises(RequestError, match=r"no size of Brain.*prior="):
        full_prior("bundle", description=replace(TWO, labels=(label,)))


def test_absent_classes_get_nothing_and_their_share_goes_to_the_background() -> None:
    full = torch.tensor([0.7, 0.2, 0.1])
    present = torch.tensor([[True, True], [False, True], [False, False]])
    expected = torch.tensor([[0.7, 0.2, 0.1], [0.9, 0.0, 0.1], [1.0, 0.0, 0.0]])
    torch.testing.assert_close(prior.image_priors(full, present), expected)


def test_selection_takes_the_source_models_clear_cases() -> None:
    """s = 0: negative; 0 < s <= T: not used; s > T: positive with every class."""
    hard = torch.tensor(
        [[1.0, 0.0, 0.0], [0.99, 0.01, 0.0], [0.98, 0.01, 0.01], [0.96, 0.04, 0.0], [0.5, 0.2, 0.3]]
    )
    hard[2, 1:] = torch.tensor([0.02, 0.0])  # exactly the threshold
    present, used = prior.selected(hard, threshold=float(torch.tensor(0.02)))
    assert used.tolist() == [True, False, False, True, True]
    assert present.tolist() == [[False] * 2, [False] * 2, [False] * 2, [True] * 2, [True] * 2]


def test_tags_say_which_slice_shows_which_class() -> None:
    assert prior.read_tags("0011", 4, 2).tolist() == [[False], [False], [True], [True]]
    assert prior.read_tags("00,11,01", 3, 3).tolist() == [
        [False, False],
        [True, True],
        [False, True],
    ]


@pytest.mark.parametrize("text", ["", "001", "00111", "00x1", "0,0,1,2"])
def test_tags_that_do_not_fit_the_slices_are_refused(text: str) -> None:
    with pytest.raises(RequestError, match="option tags"):
        prior.read_tags(text, 4, 2)


def test_slices_outside_the_batch_keep_their_latest_ratio_and_the_batch_has_the_gradient() -> None:
    """Two images of two and one patches. d mean / d ratio is 1 over the patches in the batch."""
    ratios = VolumeRatios([0, 0, 1])
    ratios.renew([0, 1, 2], torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]]))
    now = torch.tensor([[0.7, 0.3]], requires_grad=True)
    estimate = ratios.estimate([1], now)
    assert estimate.tolist() == [pytest.approx([0.8, 0.2])]
    estimate[0, 1].backward()
    assert now.grad.tolist() == [[0, 1]]
    both = ratios.estimate([0, 2], torch.tensor([[0.9, 0.1], [0.0, 1.0]]))
    assert both[0].tolist() == pytest.approx([0.8, 0.2])
    assert both[1].tolist() == pytest.approx([0.0, 1.0])
