"""A fold of a trained model of nnU-Net v2, fold_x/checkpoint_*.pth: its weights, and what it says
of its training. Nothing in it is executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from SFDALib.bundle.importers.common import read_bytes
from SFDALib.bundle.importers.nnunet_trainers import check_trainer
from SFDALib.bundle.weights import NUMPY_SCALARS, state_dict, unpickle
from SFDALib.errors import RequestError


@dataclass(frozen=True)
class Checkpoint:
    """What is needed of one fold's file."""

    weights: Mapping[str, Tensor]
    configuration: str
    trainer: str
    mirror_axes: tuple[int, ...]


def read_checkpoint(file: Path, trust: bool = False) -> Checkpoint:
    """Read a fold's file.

    Args:
        trust: take over a trainer that is not known.

    Raises:
        RequestError: it is damaged, or of a trainer that may do what the plans do not say.
    """
    content = unpickle(read_bytes(file), str(file), NUMPY_SCALARS)
    inside = content if isinstance(content, dict) else {}
    arguments, trainer = inside.get("init_args"), inside.get("trainer_name")
    configuration = arguments.get("configuration") if isinstance(arguments, dict) else None
    mirrored = inside.get("inference_allowed_mirroring_axes")
    mirrored = () if mirrored is None else mirrored
    if not isinstance(configuration, str) or not (
        isinstance(mirrored, list | tuple) and all(type(axis) is int for axis in mirrored)
    ):
        raise RequestError(
            f"{file}: found no init_args with a configuration, or wrong mirroring axes, expected a"
            " checkpoint of nnU-Net v2; copy the one that its training wrote"
        )
    check_trainer(trainer, str(file), trust)
    weights = state_dict(inside.get("network_weights"), str(file))
    weights = {key.removeprefix("module."): value for key, value in weights.items()}
    return Checkpoint(weights, configuration, str(trainer), tuple(mirrored))
