"""MONAI's DiNTS (He et al., CVPR 2021), its architecture, which a search has found, as numbers."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.networks import nets


class DiNTS(nets.DiNTS):
    """The network that MONAI's ``DiNTS`` and ``TopologyInstance`` make together.

    Args:
        topology: which paths between two blocks are used, 0 or 1 for each of ``num_blocks``.
        cells: the number of the operation that each path has.
        nodes: which nodes are used, 0 or 1, ``(num_blocks + 1, num_depths)``; None for all.
        channel_mul, num_blocks, num_depths, use_downsample: as of MONAI's classes.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        spatial_dims: int = 3,
        topology: Sequence[Sequence[int]] | None = None,
        cells: Sequence[Sequence[int]] | None = None,
        nodes: Sequence[Sequence[float]] | None = None,
        channel_mul: float = 1.0,
        num_blocks: int = 6,
        num_depths: int = 3,
        use_downsample: bool = True,
        norm_name: str | Sequence[object] = "instance",
        act_name: str | Sequence[object] = "RELU",
    ) -> None:
        if topology is None or cells is None:
            raise ValueError("found no topology and cells, which a search finds")
        common: dict[str, Any] = {
            "norm_name": _named(norm_name),
            "act_name": _named(act_name),
            "spatial_dims": spatial_dims,
            "use_downsample": use_downsample,
        }
        with torch.device("cpu"), contextlib.redirect_stdout(io.StringIO()):  # which it writes to
            code = [np.array(topology), np.array(cells)]
            node_a = None if nodes is None else torch.tensor(nodes)
        with contextlib.redirect_stdout(io.StringIO()):
            space = nets.TopologyInstance(
                arch_code=code,
                channel_mul=channel_mul,
                num_blocks=num_blocks,
                num_depths=num_depths,
                **common,
            )
            super().__init__(space, in_channels, out_channels, node_a=node_a, **common)


def _named(value: str | Sequence[object]) -> object:
    if value == "instance":
        return "INSTANCE", {"affine": True}
    return tuple(value) if isinstance(value, list) else value
