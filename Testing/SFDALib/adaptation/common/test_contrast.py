"""Contrastive learning: which pixels it takes, and its losses by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from SFDALib.adaptation.common import contrast


def test_the_contrast_leaves_out_a_class_that_the_model_is_sure_of_everywhere() -> None:
    """Entropies of .5004 nat: 9 pixels are 4.5 in all, and 10 are 5.004."""
    p = torch.tensor([[0.8, 0.2]])
    entropy = -(0.8 * math.log(0.8) + 0.2 * math.log(0.2))
    assert 9 * entropy < 5 < 10 * entropy
    for count, shown in ((9, False), (10, True)):
        sure, unsure = contrast.masks(p.expand(count, 2), 1.0)
        assert bool(sure.any()) is bool(unsure.any()) is shown


def test_the_cross_entropy_of_the_contrast_drops_the_most_uncertain_of_each_class() -> None:
    """20 pixels, all of class 0, the last four most uncertain: 20 % of them are dropped, and the
    mean over the 16 is multiplied by 20 / 16.
    """
    best = torch.tensor([*[0.6] * 16, *[0.55] * 4])
    p = torch.stack([best, 1 - best])[None]
    logits = torch.stack([torch.zeros(20), torch.arange(20.0)])[None]
    each = torch.log1p(torch.exp(torch.arange(20.0)))
    found = contrast.sure_cross_entropy(logits, p, 20.0).item()
    assert found == pytest.approx((each[:16].mean() * 20 / 16).item(), rel=1e-5)
    sure = torch.tensor([0.99, 0.01]).view(1, 2, 1).expand(1, 2, 20)  # 1.1 nat in all
    assert contrast.sure_cross_entropy(logits, sure, 20.0).item() == pytest.approx(each.mean())


def test_contrast_tells_sure_from_unsure_pixels_within_each_class() -> None:
    """11 pixels of each class, entropies rising with the index: percentiles 70 and 80 are those of
    the 8th and the 9th. The background's share of unsure pixels is a quarter: 85 and 95, between
    the 9th to the 11th. At the end of the training: 90 and 100.
    """
    best = torch.linspace(0.99, 0.6, 11)
    rest = (1 - best) / 2
    background, first = torch.stack([best, rest, rest], 1), torch.stack([rest, best, rest], 1)
    sure, unsure = contrast.masks(torch.cat([background, first]), 1.0)
    assert sure.view(2, 11).sum(1).tolist() == [9, 8]
    assert unsure.view(2, 11).sum(1).tolist() == [1, 3]
    sure, unsure = contrast.masks(torch.cat([background, first]), 0.0)
    assert sure.view(2, 11).sum(1).tolist() == [10, 10]
    assert unsure.view(2, 11).sum(1).tolist() == [1, 1]


def test_contrast_weighs_the_positive_against_the_negatives() -> None:
    """Cosines 1 and 0, 0 at temperature 1: - ln e / (e + 2)."""
    anchors = torch.tensor([[2.0, 0.0]])
    negatives = torch.tensor([[[0.0, 1.0], [0.0, -3.0]]])
    value = contrast.info_nce(anchors, torch.tensor([5.0, 0.0]), negatives, 1.0).item()
    assert value == pytest.approx(-math.log(math.e / (math.e + 2)))


def test_contrast_moves_the_sure_pixels_of_images_that_show_two_classes_or_more() -> None:
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False))
    teacher[0].weight.data = torch.eye(3)[..., None, None]  # features are logits
    images = torch.randn(2, 3, 8, 8)
    seen = images.clone().requires_grad_(True)
    loss = contrast.Contrast(teacher, "0", 4, 0.1).loss(images, seen)
    loss.backward()
    assert loss > 0
    sure, _ = contrast.masks(images.softmax(1).movedim(1, -1).reshape(-1, 3), 1.0)
    moved = seen.grad.abs().sum(1).flatten() > 0
    assert moved.any() and not (moved & ~sure).any()
    alone = images - 10 * torch.tensor([0.0, 1.0, 1.0]).view(1, 3, 1, 1)  # one class everywhere
    assert contrast.Contrast(teacher, "0", 4, 0.1).loss(alone, seen) == 0
