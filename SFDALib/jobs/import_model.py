"""Bring a model from elsewhere: recognise what it is, import it, write a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from SFDALib.bundle import source
from SFDALib.bundle.files import BundleFiles
from SFDALib.bundle.importers import med_ddpm, plain
from SFDALib.bundle.importers.imported import Imported
from SFDALib.bundle.importers.monai_bundle import MonaiModel
from SFDALib.bundle.importers.nnunet import NnUNetModel
from SFDALib.errors import RequestError
from SFDALib.results.folder import ResultFolder


@dataclass(frozen=True)
class Choices:
    """What a model does not say of itself.

    Args:
        configuration, folds: which of nnU-Net's.
        trust_trainer: of nnU-Net: take over a trainer that is not known.
        region_order: of a MONAI bundle with overlapping regions, as they are painted.
        description: of a state dict, the JSON file about its model.
    """

    configuration: str | None = None
    folds: str = "all"
    region_order: tuple[str, ...] = ()
    description: Path | None = None
    trust_trainer: bool = False


def import_model(model: Path, output: Path, choices: Choices | None = None) -> None:
    """Write the model as a bundle; whole or not at all.

    Raises:
        RequestError: nothing that can be imported, and why.
    """
    if output.exists():
        raise RequestError(f"{output}: exists already; choose another name or remove it")
    imported = _read(model, choices or Choices())
    with ResultFolder(output) as folder:
        source.write(
            folder,
            imported.description,
            imported.network.state_dict(),
            documents=imported.documents,
        )


def import_diffusion(
    weights: Path, preset: str, bundle: Path, relabel: Sequence[tuple[int, int]], output: Path
) -> None:
    """Write a bundle with Med-DDPM's published weights as its diffusion model.

    Args:
        preset: which of the published networks, see ``med_ddpm_presets``.
        bundle: what they are added to, which stays as it is.
        relabel: see ``med_ddpm.read``.

    Raises:
        RequestError: the weights are of another network, or the bundle is not what they are for.
    """
    if output.exists():
        raise RequestError(f"{output}: exists already; choose another name or remove it")
    if not weights.exists():
        raise RequestError(f"{weights}: no such file; check the path")
    model = source.load(bundle, torch.device("cpu"), diffusion=False)
    described, converted = med_ddpm.read(weights, preset, model.description, relabel)
    origin = {"diffusion": {"from": "Med-DDPM", "network": preset, "file": weights.name}}
    description = model.description.with_changes(
        diffusion=described, provenance={**model.description.provenance, **origin}
    )
    with ResultFolder(output) as folder:
        source.write(
            folder,
            description,
            model.network.state_dict(),
            early_head=source.state(model.early_head),
            diffusion=converted,
            documents=model.documents,
        )


def _read(model: Path, choices: Choices) -> Imported:
    if not model.exists():
        raise RequestError(f"{model}: no such model; check the path")
    if choices.description is not None:
        return plain.read(model, choices.description)
    if NnUNetModel.is_at(model):
        asked = choices.configuration, choices.folds, choices.trust_trainer
        return NnUNetModel(model, *asked).read()
    files = BundleFiles(model)
    if not MonaiModel.is_in(files):
        raise RequestError(f"{model}: found a bundle that needs no import; use it as it is")
    return MonaiModel(files, choices.region_order).read()
