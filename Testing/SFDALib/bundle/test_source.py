"""Weights written in half precision load in single precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from bundles import describe
from checked_bundles import (
    MODEL,
    load,
)

from SFDALib.bundle import source
from SFDALib.networks.build import build_network


def test_weights_in_half_precision_load_as_single(tmp_path: Path) -> None:
    description = replace(describe(), early_head=None, diffusion=None)
    torch.manual_seed(0)
    weights = build_network(description.network).state_dict()
    for name, saved in (("single", weights), ("half", source.half(weights))):
        (tmp_path / name).mkdir()
        source.write(tmp_path / name, description, saved)
    sizes = [(tmp_path / name / MODEL).stat().st_size for name in ("half", "single")]
    assert sizes[0] < 0.75 * sizes[1]
    loaded = load(tmp_path / "half").network.state_dict()
    for key, value in weights.items():
        assert loaded[key].dtype == value.dtype
        torch.testing.assert_close(loaded[key], value, rtol=1e-3, atol=1e-6)
