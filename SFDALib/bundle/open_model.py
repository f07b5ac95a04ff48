"""The door through which every source model comes: a bundle of ours, or a model from elsewhere that
says all of itself. Standard library alone.
"""

from __future__ import annotations

from pathlib import Path

from SFDALib.bundle.files import BundleFiles
from SFDALib.bundle.importers.imported import ForeignModel
from SFDALib.bundle.importers.monai_bundle import MonaiModel
from SFDALib.bundle.importers.nnunet import NnUNetModel


def open_model(path: Path) -> BundleFiles | ForeignModel:
    """What is at this path: a bundle, or a model that is read as ``import-model`` reads it.

    Raises:
        RequestError: there is neither.
    """
    path = Path(path)
    if NnUNetModel.is_at(path):
        return NnUNetModel(path)
    files = BundleFiles(path)
    return MonaiModel(files) if MonaiModel.is_in(files) else files
