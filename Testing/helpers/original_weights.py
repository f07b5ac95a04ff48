"""Weights that any implementation can reproduce, for the originals' networks."""

from __future__ import annotations

import json
import math

import numpy as np
import torch
from paths import PARITY
from torch import nn


def fill(network: nn.Module, names_shapes: list) -> None:
    """The weights that any implementation can reproduce (METHODS.md, section G).

    Ours are named otherwise, so the original's entries are told by their order; each must have
    the original's shape, and say the same of itself where it matters to the rule.
    """
    state = network.state_dict()
    ours = [name for name, value in state.items() if value.is_floating_point()]
    assert len(ours) == len(names_shapes)
    for k, (name, (original, shape)) in enumerate(zip(ours, names_shapes, strict=True)):
        assert list(state[name].shape) == shape, f"entry {k}: {name}, {original}"
        assert name.rsplit(".", 1)[-1] == original.rsplit(".", 1)[-1]
        index = np.arange(math.prod(shape), dtype=np.float64)
        u = np.modf(0.6180339887498949 * (index + 1) + 0.1370 * k)[0] - 0.5
        if original.endswith("running_var"):
            u = 1 + 0.5 * (u + 0.5)
        elif original.endswith("running_mean"):
            u = 0.2 * u
        elif len(shape) <= 1:
            u = 0.1 * u if original.endswith("bias") else 1 + 0.2 * u
        else:
            u = u * math.sqrt(12 * shape[0] / u.size) * 0.8
        state[name] = torch.tensor(u, dtype=torch.float32).reshape(shape)
    network.load_state_dict(state)


FIXTURE = json.loads((PARITY / "med_ddpm.json").read_text())


def fixture_tensor(*keys: str) -> torch.Tensor:
    value = FIXTURE
    for key in keys:
        value = value[key]
    return torch.tensor(value)


def tiny_original_weights() -> dict[str, torch.Tensor]:
    """The fixture's U-Net weights, by the rule of METHODS.md, section G."""
    weights = {}
    for k, (name, shape) in enumerate(FIXTURE["tiny_names_shapes"]):
        i = np.arange(math.prod(shape), dtype=np.float64)
        u = np.modf(0.6180339887498949 * (i + 1) + 0.1370 * k)[0] - 0.5
        if len(shape) > 1:
            u = u * math.sqrt(12 * shape[0] / u.size) * 0.8
        elif name.endswith("bias"):
            u = 0.1 * u
        else:
            u = 1 + 0.2 * u
        weights[name] = torch.tensor(u, dtype=torch.float32).reshape(shape)
    return weights
