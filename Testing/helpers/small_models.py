"""Models and images as small as methods can work on, and one adaptation of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from bundles import describe

from SFDALib.adaptation.common import loop
from SFDALib.adaptation.common.model_selection import ModelSelection
from SFDALib.bundle.source import Source
from SFDALib.methods import registry
from SFDALib.methods.option import PUBLISHED
from SFDALib.methods.outcome import Adapted
from SFDALib.networks.build import build_network
from SFDALib.networks.residual_unet import EarlyHead
from SFDALib.progress import silent
from SFDALib.volume.conform import Conformed, conform
from SFDALib.volume.geometry import Geometry, Volume
from SFDALib.volume.input_spec import InputSpec
from SFDALib.volume.normalisation import Normalisation

TRAINED = [  # by any model that has batch normalisation, from images alone
    method.name
    for method in registry.METHODS.values()
    if method.adapts and not {"3d", "labels"} & set(method.needs) and method.name != "bn-statistics"
]


def model(dims: int = 2, classes: int = 2, outputs: int | None = None) -> Source:
    """Random weights, but statistics that fit an image: enough to see what changes."""
    description = replace(describe(dims, classes), diffusion=None)
    if outputs:
        network = {**description.network, "out_channels": outputs}
        description = replace(description, network=network)
    patch = (16, 16) if dims == 2 else (8, 16, 16)
    description = replace(description, patch_size=patch)
    torch.manual_seed(0)
    network = build_network(description.network).eval().requires_grad_(False)
    head = EarlyHead(dims, 4, description.out_channels).requires_grad_(False)
    return Source(description, network, head, None, torch.device("cpu"), {})


def image(seed: int = 1) -> Conformed:
    """A bright block in noise, 8 slices of 16 x 16."""
    generator = torch.Generator().manual_seed(seed)
    array = 0.2 * torch.rand((1, 8, 16, 16), generator=generator)
    array[:, 2:6, 4:12, 4:12] += 0.7
    geometry = Geometry((16, 16, 8), (3.0, 3.0, 4.0), (0.0,) * 3, (1.0, 0, 0, 0, 1, 0, 0, 0, 1))
    grid = InputSpec(1, None, (None, None, None), Normalisation("none"), is_2d=False)
    return conform(Volume(array.numpy(), geometry), grid)


def adapt(method: str, source: Source, seed: int = 0, count: int = 1, **options: Any) -> Adapted:
    described = registry.find(method)
    known = {option.name for option in described.options}
    options = {"batch": 4, "epochs": 1, "rounds": 1, "settle_bn": False, **options}
    values = described.values({k: v for k, v in options.items() if k in known}, PUBLISHED)
    images = [image(index + 1) for index in range(count)]
    return loop.adapt(described, source, images, values, seed, silent)


def delivered(outcome: Adapted, source: Source) -> set[str]:
    before = source.network.state_dict()
    return {name for name, value in outcome.weights.items() if not torch.equal(value, before[name])}


def take_the_last_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is worth, so that a change can be seen."""
    monkeypatch.setattr(
        ModelSelection, "criterion", lambda self, _: -len(self.curves.get("share_1", ()))
    )
    monkeypatch.setattr(ModelSelection, "collapse", lambda *_: None)


DYNUNET = {
    "_target_": "monai.networks.nets.DynUNet",
    "spatial_dims": 2,
    "in_channels": 1,
    "out_channels": 1,
    "kernel_size": [3, 3, 3],
    "strides": [1, 2, 2],
    "upsample_kernel_size": [2, 2],
    "filters": [4, 8, 8],
}


MONAI = "monai.networks.nets."
LEVELS = {"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2]}
SMALL = {"blocks_down": [1, 1], "blocks_up": [1]}
STAGES = {"features": [4, 8], "kernel_sizes": [3, 3], "strides": [1, 2], "convolutions": [1, 1]}


# Name of the network: its arguments, its classifier, the classifier's features.
NETWORKS: dict[str, tuple[dict[str, Any], str, int]] = {
    "ResidualUNet": (
        {"_target_": "SFDALib.networks.residual_unet.ResidualUNet", "features": 4},
        "out_path.1.convolution",
        4,
    ),
    "SFDAUNet": (
        {"_target_": "SFDALib.networks.sfda_unet.SFDAUNet", "features": 4},
        "final",
        4,
    ),
    "PlainConvUNet": (
        {
            "_target_": "SFDALib.networks.nnunet.PlainConvUNet",
            **STAGES,
            "decoder_convolutions": [1],
        },
        "decoder.seg_layers.0",
        4,
    ),
    "ResidualEncoderUNet": (
        {
            "_target_": "SFDALib.networks.nnunet.ResidualEncoderUNet",
            **{k: v for k, v in STAGES.items() if k != "convolutions"},
            "blocks": [1, 1],
            "decoder_convolutions": [1],
            "norm": "BatchNorm",
        },
        "decoder.seg_layers.0",
        4,
    ),
    "DynUNet": (
        {"_target_": f"{MONAI}DynUNet", **LEVELS, "filters": [4, 8, 8]},
        "output_block.conv.conv",
        4,
    ),
    "DynUNet, deep supervision, residual": (
        {
            "_target_": f"{MONAI}DynUNet",
            **LEVELS,
            # of 4 channels torch 2.13 (oneDNN) corrupts its memory on one thread of a CPU with AVX2
            # and no AVX-512, in the gradient of the residual connection's strided 1x1 convolution
            "filters": [8, 8, 8],
            "norm_name": "batch",
            "res_block": True,
            "deep_supervision": True,
        },
        "output_block.conv.conv",
        8,
    ),
    "SegResNet": (
        {"_target_": f"{MONAI}SegResNet", "init_filters": 8, **SMALL},
        "conv_final.2.conv",
        8,
    ),
    "SegResNetDS": (
        {"_target_": f"{MONAI}SegResNetDS", "init_filters": 8, **SMALL, "dsdepth": 2},
        "up_layers.0.head",
        8,
    ),
    "SwinUNETR": (
        {
            "_target_": f"{MONAI}SwinUNETR",
            "feature_size": 12,
            "depths": [1, 1, 1, 1],
            "num_heads": [1, 1, 1, 1],
            "window_size": 2,
        },
        "out.conv.conv",
        12,
    ),
    "UNet": (
        {"_target_": f"{MONAI}UNet", "channels": [4, 8, 8], "strides": [2, 2]},
        "model.2.conv",
        8,
    ),
    "UNet, residual": (
        {
            "_target_": f"{MONAI}UNet",
            "channels": [4, 8, 8],
            "strides": [2, 2],
            "num_res_units": 2,
            "norm": "batch",
        },
        "model.2.1",
        3,
    ),
    "BasicUNet": (
        {"_target_": f"{MONAI}BasicUNet", "features": [4, 4, 4, 4, 4, 4]},
        "final_conv",
        4,
    ),
    "VNet": ({"_target_": f"{MONAI}VNet"}, "out_tr.conv2", 3),
}


def with_network(definition: dict[str, Any], patch: tuple[int, ...]) -> Source:
    """A model of random weights."""
    source = model(len(patch), max(2, definition["out_channels"]))
    torch.manual_seed(0)
    network = build_network(definition).eval().requires_grad_(False)
    description = replace(source.description, network=definition, patch_size=patch)
    return replace(source, description=description, network=network)


INSTANCE_3D = {**DYNUNET, "spatial_dims": 3}
