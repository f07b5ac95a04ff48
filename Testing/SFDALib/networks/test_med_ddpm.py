"""The presets are the published networks of Med-DDPM."""

from __future__ import annotations

import json

import pytest
import torch
from original_weights import FIXTURE

from SFDALib.networks.diffusion_unet import ConditionalDiffusionUNet
from SFDALib.networks.med_ddpm import MED_DDPM_PRESETS


@pytest.mark.parametrize(
    ("name", "parameters", "attention"),
    [
        (
            "med-ddpm-128",
            FIXTURE["wholehead_params"],
            [
                "down_blocks.3.attentions.0",
                "middle_block.attention",
                "up_blocks.1.attentions.0",
                "up_blocks.1.attentions.1",
            ],
        ),
        ("med-ddpm-brats", FIXTURE["brats_params"], ["middle_block.attention"]),
    ],
)
def test_presets_are_the_published_networks(
    name: str, parameters: int, attention: list[str]
) -> None:
    preset = json.loads(json.dumps(MED_DDPM_PRESETS[name]))
    with torch.device("meta"):
        network = ConditionalDiffusionUNet(**preset)
    assert sum(weight.numel() for weight in network.parameters()) == parameters
    found = [n.removesuffix(".attn") for n, _ in network.named_modules() if n.endswith(".attn")]
    assert found == attention
    assert network.divisor == 16
