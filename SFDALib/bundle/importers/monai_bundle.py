"""A published MONAI bundle: its network and preprocessing, read as data.

``@name`` is looked up in the configuration itself, and a few expressions (``$``) of such names are
put together; nothing is evaluated. Whatever else decides the network, the preprocessing or the
labels is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SFDALib import yaml_file
from SFDALib.bundle.bundle_files import METADATA, MODEL, BundleFiles
from SFDALib.bundle.description import Description
from SFDALib.bundle.importers.common import checked, labels, last_name
from SFDALib.bundle.importers.monai_configuration import Configuration
from SFDALib.bundle.importers.monai_inferer import read_inferer
from SFDALib.bundle.importers.monai_network import network
from SFDALib.bundle.importers.monai_outputs import Structures, structures
from SFDALib.bundle.importers.monai_postprocessing import outputs
from SFDALib.bundle.importers.monai_transforms import Preprocessing, image_key
from SFDALib.bundle.source_model import Candidate
from SFDALib.errors import RequestError
from SFDALib.json_file import as_object

if TYPE_CHECKING:
    import torch

    from SFDALib.bundle.source import Source

CONFIGURATIONS = tuple(
    f"configs/{name}.{ending}"
    for name in ("inference", "evaluate", "train")
    for ending in ("json", "yaml", "yml")
)
UNREADABLE = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError)
LOADED = re.compile(r".*?(models/[\w.-]+\.(?:pt|pth))")  # by a handler of the configuration


@dataclass(frozen=True)
class MonaiModel:
    """A published bundle, a folder or a .zip.

    Args:
        files: of the bundle.
        region_order: of a model with overlapping regions, their names as in its metadata in the
            order in which they are painted, the outermost first.
    """

    files: BundleFiles
    region_order: Sequence[str] = ()

    @property
    def path(self) -> Path:
        """The folder or .zip."""
        return self.files.path

    def describe(self) -> Description:
        """See ``SourceModel.describe``; unknown settings that change the result are refused."""
        return checked(self._described, str(self.path))

    def require_weights(self) -> None:
        """See ``SourceModel.require_weights``."""
        if not self.files.has(self._weights):
            raise RequestError(
                f"{self.path}: found no {self._weights}, expected the weights of the model (models"
                " as TorchScript, .ts, hold code and are not read); copy the bundle again"
            )

    def sha256(self) -> str:
        """See ``SourceModel.sha256``."""
        return self.files.sha256((METADATA, self._file, self._weights, *self._architecture))

    def load(self, device: torch.device, diffusion: bool = True) -> Source:
        """See ``SourceModel.load``."""
        # these need torch, which describing does not
        from SFDALib.bundle.importers.monai_weights import read_weights  # noqa: PLC0415
        from SFDALib.bundle.loading import load_imported  # noqa: PLC0415

        described, weights = read_weights(
            self.files, self._described, self._weights, self._architecture
        )
        sets = [(f"{self.path}: {self._weights}", weights)]
        return load_imported(described, sets, str(self.path), device, self.files.documents())

    @cached_property
    def _file(self) -> str:
        """The configuration that says how the network is used."""
        file = next((name for name in CONFIGURATIONS if self.files.has(name)), None)
        if file is None:
            raise RequestError(
                f"{self.path}: found none of {', '.join(CONFIGURATIONS)}, expected one"
            )
        return file

    @cached_property
    def _config(self) -> Configuration:
        where = f"{self.path}: {self._file}"
        if self._file.endswith(".json"):
            return Configuration(as_object(self.files.json(self._file), where), where)
        with self.files.open(self._file, yaml_file.LIMIT) as stream:
            content = yaml_file.parse(stream.read(yaml_file.LIMIT + 1), where)
        return Configuration(as_object(content, where), where)

    @cached_property
    def _weights(self) -> str:
        """The file of the weights: MONAI's usual one, or that which the configuration loads."""
        if self.files.has(MODEL):
            return MODEL
        named = (name for name in self._loaded(self._config.values))
        return next((name for name in named if name not in self._architecture), MODEL)

    @cached_property
    def _architecture(self) -> tuple[str, ...]:
        """The file that a network of searched architecture has it in."""
        return network(self._config).files

    def _loaded(self, value: Any) -> list[str]:
        """Files of weights of the bundle that its configuration names, and that are there."""
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list):
            return [name for item in value for name in self._loaded(item)]
        match = LOADED.match(value) if isinstance(value, str) else None
        return [match[1]] if match and self.files.has(match[1]) else []

    @cached_property
    def _described(self) -> Description:
        try:
            return self._read_description()
        except UNREADABLE as error:
            raise RequestError(
                f"{self.path}: found a configuration that cannot be read ({error!r:.100}), expected"
                " that of a MONAI bundle for segmentation; copy it again"
            ) from error

    def _read_description(self) -> Description:
        metadata = as_object(self.files.json(METADATA), f"{self.path}: {METADATA}")
        config, where = self._config, f"{self.path}: {METADATA}"
        definition = network(config).definition
        found = outputs(config, definition["out_channels"])
        named: Structures = structures(
            metadata, definition["out_channels"], found, self.region_order, where
        )
        inferer = read_inferer(config, metadata, definition)
        key = image_key(config, named.inputs)
        prepared = Preprocessing(config, key, definition["in_channels"], inferer.slices)
        model, version = last_name(self.path), str(metadata.get("version", "unknown"))
        return Description(
            name=str(metadata.get("name", model)),
            modality=named.modality,
            network=definition,
            input_spec=prepared.input_spec(
                named.regions, found.threshold, found.cleaning, found.maps
            ),
            patch_size=inferer.patch_size,
            labels=labels(named.names),
            windows=inferer.windows,
            sliding=inferer.sliding,
            provenance={"import": {"from": "MONAI bundle", "model": model, "version": version}},
            licence=_first_line(str(metadata.get("copyright", "")), "see LICENSE"),
        )


def recognise(candidate: Candidate) -> MonaiModel | None:
    """The model, if it is a bundle whose metadata have no description for SFDALib.

    Raises:
        RequestError: it is no bundle.
    """
    metadata = candidate.files.json(METADATA)
    if isinstance(metadata, dict) and "sfda" not in metadata:
        return MonaiModel(candidate.files, candidate.options.region_order)
    return None


def _first_line(text: str, otherwise: str) -> str:
    return next(iter(text.splitlines()), otherwise)
