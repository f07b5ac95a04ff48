"""Bring a model from elsewhere: recognise what it is, import it, write a bundle."""

from __future__ import annotations

from pathlib import Path

from SFDALib.bundle import source
from SFDALib.bundle.importers import nnunet
from SFDALib.bundle.importers.imported import Imported
from SFDALib.errors import RequestError
from SFDALib.results.folder import ResultFolder


def import_model(model: Path, output: Path, configuration: str | None, folds: str) -> None:
    """Write the model as a bundle; whole or not at all.

    Args:
        model: nnU-Net's model folder.
        configuration, folds: which of nnU-Net's.

    Raises:
        RequestError: nothing that can be imported, and why.
    """
    if output.exists():
        raise RequestError(f"{output}: exists already; choose another name or remove it")
    imported = _read(model, configuration, folds)
    with ResultFolder(output) as folder:
        source.write(folder, imported.description, imported.weights, documents=imported.documents)


def _read(model: Path, configuration: str | None, folds: str) -> Imported:
    if not model.exists():
        raise RequestError(f"{model}: no such model; check the path")
    if model.is_dir() and nnunet.is_model(model):
        return nnunet.read(model, configuration, folds)
    raise RequestError(
        f"{model}: found no model that can be imported, expected a folder of nnU-Net v2 (with"
        " plans.json and fold_0)"
    )
