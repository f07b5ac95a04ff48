"""Bring a model from elsewhere: recognise what it is, import it, write a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from SFDALib.bundle import source
from SFDALib.bundle.importers import monai_bundle, nnunet, plain
from SFDALib.bundle.importers.imported import Imported
from SFDALib.errors import RequestError
from SFDALib.results.folder import ResultFolder


@dataclass(frozen=True)
class Choices:
    """What a model does not say of itself.

    Args:
        configuration, folds: which of nnU-Net's.
        region_order: of a MONAI bundle with overlapping regions, as they are painted.
        description: of a state dict, the JSON file about its model.
    """

    configuration: str | None = None
    folds: str = "all"
    region_order: tuple[str, ...] = ()
    description: Path | None = None


def import_model(model: Path, output: Path, choices: Choices | None = None) -> None:
    """Write the model as a bundle; whole or not at all.

    Raises:
        RequestError: nothing that can be imported, and why.
    """
    if output.exists():
        raise RequestError(f"{output}: exists already; choose another name or remove it")
    imported = _read(model, choices or Choices())
    with ResultFolder(output) as folder:
        source.write(folder, imported.description, imported.weights, documents=imported.documents)


def _read(model: Path, choices: Choices) -> Imported:
    if not model.exists():
        raise RequestError(f"{model}: no such model; check the path")
    if model.is_file():
        if choices.description is None:
            raise RequestError(
                f"{model}: found a file without a description of its model, expected --describe"
                " with a JSON file; import-model --template writes one to fill in"
            )
        return plain.read(model, choices.description)
    if nnunet.is_model(model):
        return nnunet.read(model, choices.configuration, choices.folds)
    if monai_bundle.is_bundle(model):
        return monai_bundle.read(model, choices.region_order)
    raise RequestError(
        f"{model}: found no model that can be imported, expected a folder of nnU-Net v2 (with"
        " plans.json and fold_0) or of a MONAI bundle (with configs/metadata.json), or a state dict"
    )
