"""A trained model of nnU-Net v2: plans.json, dataset.json, fold_x/checkpoint_*.pth.

What it is, its plans and the names of its folders say; torch is needed for its weights alone.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from SFDALib import json_file
from SFDALib.bundle.description import Description
from SFDALib.bundle.importers.common import checked, labels, last_name
from SFDALib.bundle.importers.nnunet_plans import read_plans
from SFDALib.bundle.importers.nnunet_trainers import caution, check_trainer, named_trainer
from SFDALib.bundle.source_model import Candidate
from SFDALib.errors import RequestError
from SFDALib.hashing import opener, sha256_of_named

if TYPE_CHECKING:
    import torch

    from SFDALib.bundle.source import Source

PLANS, DATASET = "plans.json", "dataset.json"
OLD_PLANS = "plans.pkl"  # of nnU-Net v1
NAMES_LIMIT = 10_000  # looked at in a .zip
CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")


@dataclass(frozen=True)
class NnUNetModel:
    """A model folder on the disk.

    Args:
        path: the folder with plans.json, or the data set's, with one such folder or several.
        configuration: such as "3d_fullres"; needed where there are several.
        folds: "all" for an ensemble of every fold that is there, or numbers such as "0" or "0,1".
        trust_trainer: take over a trainer that is not known to keep to the plans.
    """

    path: Path
    configuration: str | None = None
    folds: str = "all"
    trust_trainer: bool = False
    _read: dict[str, bytes] = field(default_factory=dict, init=False, repr=False, compare=False)

    def describe(self) -> Description:
        """See ``SourceModel.describe``.

        The axes along which the model may be mirrored are only in its checkpoints: ``load`` adds
        them.
        """
        configuration = self._expected_configuration
        if configuration is None:
            raise RequestError(
                f"{self._folder}: found a folder whose name does not tell the model's"
                " configuration, expected a name such as nnUNetTrainer__nnUNetPlans__3d_fullres;"
                " rename it as nnU-Net named it, or use SFDALib import-model"
            )
        return checked(self._described(configuration, {}), str(self._folder))

    def require_weights(self) -> None:
        """See ``SourceModel.require_weights``; the trainer of each fold must be known, too."""
        for fold in self._folds:
            file = _checkpoint_file(fold)
            trainer = named_trainer(file)
            if trainer is not None:
                check_trainer(trainer, str(file), self.trust_trainer)

    def sha256(self) -> str:
        """See ``SourceModel.sha256``."""
        names = [PLANS, DATASET, *self._checkpoints]
        named = [(name, opener(self._folder / name)) for name in names]
        return sha256_of_named(named, str(self._folder), self._read)

    def load(self, device: torch.device, diffusion: bool = True) -> Source:
        """See ``SourceModel.load``."""
        # these need torch, which describing does not
        from SFDALib.bundle.importers.nnunet_checkpoint import read_checkpoint  # noqa: PLC0415
        from SFDALib.bundle.loading import load_imported  # noqa: PLC0415

        files = [self._folder / name for name in self._checkpoints]
        checkpoints = [read_checkpoint(file, self.trust_trainer) for file in files]
        first, expected = checkpoints[0], self._expected_configuration
        found = {checkpoint.configuration for checkpoint in checkpoints}
        if found != {expected or first.configuration}:
            raise RequestError(
                f"{self._folder}: found checkpoints of the configuration"
                f" {', '.join(sorted(found))}, expected {expected or 'one'}; choose the folder"
                " that belongs to it"
            )
        described = self._described(first.configuration, {"trainer": first.trainer})
        return load_imported(
            replace(described, mirror_axes=first.mirror_axes, cautions=caution(first.trainer)),
            [(str(file), one.weights) for file, one in zip(files, checkpoints, strict=True)],
            str(self._folder),
            device,
        )

    @cached_property
    def _folder(self) -> Path:
        """The folder with plans.json."""
        if (self.path / PLANS).is_file():
            return self.path
        models, wanted = _models(self.path), self.configuration
        chosen = [m for m in models if wanted in (None, _configuration_in(m))]
        if len(chosen) != 1:
            names = ", ".join(model.name for model in models)
            raise RequestError(
                f"{self.path}: found the models {names[:300] or 'none'},"
                f" expected one of the configuration {wanted or 'that you want'}; choose its"
                " folder, or use SFDALib import-model with --configuration"
            )
        return chosen[0]

    @cached_property
    def _plans(self) -> dict[str, Any]:
        return self._object(PLANS)

    @cached_property
    def _dataset(self) -> dict[str, Any]:
        return self._object(DATASET)

    def _object(self, name: str) -> dict[str, Any]:
        file = self._folder / name
        self._read[name] = json_file.content(file)
        return json_file.as_object(json_file.parse(self._read[name], str(file)), str(file))

    @property
    def _expected_configuration(self) -> str | None:
        """The one asked for, or that the folder's name tells."""
        return self.configuration or _configuration_in(self._folder)

    @cached_property
    def _folds(self) -> list[Path]:
        folder = self._folder
        there = sorted(
            (part for part in folder.glob("fold_*") if part.name.removeprefix("fold_").isdigit()),
            key=lambda part: int(part.name.removeprefix("fold_")),
        )
        if self.folds == "all":
            chosen = there or [folder / "fold_all"]  # nnU-Net's name for one trained on every case
        else:
            chosen = [folder / f"fold_{word.strip()}" for word in self.folds.split(",")]
        missing = [part.name for part in chosen if not part.is_dir()]
        if missing:
            raise RequestError(
                f"{folder}: found {', '.join(part.name for part in there) or 'no fold'}, expected"
                f" {', '.join(missing)[:80]}; choose others with import-model --fold"
            )
        return chosen

    @property
    def _checkpoints(self) -> list[str]:
        """Each fold's file, as a name inside the folder."""
        files = [_checkpoint_file(fold) for fold in self._folds]
        return [file.relative_to(self._folder).as_posix() for file in files]

    def _described(self, configuration: str, more: Mapping[str, Any]) -> Description:
        """The description of a configuration; ``more`` of its provenance."""
        folder, plans = self._folder, self._plans
        read = read_plans(plans, self._dataset, configuration, str(folder))
        data_set = plans.get("dataset_name", folder.parent.name)
        return Description(
            name=f"{data_set}, nnU-Net {configuration}",
            modality=read.modality,
            network=read.network,
            input_spec=read.input_spec,
            patch_size=read.patch_size,
            labels=labels(read.label_names),
            windows="even",
            fingerprint=read.fingerprint,
            ensemble=len(self._folds),
            provenance={
                "import": {
                    "from": "nnU-Net v2",
                    "model": last_name(folder),
                    "configuration": configuration,
                    "plans": plans.get("plans_name"),
                    "checkpoints": self._checkpoints,
                    **more,
                }
            },
        )


