"""A fold of a trained model of nnU-Net v2, fold_x/checkpoint_*.pth: its weights, and what it says
of its training. Nothing in it is executed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from SFDALib.bundle.importers.imported import read_bytes
from SFDALib.bundle.weights import state_dict, unpickle
from SFDALib.errors import RequestError

# nnU-Net's own trainers (2.8) that leave network, preprocessing and inference as the plans say: the
# endings of their names
TRAINERS = frozenset(
    f"nnUNetTrainer{ending}"
    for ending in (
        *("", "Adam", "Adam1en3", "Adam3en4", "Adan", "Adan1en1", "Adan1en3", "Adan3en4"),
        *("AdanCosAnneal", "VanillaAdam", "VanillaAdam1en3", "VanillaAdam3en4", "CosAnneal"),
        *("Benchmark_5epochs", "Benchmark_5epochs_noDataLoading", "CELoss", "CELoss_5epochs"),
        *("DA5", "DA5Segord0", "DA5_10epochs", "DA5ord0", "NoDA", "_DASegOrd0"),
        *("DiceCELoss_noSmooth", "DiceLoss", "DiceTopK10Loss", "Topk10Loss", "Topk10LossLS01"),
        *("NoDeepSupervision", "NoMirroring", "_DASegOrd0_NoMirroring", "_noDummy2DDA", "_warmup"),
        *("_onlyMirror01", "_onlyMirror01_1500ep", "_onlyMirror01_DA5", "_onlyMirror01_DASegOrd0"),
        *(f"_probabilisticOversampling{share}" for share in ("", "_010", "_033")),
        *("_1epoch", *(f"_{n}epochs" for n in (5, 10, 20, 50, 100, 250, 500, 750))),
        *(f"_{n}epochs" for n in (2000, 4000, 8000)),
        *(f"_{n}epochs_NoMirroring" for n in (250, 2000, 4000, 8000)),
    )
)
# The NumPy scalars of a checkpoint's log, under the names of NumPy 1 and 2
NUMPY_SCALARS = (
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),
    (np._core.multiarray.scalar, "numpy._core.multiarray.scalar"),
    *(np.dtype, np.dtypes.Float64DType, np.dtypes.Float32DType, np.dtypes.Int64DType),
)


@dataclass(frozen=True)
class Checkpoint:
    """What is needed of one fold's file."""

    file: Path
    weights: Mapping[str, Tensor]
    configuration: str
    trainer: str
    mirror_axes: tuple[int, ...]


def read_checkpoint(file: Path) -> Checkpoint:
    """Read a fold's file.

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
    if not isinstance(trainer, str) or trainer not in TRAINERS:
        raise RequestError(
            f'{file}: found the trainer "{str(trainer)[:80]}", expected one of nnU-Net\'s own that'
            " keep network and inference as planned; others may do what the plans do not say"
        )
    weights = state_dict(inside.get("network_weights"), str(file))
    weights = {key.removeprefix("module."): value for key, value in weights.items()}
    return Checkpoint(file, weights, configuration, trainer, tuple(mirrored))
