"""A definition is plain data of the allow-list, or refused before anything is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from checked_bundles import (
    INFERENCE,
    change,
    refusal,
)
from network_definitions import DEFINITIONS, small_dynunet
from small_models import DYNUNET
from torch import nn

from SFDALib.networks import catalogue
from SFDALib.networks.build import build_network


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"_target_": "os.system"}, '"_target_": "os.system", which is not on the list'),
        ({"_target_": "monai.networks.nets.AutoEncoder"}, "expected one of"),
        ({"_target_": ["os.system"]}, "without a network name"),
        ({"_target_": "$__import__('os').system"}, "not on the list"),
        ({"_target_": "evil\nsecond line"}, "not on the list"),
        ({"features": "$__import__('os').system('true')"}, "the expression"),
        ({"features": "@network_def#in_channels"}, "the expression"),
        ({"features": "%configs/other.json"}, "the expression"),
        ({"features": [4, {"x": "$1 + 1"}]}, "the expression"),
        ({"features": "$1\n+ 1"}, "the expression"),
        ({"_disabled_": True}, 'the instruction "_disabled_"'),
        ({"_requires_": "$import os"}, 'the instruction "_requires_"'),
        ({"_mode_": "callable"}, 'the instruction "_mode_"'),
        ({"features": {"_target_": "os.system", "command": "true"}}, 'the instruction "_target_"'),
        ({"features": 10**9}, "the number 1000000000, expected at most"),
        ({"features": -(10**30)}, "expected at most"),
        ({"features": float("inf")}, "expected at most"),
        ({"features": float("nan")}, "expected at most"),
    ],
)
def test_a_definition_that_is_more_than_data_is_refused_before_anything_is_imported(
    bundle: Path, arguments: dict[str, Any], words: str
) -> None:
    change(bundle, INFERENCE, lambda content: content["network_def"].update(arguments))
    line = refusal(bundle)
    assert f"{INFERENCE}, network_def" in line and words in line


def test_a_hostile_diffusion_network_is_refused_too(bundle: Path) -> None:
    change(bundle, INFERENCE, lambda content: content["diffusion_def"].update(_target_="os.system"))
    assert f"{INFERENCE}, diffusion_def" in refusal(bundle)


def test_a_missing_definition_is_named(bundle: Path) -> None:
    change(bundle, INFERENCE, lambda content: content.pop("network_def"))
    assert f"{INFERENCE}, network_def" in refusal(bundle)


@pytest.mark.parametrize(("definition", "divisor"), [(DEFINITIONS[0], 8), (DEFINITIONS[3], 4)])
def test_a_networks_divisor_is_the_smallest_side_that_it_accepts(
    definition: dict, divisor: int
) -> None:
    network = build_network(definition).eval()
    assert catalogue.divisor(definition) == (divisor,) * definition["spatial_dims"]
    shape = (2 * divisor,) * definition["spatial_dims"]
    assert network(torch.zeros(1, 1, *shape)).shape[2:] == shape
    with pytest.raises(RuntimeError):
        network(torch.zeros(1, 1, *(n + divisor // 2 for n in shape)))


def test_a_divisor_is_the_product_of_the_strides_along_each_axis() -> None:
    definition = small_dynunet(3, False) | {"strides": [1, [1, 2, 2], [2, 2, 2]]}
    assert catalogue.divisor(definition) == (2, 4, 4)


@pytest.mark.parametrize(
    ("norm", "has"),
    [("batch", True), (["BATCH", {"affine": True}], True), ("instance", False), (None, False)],
)
def test_batch_normalisation_is_told_by_the_arguments_as_the_network_has_it(
    norm: Any, has: bool
) -> None:
    definition = {**DYNUNET, **({} if norm is None else {"norm_name": norm})}
    assert catalogue.has_batch_norm(definition) is has
    built = build_network(definition)
    assert any(isinstance(m, nn.BatchNorm2d) for m in built.modules()) is has
