"""Random intensities, specks and erased rectangles are as published."""

from __future__ import annotations

import pytest
import torch

from SFDALib.adaptation.common.intensity_noise import random_erasing, random_gamma, salt_and_pepper
from SFDALib.gin import random_convolutions


def test_the_gamma_of_dpl_is_the_inverse() -> None:
    """x^(1/2) of .25 in a range of 0 to 1: brighter."""
    images = torch.tensor([[[[0.0, 0.25, 1.0]]]])
    assert random_gamma(images, 2.0, 2.0, 1.0, inverse=True)[0, 0, 0, 1] == pytest.approx(0.5)


@pytest.mark.parametrize("dims", [2, 3])
def test_random_intensities_keep_shape_and_norm_and_follow_the_seed(dims: int) -> None:
    images = torch.rand(3, 2, *[8] * dims)
    torch.manual_seed(3)
    first = random_convolutions(images)
    torch.manual_seed(3)
    assert torch.equal(first, random_convolutions(images))
    assert first.shape == images.shape and not torch.allclose(first, images)
    norms = [t.flatten(1).norm(dim=1) for t in (first, images)]
    torch.testing.assert_close(*norms)
    bright = random_gamma(images, 2.0, 2.0, chance=1)
    assert bright.amin() == pytest.approx(images.amin().item(), abs=1e-5)
    assert bright.mean() < images.mean()


def test_specks_are_salt_or_pepper_on_as_many_pixels_as_published() -> None:
    """Salt on a fifth, pepper on four fifths of .4 % of 250,000 pixels: 200 or 800."""
    images = torch.full((8, 1, 500, 500), 0.5)
    images[..., 0, 0], images[..., 0, 1] = 0, 1
    torch.manual_seed(0)
    noisy = salt_and_pepper(images, 1.0)
    changes = (noisy - images)[:, 0].flatten(1)
    salt, pepper = (changes > 0).sum(1).tolist(), (changes < 0).sum(1).tolist()
    assert all((150 < s < 250) != (700 < p < 900) for s, p in zip(salt, pepper, strict=True))
    assert any(s > 150 for s in salt) and any(p > 700 for p in pepper)
    assert torch.equal(salt_and_pepper(images, 0.0), images)


@pytest.mark.parametrize("dims", [2, 3])
def test_erasing_takes_a_rectangle_of_the_published_size(dims: int) -> None:
    torch.manual_seed(0)
    images = 0.4 + 0.2 * torch.rand(6, 1, *[4] * (dims - 2), 100, 100)
    erased = random_erasing(images, 1.0)
    for one, was in zip(erased, images, strict=True):
        changed = (one != was).reshape(-1, 100, 100)
        assert (changed == changed[0]).all(), "the same on all slices"
        rows, columns = changed[0].any(1).sum().item(), changed[0].any(0).sum().item()
        assert changed[0].sum() == rows * columns, "a rectangle"
        assert 0.015 <= rows * columns / 10_000 <= 0.06
        assert 0.25 <= rows / columns <= 0.65
        value = one.reshape(-1, 100, 100)[:, changed[0]]
        assert value.min() == value.max() and was.min() <= value.min() <= was.max()
    assert torch.equal(random_erasing(images, 0.0), images)
