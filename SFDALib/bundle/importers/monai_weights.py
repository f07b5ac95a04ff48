"""The weights of a MONAI bundle, and an architecture that a search has found. Torch is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from SFDALib.bundle.bundle_files import WEIGHTS_LIMIT, BundleFiles
from SFDALib.bundle.description import Description
from SFDALib.bundle.weights import NUMPY_ARRAYS, Weights, network_weights, unpickle
from SFDALib.errors import RequestError

ARCHITECTURE_LIMIT = 1 << 24  # bytes


def read_weights(
    files: BundleFiles, described: Description, name: str, architecture: Sequence[str]
) -> tuple[Description, Weights]:
    """The weights, and the description with all that decides the network.

    Args:
        name: the file of the weights.
        architecture: files that say more of the network.

    Raises:
        RequestError: missing or damaged.
    """
    where = f"{files.path}: {name}"
    with files.open(name, WEIGHTS_LIMIT) as stream:
        weights = network_weights(unpickle(stream.read(), where), where)
    if architecture:
        found = _architecture(files, architecture[0])
        described = replace(described, network={**described.network, **found})
    return described, weights


def _architecture(files: BundleFiles, name: str) -> dict[str, Any]:
    """The arguments of DiNTS that its search has found, as plain numbers."""
    where = f"{files.path}: {name}"
    with files.open(name, ARCHITECTURE_LIMIT) as stream:
        content = unpickle(stream.read(), where, NUMPY_ARRAYS)
    codes = {"topology": "arch_code_a", "cells": "arch_code_c", "nodes": "node_a"}
    if not isinstance(content, dict) or not {"arch_code_a", "arch_code_c"} <= set(content):
        raise RequestError(
            f"{where}: found no arch_code_a and arch_code_c, expected what MONAI's search of DiNTS"
            " wrote; copy it again"
        )
    return {
        argument: torch.as_tensor(content[key]).tolist()
        for argument, key in codes.items()
        if key in content
    }
