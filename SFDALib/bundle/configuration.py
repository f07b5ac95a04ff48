"""The JSON configuration that a person writes for a model to be trained or imported.

Its fields are those of ``sfda`` in configs/metadata.json plus name, licence and network. Standard
library alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from SFDALib.bundle.description import Description
from SFDALib.bundle.metadata import from_json
from SFDALib.errors import RequestError

CONFIGURATION = {
    *("name", "licence", "network", "modality", "labels"),
    *("orientation", "spacing", "normalisation", "patch_size", "axes", "crop", "resampling"),
    *("regions", "windows", "sliding", "mirror_axes", "size", "threshold", "cleaning"),
    "postprocessing",
}


def describe(config: Mapping[str, Any]) -> Description:
    """The description that a configuration stands for.

    Raises:
        RequestError: an unknown field, or what ``metadata.from_json`` refuses.
    """
    unknown = sorted(set(config) - CONFIGURATION)
    if unknown:
        raise RequestError(
            f'configuration: found the field "{unknown[0][:60]}", expected only'
            f" {', '.join(sorted(CONFIGURATION))}; remove it"
        )
    network = config.get("network", {})
    channels = network.get("in_channels") if isinstance(network, dict) else None
    metadata = {
        "name": config.get("name"),
        "copyright": config.get("licence", "see LICENSE"),
        "network_data_format": {"inputs": {"image": {"num_channels": channels}}},
        "sfda": {k: v for k, v in config.items() if k not in ("name", "licence", "network")},
    }
    return from_json(metadata, {"network_def": network})


# What a person fills in; a small 3D network as an example
TEMPLATE: Mapping[str, Any] = {
    "name": "Liver from portal-venous CT",
    "licence": "CC BY 4.0",
    "modality": "contrast-enhanced CT",
    "network": {
        "_target_": "monai.networks.nets.UNet",
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 2,
        "channels": [16, 32, 64, 128],
        "strides": [2, 2, 2],
        "num_res_units": 2,
    },
    "labels": [{"value": 1, "name": "Liver", "color": [221, 130, 101]}],
    "orientation": "LPS",
    "spacing": [1.5, 1.5, 1.5],
    "normalisation": {"kind": "fixed", "lower": -160, "upper": 240, "mean": 40, "std": 100},
    "patch_size": [96, 96, 96],
}


def write_template(path: Path) -> None:
    """Write ``TEMPLATE`` to a new file.

    Raises:
        RequestError: it exists or cannot be written.
    """
    try:
        with open(path, "x", encoding="utf-8") as stream:
            stream.write(json.dumps(TEMPLATE, indent=2) + "\n")
    except OSError as error:
        raise RequestError(
            f"{path}: cannot be written ({error.strerror}), expected a new file; choose"
            " another name"
        ) from error