def recognise(candidate: Candidate) -> NnUNetModel | None:
    """The model, if the path is the folder of one, or of several of one data set.

    Raises:
        RequestError: it is something else of nnU-Net's, and what to choose in its place.
    """
    path, options = candidate.path, candidate.options
    _refuse_relatives(path)
    if not (os.path.isfile(path / PLANS) or _models(path)):
        return None
    return NnUNetModel(path, options.configuration, options.folds, options.trust_trainer)


def _models(folder: Path) -> list[Path]:
    """Trained models in a data set's folder: trainer__plans__configuration."""
    return sorted(part.parent for part in folder.glob(f"*__*__*/{PLANS}"))


def _configuration_in(folder: Path) -> str | None:
    """The configuration that a folder's name tells, if it is as nnU-Net named it."""
    parts = last_name(folder).split("__")
    return parts[-1] if len(parts) >= 3 else None


def _checkpoint_file(fold: Path) -> Path:
    file = next((fold / name for name in CHECKPOINTS if (fold / name).is_file()), None)
    if file is None:
        raise RequestError(
            f"{fold}: found no {' or '.join(CHECKPOINTS)}, expected a trained fold; copy it whole"
        )
    return file


def _refuse_relatives(path: Path) -> None:
    """Raises:
    RequestError: a fold's own folder, a model of nnU-Net v1, or one exported to a .zip.
    """
    if os.path.isdir(path):
        above = Path(os.path.abspath(path)).parent
        if path.name.startswith("fold_") and os.path.isfile(above / PLANS):
            raise RequestError(
                f"{path}: found one fold of a model of nnU-Net, expected the model's folder; choose"
                f" {above}, or that with import-model --fold {path.name.removeprefix('fold_')}"
            )
        first = [path, above, *sorted(path.glob("*__*"))]
        old = any(os.path.isfile(one / OLD_PLANS) for one in first)
        if old and not os.path.isfile(path / PLANS):
            raise RequestError(
                f"{path}: found a model of nnU-Net v1 ({OLD_PLANS}, which is code), expected one of"
                " v2; get the model for nnU-Net v2, or train it with that"
            )
    elif path.suffix.lower() == ".zip":
        try:
            with zipfile.ZipFile(path) as archive:
                inside = [PurePosixPath(name) for name in archive.namelist()[:NAMES_LIMIT]]
        except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
            return  # what is damaged is told where it is read
        model = next((name.parent for name in inside if name.name == PLANS), None)
        if model is not None:
            raise RequestError(
                f"{path}: found a model that nnU-Net has exported to a .zip, expected its folder;"
                f" unpack it and choose {str(model)[:120]} in it"
            )
