"""Small bundles with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from SFDALib.bundle import source
from SFDALib.bundle.description import (
    Description,
    DiffusionDescription,
    EarlyHeadDescription,
    Label,
)
from SFDALib.networks.build import build_network
from SFDALib.networks.residual_unet import EarlyHead
from SFDALib.volume.input_spec import InputSpec
from SFDALib.volume.normalisation import Normalisation

if TYPE_CHECKING:
    pass


def describe(spatial_dims: int = 2, classes: int = 2, channels: int = 1) -> Description:
    """A bundle's description with everything in it, for networks as small as they get."""
    outputs = 1 if classes == 2 else classes
    patch_size = (32, 32) if spatial_dims == 2 else (16, 32, 32)
    spacing = (3.0, 3.0, None) if spatial_dims == 2 else (3.0, 3.0, 4.0)
    colors = ((250, 170, 70), (70, 170, 250), (120, 220, 90))
    names = ("Brain", "Lesion", "Ventricle")
    return Description(
        name="Tiny test model",
        modality="synthetic head",
        network={
            "_target_": "SFDALib.networks.residual_unet.ResidualUNet",
            "spatial_dims": spatial_dims,
            "in_channels": channels,
            "out_channels": outputs,
            "features": 4,
        },
        input_spec=InputSpec(channels, "LPS", spacing, Normalisation(), is_2d=spatial_dims == 2),
        patch_size=patch_size,
        labels=tuple(
            Label(value, names[value - 1], colors[value - 1], None, (10.0, 200.0), 60.0, 1200.0)
            for value in range(1, classes)
        ),
        early_head=EarlyHeadDescription(level=0, channels=4),
        diffusion=DiffusionDescription(
            network={
                "_target_": "SFDALib.networks.diffusion_unet.ConditionalDiffusionUNet",
                "spatial_dims": spatial_dims,
                "image_channels": channels,
                "condition_channels": classes,  # foreground classes and the body
                "channels": [8, 8],
                "num_res_blocks": 1,
                "attention_levels": [False, False],
                "num_head_channels": [0, 8],
                "norm_num_groups": 4,
            },
            spacing=(4.0, 4.0, None),
            timesteps=50,
            foreground=True,
        ),
    )


def write_bundle(path: Path, description: Description, seed: int = 0) -> Path:
    """A complete bundle with random weights."""
    torch.manual_seed(seed)
    network = build_network(description.network)
    outputs = description.out_channels
    head_weights = EarlyHead(description.spatial_dims, 4, outputs).state_dict()
    diffusion = build_network(description.diffusion.network)
    path.mkdir(parents=True)
    source.write(path, description, network.state_dict(), head_weights, diffusion.state_dict())
    return path
