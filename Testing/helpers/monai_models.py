"""Small MONAI bundles as the model zoo and Auto3DSeg have them.

The networks are as small as they get, with random weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from monai.bundle import init_bundle
from monai.networks import nets

SPLEEN = {
    "bundle_root": ".",
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "pixdim": [2.0, 2.0, 3.0],
    "network_def": {
        "_target_": "UNet",
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 2,
        "channels": [4, 8, 8],
        "strides": [2, 2],
        "num_res_units": 1,
        "norm": "batch",
    },
    "network": "$@network_def.to(@device)",
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
            {"_target_": "Spacingd", "keys": "image", "pixdim": "@pixdim", "mode": "bilinear"},
            {
                "_target_": "ScaleIntensityRanged",
                "keys": "image",
                "a_min": -57,
                "a_max": 164,
                "b_min": -1,
                "b_max": 1,
                "clip": True,
            },
            {"_target_": "EnsureTyped", "keys": "image", "device": "@device"},
        ],
    },
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [32, 32, 32], "overlap": 0.5},
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing"},
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
        ],
    },
}
BRATS = {
    **SPLEEN,
    "network_def": {
        "_target_": "SegResNet",
        "in_channels": 4,
        "out_channels": 3,
        "init_filters": 8,
        "blocks_down": [1, 2],
        "blocks_up": [1],
        "dropout_prob": 0.2,
    },
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {
                "_target_": "NormalizeIntensityd",
                "keys": "image",
                "nonzero": True,
                "channel_wise": True,
            },
        ],
    },
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
            {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
        ],
    },
}
WHOLE_BODY = {
    **SPLEEN,
    "network_def": {
        "_target_": "SegResNet",
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 105,
        "init_filters": 8,
        "blocks_down": [1, 1],
        "blocks_up": [1],
    },
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
            {"_target_": "Spacingd", "keys": "image", "pixdim": [2.0, 2.0, 3.0]},
            {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True},
            {"_target_": "ScaleIntensityd", "keys": "image", "minv": -1.0, "maxv": 1.0},
        ],
    },
}
# Without Orientationd, for which MONAI wants nibabel
UNTURNED = {
    **SPLEEN,
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            one
            for one in SPLEEN["preprocessing"]["transforms"]
            if one["_target_"] != "Orientationd"
        ],
    },
}
# With deep supervision, as Auto3DSeg trains it
DEEP = {
    **UNTURNED,
    "network_def": {
        "_target_": "SegResNetDS",
        "in_channels": 1,
        "out_channels": 3,
        "init_filters": 8,
        "blocks_down": [1, 1, 1],
        "dsdepth": 2,
    },
}
SWIN = {
    **UNTURNED,
    "network_def": {
        "_target_": "SwinUNETR",
        "spatial_dims": 3,
        "img_size": 32,  # as versions of MONAI until 1.5 wanted it
        "in_channels": 1,
        "out_channels": 3,
        "feature_size": 12,
        "depths": [1, 1, 1, 1],
        "num_heads": [1, 1, 1, 1],
        "window_size": 2,
        "use_checkpoint": False,
    },
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [64, 32, 32], "overlap": 0.5},
}
SHORT_AXIS = {
    **SPLEEN,
    "network_def": {
        "_target_": "UNet",
        "spatial_dims": 2,
        "in_channels": 1,
        "out_channels": 4,
        "channels": [4, 8],
        "strides": [2],
    },
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image", "image_only": False},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "ScaleIntensityd", "keys": "image"},
        ],
    },
    "inferer": {"_target_": "SliceInferer", "roi_size": [32, 32], "spatial_dim": 2},
}
NAMES = {
    "spleen": ["background", "spleen"],
    "brats": ["Tumor core", "Whole tumor", "Enhancing tumor"],
    "whole body": ["background", *(f"structure {index}" for index in range(1, 105))],
    "deep": ["background", "kidney", "tumor"],
    "swin": ["background", "spleen", "liver"],
    "short axis": ["background", "lv_pool", "myocardium", "rv_pool"],
}
CONFIGURATIONS = {
    "spleen": SPLEEN,
    "brats": BRATS,
    "whole body": WHOLE_BODY,
    "deep": DEEP,
    "swin": SWIN,
    "short axis": SHORT_AXIS,
}


def metadata(name: str) -> dict[str, Any]:
    """metadata.json."""
    outputs = {"channel_def": {str(i): text for i, text in enumerate(NAMES[name])}}
    channels = CONFIGURATIONS[name]["network_def"]["in_channels"]
    return {
        "name": name,
        "version": "0.5.7",
        "copyright": "Copyright (c) MONAI Consortium",
        "network_data_format": {
            "inputs": {"image": {"modality": "CT", "num_channels": channels}},
            "outputs": {"pred": outputs},
        },
    }


def write_published(
    folder: Path,
    name: str,
    config: dict[str, Any] | None = None,
    trained: torch.nn.Module | None = None,
) -> Path:
    """A bundle folder as in the model zoo, written by MONAI's own tool.

    Args:
        config: in place of that of the name.
        trained: the network whose weights it has.
    """
    init_bundle(
        folder,
        network=trained or network(CONFIGURATIONS[name]),
        metadata_str=metadata(name),
        inference_str=config or CONFIGURATIONS[name],
    )
    (folder / "docs/README.md").write_text("# About\n")
    (folder / "LICENSE").write_text("Apache-2.0\n")
    return folder


def network(config: dict[str, Any]) -> torch.nn.Module:
    arguments = {k: v for k, v in config["network_def"].items() if k != "img_size"}
    torch.manual_seed(0)
    return getattr(nets, arguments.pop("_target_"))(**arguments)
