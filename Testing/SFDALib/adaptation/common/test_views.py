"""Views are cyclic permutations of the axes of a volume."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from small_models import (
    INSTANCE_3D,
    with_network,
)
from torch import nn

from SFDALib.adaptation import muvi
from SFDALib.adaptation.common import views


def test_views_are_cyclic_permutations_and_come_back() -> None:
    x = torch.rand(1, 2, 3, 4, 5)
    assert [tuple(views.permuted(x, order).shape[2:]) for order in muvi.VIEWS] == [
        (3, 4, 5),
        (5, 3, 4),
        (4, 5, 3),
    ]
    for order in muvi.VIEWS:
        assert torch.equal(views.permuted(views.permuted(x, order), views.back(order)), x)


def test_a_turned_network_sees_the_permuted_image_and_answers_in_the_images_axes() -> None:
    """A convolution along the first axis alone: in a view it runs along the axis that is first."""
    network = nn.Sequential(nn.Conv3d(1, 1, (3, 1, 1), padding=(1, 0, 0), bias=False))
    images = torch.rand(1, 1, 5, 6, 7)
    weight = network[0].weight
    for order in muvi.VIEWS:
        axis = order[0]
        logits, features = views.turned(network, images, order, (1, 1, 1), "0")
        shape, padding = [1] * 3, [0] * 3
        shape[axis], padding[axis] = 3, 1
        expected = F.conv3d(images, weight.reshape(1, 1, *shape), padding=padding)
        torch.testing.assert_close(logits, expected)
        assert torch.equal(features, logits)


def test_windows_of_a_view_are_padded_to_what_the_network_halves() -> None:
    source = with_network(INSTANCE_3D, (6, 8, 8))
    images = torch.rand(1, 1, 6, 8, 8)
    name = views.deepest(source.network, torch.rand(1, 1, 8, 8, 8))
    for order in muvi.VIEWS:
        logits, _ = views.turned(source.network, images, order, (4, 4, 4), name)
        assert logits.shape == images.shape
