"""The classifier of a network, its features and its prototypes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_models import (
    INSTANCE_3D,
    model,
)
from torch import nn

from SFDALib.adaptation.common import features, views
from SFDALib.networks.build import build_network


@pytest.mark.parametrize("dims", [2, 3])
def test_the_classifier_is_the_convolution_applied_last_and_its_weights_are_the_prototypes(
    dims: int,
) -> None:
    """In eval mode logits = (w f + b - mean) g / sd + shift: a direction w g / sd."""
    network = model(dims, 3).network
    images = torch.rand(1, 1, *[16] * dims)
    name = features.classifier(network, images)
    assert name == "out_path.1.convolution"
    seen, logits = features.forward(network, name, images)
    torch.testing.assert_close(logits, network(images))
    norm, weight = network.out_path[2], network.get_submodule(name).weight.flatten(1)
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    directions = features.prototypes(network, name, images)
    torch.testing.assert_close(directions, weight * scale[:, None], rtol=1e-4, atol=1e-6)
    assert seen.shape == (1, 4, *[16] * dims)


def test_a_sigmoids_prototypes_point_to_either_side() -> None:
    network = model().network
    images = torch.rand(1, 1, 16, 16)
    background, foreground = features.prototypes(
        network, features.classifier(network, images), images
    )
    torch.testing.assert_close(background, -foreground)


def test_dropout_is_the_networks_own_or_put_before_the_classifier() -> None:
    images = torch.ones(1, 1, 16, 16)
    without, own = model().network, nn.Sequential(nn.Conv2d(1, 4, 1), nn.Dropout(0.5))
    for network in (without, own.append(nn.Conv2d(4, 1, 1)).eval()):
        name = features.classifier(network, images)
        before = network(images)
        with features.dropout(network, name, 0.5):
            assert not torch.equal(network(images), before)
        assert torch.equal(network(images), before)


def test_the_classifier_may_learn_faster_than_the_rest() -> None:
    network = model().network
    name = features.classifier(network, torch.rand(1, 1, 16, 16))
    body, head = features.with_head_rate(network, name, 0.1, 10.0)
    assert head["params"] == list(network.get_submodule(name).parameters()) and head["lr"] == 1.0
    assert len(body["params"]) + len(head["params"]) == len(list(network.parameters()))


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        (INSTANCE_3D, "bottleneck"),
        (dict(model(3).description.network), "up3.3"),
        (
            {
                "_target_": "monai.networks.nets.UNet",
                "spatial_dims": 3,
                "in_channels": 1,
                "out_channels": 1,
                "channels": [4, 8, 8],
                "strides": [2, 2],
            },
            "model.1.submodule.1",
        ),
    ],
)
def test_the_deepest_features_are_found_in_any_network(
    definition: dict[str, Any], expected: str
) -> None:
    network = build_network(definition).eval()
    assert views.deepest(network, torch.rand(1, 1, 16, 16, 16)) == expected
