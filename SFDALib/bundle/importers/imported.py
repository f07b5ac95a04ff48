"""What every importer returns, and what they share. Torch is needed where weights are read."""

from __future__ import annotations

import json
import os
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from SFDALib import json_file
from SFDALib.bundle.description import Description, Label, from_json, to_json
from SFDALib.bundle.files import WEIGHTS_LIMIT
from SFDALib.errors import RequestError
from SFDALib.networks import catalogue

if TYPE_CHECKING:
    from torch import nn

    from SFDALib.bundle.weights import Weights

COLOURS = (
    *((128, 174, 128), (241, 214, 145), (177, 122, 101), (111, 184, 210), (216, 101, 79)),
    *((221, 130, 101), (144, 238, 144), (192, 104, 88), (220, 245, 20), (78, 63, 0)),
    *((255, 250, 220), (230, 220, 70), (200, 200, 235), (250, 250, 210), (244, 214, 49)),
)
# Keys under which trainings keep a network's weights, and what parallel and compiled networks, and
# those inside another one, have before the names
WRAPPERS = (
    *("state_dict", "model_state_dict", "model", "network", "net", "network_weights"),
    *("network_state_dict", "weights"),
)
PREFIXES = ("module.", "_orig_mod.", "network.", "model.", "net.")


class ForeignModel(Protocol):
    """A model from elsewhere on the disk that says all of itself, as a bundle does."""

    path: Path

    def describe(self) -> Description:
        """What the model is, checked, without its weights."""

    def require_weights(self, about: Description) -> None:
        """
        Raises:
            RequestError: weights are not there.
        """

    def sha256(self) -> str:
        """One digest over everything that decides the results."""

    def read(self) -> Imported:
        """The model with its weights."""


@dataclass(frozen=True)
class Imported:
    """A model as a bundle has it: its description, its network with weights, texts for people."""

    description: Description
    network: nn.Module
    documents: Mapping[str, str] = field(default_factory=dict)


def labels(names: Iterable[str]) -> tuple[Label, ...]:
    """Labels 1, 2, 3, ... of these names, each with a colour of its own."""
    return tuple(
        Label(value, name, COLOURS[(value - 1) % len(COLOURS)])
        for value, name in enumerate(names, start=1)
    )


def checked(description: Description, source: str) -> Description:
    """The description, held against what that of any bundle must be.

    Args:
        source: what is imported, for errors.

    Raises:
        RequestError: it is not so.
    """
    if not description.labels:
        raise RequestError(f"{source}: found no label, expected at least one beside background")
    try:
        return from_json(*(json.loads(json.dumps(part)) for part in to_json(description)))
    except RequestError as error:
        raise RequestError(
            f"{source}: gives no usable bundle, as {error}; is the model of another kind?"
        ) from error


def joined(
    description: Description,
    sets: Sequence[Weights],
    where: Sequence[str],
    source: str,
    documents: Mapping[str, str] | None = None,
) -> Imported:
    """The description, checked, and the network with its weights, which must fit.

    Args:
        sets: of weights; several are an ensemble.
        where: the file of each.
        source: what is imported, for errors.

    Raises:
        RequestError: the description is unusable, or weights belong to another network.
    """
    from SFDALib.bundle.assembly import assemble
    from SFDALib.bundle.weights import load_weights

    description = checked(description, source)
    members = []
    for weights, file in zip(sets, where, strict=True):
        member = catalogue.build(description.network, source)
        weights = _fitting(weights, member.state_dict())
        needed = catalogue.without_training_heads(weights, member, description.network)
        load_weights(member, needed, file)
        members.append(member)
    network = assemble(iter(members).__next__, len(members), description.input_spec.regions)
    return Imported(description, network, documents or {})


def network_weights(content: object, where: str) -> Weights:
    """The weights in what a training saved: a state dict, perhaps under a key.

    Raises:
        RequestError: there is none.
    """
    from SFDALib.bundle.weights import state_dict

    for key in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    return state_dict(content, where)


def _fitting(weights: Weights, expected: Container[str]) -> Weights:
    """The weights without what a parallel, compiled or outer network put before all their names."""
    while not any(key in expected for key in weights):
        prefix = next((p for p in PREFIXES if all(key.startswith(p) for key in weights)), None)
        if prefix is None or not weights:
            break
        weights = {key.removeprefix(prefix): value for key, value in weights.items()}
    return weights


def last_name(path: Path) -> str:
    """The name of a folder or file, also where the path ends with a dot."""
    return os.path.basename(os.path.abspath(path))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file with an object.

    Raises:
        RequestError: there is none.
    """
    values = json_file.read(path)
    if not isinstance(values, dict):
        raise RequestError(f"{path}: found {type(values).__name__}, expected an object; correct it")
    return values


def read_bytes(path: Path, limit: int = WEIGHTS_LIMIT) -> bytes:
    """A file's content.

    Raises:
        RequestError: there is no such file, or it is larger than ``limit`` bytes.
    """
    try:
        if path.stat().st_size > limit:
            raise RequestError(
                f"{path}: found {path.stat().st_size} bytes, expected at most {limit}"
            )
        return path.read_bytes()
    except OSError as error:
        raise RequestError(f"{path}: cannot be read ({error.strerror}); check the path") from error
