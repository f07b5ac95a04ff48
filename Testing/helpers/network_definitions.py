"""Definitions of small networks with early stages."""

from __future__ import annotations

RESIDUAL_TARGET = "SFDALib.networks.residual_unet.ResidualUNet"


def small_dynunet(spatial_dims: int, res_block: bool) -> dict:
    return {
        "_target_": "monai.networks.nets.DynUNet",
        "spatial_dims": spatial_dims,
        "in_channels": 1,
        "out_channels": 3,
        "kernel_size": [3, 3, 3],
        "strides": [1, 2, 2],
        "upsample_kernel_size": [2, 2],
        "filters": [4, 8, 16],
        "res_block": res_block,
    }


DEFINITIONS = [
    *({"_target_": RESIDUAL_TARGET, "spatial_dims": d, "in_channels": 1, "out_channels": 3,
       "features": 4} for d in (2, 3)),
    *(small_dynunet(d, res_block) for d in (2, 3) for res_block in (False, True)),
]  # fmt: skip
