"""Import a trained model of nnU-Net v2: plans.json, dataset.json, fold_x/checkpoint_*.pth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from SFDALib.bundle.description import Description
from SFDALib.bundle.importers.imported import Imported, assembled, labels, read_bytes, read_json
from SFDALib.bundle.importers.nnunet_plans import read_plans
from SFDALib.bundle.source import state_dict, unpickle
from SFDALib.errors import RequestError

CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
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


def is_model(folder: Path) -> bool:
    """Whether it is the folder of a trained model, or of several models of one data set."""
    return any((part / "plans.json").is_file() for part in (folder, *_models(folder)))


def read(folder: Path, configuration: str | None = None, folds: str = "all") -> Imported:
    """Read a model folder.

    Args:
        folder: with plans.json, or the data set's, with several such folders.
        configuration: such as "3d_fullres"; needed where there are several.
        folds: "all" for an ensemble of every fold that is there, or numbers such as "0" or "0,1".

    Raises:
        RequestError: a file is missing or damaged, or the model is one that is not taken over.
    """
    folder = _model_folder(Path(folder), configuration)
    plans, dataset = (read_json(folder / name) for name in ("plans.json", "dataset.json"))
    checkpoints = [_checkpoint(fold) for fold in _folds(folder, folds)]
    first = checkpoints[0]
    if any(c.configuration != first.configuration for c in checkpoints) or (
        configuration not in (None, first.configuration)
    ):
        raise RequestError(
            f"{folder}: found checkpoints of the configuration"
            f" {', '.join(sorted({c.configuration for c in checkpoints}))}, expected"
            f" {configuration or 'one'}; choose the folder that belongs to it"
        )
    read = read_plans(plans, dataset, first.configuration, str(folder))
    description = Description(
        name=f"{plans.get('dataset_name', folder.parent.name)}, nnU-Net {first.configuration}",
        modality=read.modality,
        network=read.network,
        grid=read.grid,
        patch_size=read.patch_size,
        labels=labels(read.label_names),
        windows="even",
        mirror_axes=first.mirror_axes,
        ensemble=len(checkpoints),
        provenance={
            "import": {
                "from": "nnU-Net v2",
                "configuration": first.configuration,
                "trainer": first.trainer,
                "plans": plans.get("plans_name"),
                "checkpoints": [f"{c.file.parent.name}/{c.file.name}" for c in checkpoints],
            }
        },
    )
    files = [str(checkpoint.file) for checkpoint in checkpoints]
    return assembled(description, [c.weights for c in checkpoints], files, str(folder))


def _models(folder: Path) -> list[Path]:
    """Trained models in a data set's folder: trainer__plans__configuration."""
    return sorted(part.parent for part in folder.glob("*__*__*/plans.json"))


def _model_folder(folder: Path, configuration: str | None) -> Path:
    if (folder / "plans.json").is_file():
        return folder
    models = _models(folder)
    chosen = [m for m in models if configuration in (None, m.name.rsplit("__", 1)[-1])]
    if len(chosen) != 1:
        raise RequestError(
            f"{folder}: found the models {', '.join(m.name for m in models) or 'none'}, expected"
            f" one of the configuration {configuration or 'that --configuration names'}; choose one"
        )
    return chosen[0]


def _folds(folder: Path, folds: str) -> list[Path]:
    there = sorted(
        (part for part in folder.glob("fold_*") if part.name.removeprefix("fold_").isdigit()),
        key=lambda part: int(part.name.removeprefix("fold_")),
    )
    if folds == "all":
        chosen = there or [folder / "fold_all"]  # nnU-Net's name for one trained on every case
    else:
        chosen = [folder / f"fold_{word.strip()}" for word in folds.split(",")]
    missing = [part.name for part in chosen if not part.is_dir()]
    if missing:
        raise RequestError(
            f"{folder}: found {', '.join(part.name for part in there) or 'no fold'}, expected"
            f" {', '.join(missing)[:80]}; choose with --fold"
        )
    return chosen


def _checkpoint(fold: Path) -> Checkpoint:
    file = next((fold / name for name in CHECKPOINTS if (fold / name).is_file()), None)
    if file is None:
        raise RequestError(
            f"{fold}: found no {' or '.join(CHECKPOINTS)}, expected a trained fold; copy it whole"
        )
    content = unpickle(read_bytes(file), str(file), NUMPY_SCALARS)
    try:
        weights, trainer = content["network_weights"], content["trainer_name"]
        configuration = content["init_args"]["configuration"]
        mirrored = content.get("inference_allowed_mirroring_axes")
    except (KeyError, TypeError, AttributeError) as error:
        raise RequestError(
            f"{file}: found no {error}, expected a checkpoint of nnU-Net v2; copy the one that its"
            " training wrote"
        ) from error
    if not isinstance(trainer, str) or trainer not in TRAINERS:
        raise RequestError(
            f'{file}: found the trainer "{str(trainer)[:80]}", expected one of nnU-Net\'s own that'
            " keep network and inference as planned; others may do what the plans do not say"
        )
    weights = {key.removeprefix("module."): v for key, v in state_dict(weights, str(file)).items()}
    return Checkpoint(
        file, weights, str(configuration), trainer, tuple(int(axis) for axis in mirrored or ())
    )
