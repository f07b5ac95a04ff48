"""Networks are built within bounds."""

from __future__ import annotations

import copy
import sys
import time
from typing import Any

import pytest
import torch
from checked_bundles import (
    DIFFUSION,
    RESIDUAL,
    dynunet,
)
from network_definitions import DEFINITIONS, RESIDUAL_TARGET

from SFDALib.adaptation.early_features import early_logits
from SFDALib.errors import RequestError
from SFDALib.networks import catalogue
from SFDALib.networks.build import build_network, early_stages
from SFDALib.networks.residual_unet import EarlyHead, ResidualUNet


@pytest.mark.parametrize(
    ("definition", "changes"),
    [
        (RESIDUAL, {"features": 10**9}),
        (RESIDUAL, {"features": 10**6}),
        (RESIDUAL, {"features": 4096}),
        (RESIDUAL, {"features": 10**30}),
        (RESIDUAL, {"features": -1}),
        (RESIDUAL, {"features": 2.5}),
        (RESIDUAL, {"features": True}),
        (RESIDUAL, {"features": "16"}),
        (RESIDUAL, {"features": None}),
        (RESIDUAL, {"spatial_dims": 7}),
        (dynunet(), {"filters": [10**6] * 3}),
        (dynunet(), {"kernel_size": [10**5, 3, 3]}),
        (dynunet(), {"kernel_size": "abc"}),
        (dynunet(), {"norm_name": "os.system"}),
        (dynunet(), {"filters": "abc"}),
        (dynunet(), {"kernel_size": [3] * 3000, "strides": [1] * 3000, "filters": [1] * 3000,
                     "upsample_kernel_size": [1] * 2999}),
        (DIFFUSION, {"num_res_blocks": 10**6}),
        (DIFFUSION, {"channels": [10**6, 8]}),
        (DIFFUSION, {"channels": [8] * 4000, "attention_levels": [False] * 4000,
                     "num_head_channels": [8] * 4000}),
    ],
    ids=str,
)  # fmt: skip
def test_an_absurd_network_is_refused_without_filling_the_memory(
    definition: dict[str, Any], changes: dict[str, Any]
) -> None:
    before, started = _peak_mb(), time.monotonic()
    with pytest.raises(RequestError) as caught:
        build_network(copy.deepcopy(definition) | changes, "bundle: network_def")
    line = str(caught.value)
    assert line.startswith("bundle: network_def: ") and len(line.splitlines()) == 1
    assert len(line) < 500
    assert _peak_mb() - before < 500
    assert time.monotonic() - started < 60


def _peak_mb() -> float:
    resource = pytest.importorskip("resource")
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def test_rehearsing_a_network_leaves_the_random_numbers_as_they_are() -> None:

    torch.manual_seed(3)
    ours = build_network(RESIDUAL).state_dict()
    torch.manual_seed(3)
    plain = ResidualUNet(2, 1, 1, 4).state_dict()
    assert all(torch.equal(ours[key], plain[key]) for key in plain)


@pytest.mark.parametrize("definition", DEFINITIONS, ids=str)
def test_early_stages_end_at_full_and_at_half_resolution(definition: dict) -> None:
    torch.manual_seed(0)
    network = build_network(catalogue.check_definition(definition, catalogue.SEGMENTATION, "x"))
    size = (16,) * definition["spatial_dims"]
    images = torch.randn(2, 1, *size)
    features = images
    network.eval()
    for level, divided in ((0, 1), (1, 2)):
        stages = early_stages(network, definition, level)
        assert len(stages) == level + 1
        features = images
        for stage in stages:
            features = stage(features)
        assert features.shape[2:] == tuple(n // divided for n in size)
        head = EarlyHead(definition["spatial_dims"], features.shape[1], 3)
        assert early_logits(stages, head, images).shape == network(images).shape


@pytest.mark.parametrize("definition", DEFINITIONS, ids=str)
def test_the_logits_depend_on_the_input_through_the_early_stages_alone(definition: dict) -> None:
    """Otherwise adapting them could not adapt the network."""
    torch.manual_seed(0)
    network = build_network(definition).eval()
    images = torch.randn(1, 1, *(16,) * definition["spatial_dims"])
    (first,) = early_stages(network, definition, 0)
    with torch.no_grad():
        features = first(images)
        handle = first.register_forward_hook(lambda *_: features)
        assert torch.equal(network(images), network(torch.zeros_like(images)))
        handle.remove()
        assert not torch.equal(network(images), network(torch.zeros_like(images)))


def test_a_network_that_refuses_its_arguments_is_a_request_error() -> None:
    with pytest.raises(RequestError, match="cannot be built"):
        build_network({"_target_": RESIDUAL_TARGET, "spatial_dims": 2, "channels": 1})
    with pytest.raises(RequestError, match="cannot be built"):
        build_network({"_target_": RESIDUAL_TARGET, "spatial_dims": 4, "in_channels": 1,
                         "out_channels": 1})  # fmt: skip
