"""A state dict with a description that a person wrote.

Standard library alone; torch where the weights are loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from SFDALib.bundle.configuration import describe
from SFDALib.bundle.description import Description
from SFDALib.bundle.importers.common import checked, read_bytes
from SFDALib.bundle.source_model import Candidate
from SFDALib.errors import RequestError
from SFDALib.hashing import opener, sha256_of_named
from SFDALib.json_file import read_object
from SFDALib.networks import catalogue

if TYPE_CHECKING:
    import torch

    from SFDALib.bundle.source import Source


@dataclass(frozen=True)
class PlainWeights:
    """A ``SourceModel`` from ``network.state_dict()`` and a description.

    Args:
        path: the state dict, also inside a training's checkpoint of plain data.
        description: a JSON file with the fields of ``configuration.TEMPLATE``.
    """

    path: Path
    description: Path

    def describe(self) -> Description:
        """See ``SourceModel.describe``."""
        return checked(self._described, str(self.description))

    @cached_property
    def _described(self) -> Description:
        config = read_object(self.description)
        try:
            described = describe(config)
        except RequestError as error:
            raise RequestError(f"{self.description}: {error}") from error
        provenance = {"import": {"from": "state dict", "file": self.path.name}}
        network = catalogue.with_one_output(described.network)
        return replace(described, network=network, provenance=provenance)

    def require_weights(self) -> None:
        """See ``SourceModel.require_weights``."""
        if not self.path.is_file():
            raise RequestError(f"{self.path}: found no file, expected weights; check the path")

    def sha256(self) -> str:
        """See ``SourceModel.sha256``."""
        files = (self.description, self.path)
        named = [(file.name, opener(file)) for file in files]
        return sha256_of_named(named, str(self.path.parent))

    def load(self, device: torch.device, diffusion: bool = True) -> Source:
        """See ``SourceModel.load``."""
        # these need torch, which describing does not
        from SFDALib.bundle.loading import load_imported  # noqa: PLC0415
        from SFDALib.bundle.weights import network_weights, unpickle  # noqa: PLC0415

        described, file = self._described, str(self.path)
        weights = network_weights(unpickle(read_bytes(self.path), file), file)
        return load_imported(described, [(file, weights)], str(self.description), device)


def recognise(candidate: Candidate) -> PlainWeights | None:
    """The model, if the user gives a description of it."""
    description = candidate.options.description
    return None if description is None else PlainWeights(candidate.path, description)
