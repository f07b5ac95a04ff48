"""Write a model that was trained elsewhere as a bundle, or a bundle with sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from SFDALib.bundle import source
from SFDALib.bundle.importers import med_ddpm
from SFDALib.bundle.open_model import open_model, recognised
from SFDALib.bundle.sfda_bundle import SfdaBundle
from SFDALib.bundle.source_model import Candidate, ImportOptions
from SFDALib.errors import RequestError
from SFDALib.progress import Progress, silent
from SFDALib.results.folder import ResultFolder
from SFDALib.training.label_maps import LabelFolder, with_sizes


def import_model(
    model: Path,
    output: Path,
    options: ImportOptions | None = None,
    labels: LabelFolder | None = None,
    progress: Progress = silent,
) -> tuple[str, ...]:
    """Write the model as a bundle; whole or not at all.

    Args:
        model: its file or folder.
        output: the bundle folder; must not exist.
        options: what the model's files do not tell.
        labels: label maps on which the sizes of its structures are measured.
        progress: informed of every label map that is read.

    Returns:
        Notes on what the label maps lack.

    Raises:
        RequestError: there is no model that can be imported, the output exists, or the label maps
            are unusable.
    """
    if output.exists():
        raise RequestError(
            f"{output}: exists already, expected a new name; choose another or remove it"
        )
    if not model.exists():
        raise RequestError(f"{model}: no such model, expected a file or folder; check the path")
    candidate = Candidate(model, options or ImportOptions())
    found = recognised(candidate)
    if found is None and labels is None:
        raise RequestError(
            f"{model}: found a bundle that needs no import, expected another kind of model; use it"
            " as it is, or give --labels to measure the sizes of its structures"
        )
    imported = (found or SfdaBundle(candidate.files)).load(torch.device("cpu"))
    described, notes = (
        (imported.description, ())
        if labels is None
        else with_sizes(imported.description, labels, progress)
    )
    with ResultFolder(output) as folder:
        source.write(
            folder,
            described,
            imported.network.state_dict(),
            early_head=source.state(imported.early_head),
            diffusion=source.state(imported.diffusion),
            documents=imported.documents,
        )
    return notes


def import_diffusion(
    weights: Path, preset: str, bundle: Path, relabel: Sequence[tuple[int, int]], output: Path
) -> None:
    """Write a bundle with Med-DDPM's published weights as its diffusion model.

    Args:
        preset: which of the published networks, see ``MED_DDPM_PRESETS``.
        bundle: the bundle to copy; it is not changed.
        relabel: see ``med_ddpm.read``.

    Raises:
        RequestError: the weights are of another network, or the bundle is not what they are for.
    """
    if output.exists():
        raise RequestError(
            f"{output}: exists already, expected a new name; choose another or remove it"
        )
    if not weights.exists():
        raise RequestError(f"{weights}: no such file, expected weights; check the path")
    model = open_model(bundle).load(torch.device("cpu"), diffusion=False)
    described, converted = med_ddpm.read(weights, preset, model.description, relabel)
    origin = {"diffusion": {"from": "Med-DDPM", "network": preset, "file": weights.name}}
    provenance = {**model.description.provenance, **origin}
    description = replace(model.description, diffusion=described, provenance=provenance)
    with ResultFolder(output) as folder:
        source.write(
            folder,
            description,
            model.network.state_dict(),
            early_head=source.state(model.early_head),
            diffusion=converted,
            documents=model.documents,
        )
