"""What every kind of source model on disk offers. Standard library alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from SFDALib.bundle.bundle_files import BundleFiles
from SFDALib.bundle.description import Description

if TYPE_CHECKING:
    import torch

    from SFDALib.bundle.source import Source


class SourceModel(Protocol):
    """A source model on disk: a bundle of ours, or a model that an importer reads.

    ``describe`` and ``require_weights`` need the standard library alone, ``load`` needs torch. Each
    description file is read once, at the first call that needs it.
    """

    @property
    def path(self) -> Path:
        """The file or folder of the model."""

    def describe(self) -> Description:
        """The checked description of the model, without its weights.

        Raises:
            RequestError: a file is missing, or its content is not usable.
        """

    def require_weights(self) -> None:
        """Check that the files of weights exist.

        Raises:
            RequestError: one is missing.
        """

    def sha256(self) -> str:
        """One SHA-256 over every file that decides the results, read again at each call.

        Raises:
            RequestError: a file is missing, or has changed since it was read.
        """

    def load(self, device: torch.device, diffusion: bool = True) -> Source:
        """The model in memory.

        Args:
            device: where its networks are put.
            diffusion: False does not load the diffusion model.

        Raises:
            RequestError: weights are missing, damaged or of another network.
        """


@dataclass(frozen=True)
class ImportOptions:
    """What the files of a model do not tell.

    Args:
        configuration: of nnU-Net, such as "3d_fullres".
        folds: of nnU-Net, "all" or numbers such as "0,1".
        trust_trainer: of nnU-Net, import models of trainers that are not known.
        region_order: of a MONAI bundle with overlapping regions, the order in which they are
            painted, the outermost first.
        description: of a state dict, the JSON file that describes its model.
    """

    configuration: str | None = None
    folds: str = "all"
    region_order: tuple[str, ...] = ()
    description: Path | None = None
    trust_trainer: bool = False


@dataclass(frozen=True)
class Candidate:
    """A path that may hold a source model, with what the user says of it."""

    path: Path
    options: ImportOptions = ImportOptions()

    @cached_property
    def files(self) -> BundleFiles:
        """The files of a bundle, opened once for all importers that look into them.

        Raises:
            RequestError: it is no bundle.
        """
        return BundleFiles(self.path)
