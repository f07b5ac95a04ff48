"""What every importer returns, and what they share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from SFDALib import json_file
from SFDALib.bundle.description import Description, Label, from_json, to_json
from SFDALib.bundle.files import WEIGHTS_LIMIT
from SFDALib.bundle.source import Weights, load_weights
from SFDALib.errors import RequestError
from SFDALib.networks import catalogue

COLOURS = (
    *((128, 174, 128), (241, 214, 145), (177, 122, 101), (111, 184, 210), (216, 101, 79)),
    *((221, 130, 101), (144, 238, 144), (192, 104, 88), (220, 245, 20), (78, 63, 0)),
    *((255, 250, 220), (230, 220, 70), (200, 200, 235), (250, 250, 210), (244, 214, 49)),
)


@dataclass(frozen=True)
class Imported:
    """A model as a bundle has it; the arguments of ``bundle.source.write``."""

    description: Description
    weights: Weights
    documents: Mapping[str, str] = field(default_factory=dict)


def labels(names: Iterable[str]) -> tuple[Label, ...]:
    """Labels 1, 2, 3, ... of these names, each with a colour of its own."""
    return tuple(
        Label(value, name, COLOURS[(value - 1) % len(COLOURS)])
        for value, name in enumerate(names, start=1)
    )


def assembled(
    description: Description, sets: Sequence[Weights], where: Sequence[str], source: str
) -> Imported:
    """Check the description as that of any bundle, and that each set of weights fits its network.

    Args:
        sets: of weights; several are an ensemble.
        where: the file of each.
        source: what is imported, for errors.

    Raises:
        RequestError: either does not hold.
    """
    try:
        description = from_json(*_through_json(to_json(description)))
    except RequestError as error:
        raise RequestError(
            f"{source}: gives no usable bundle, as {error}; is the model of another kind?"
        ) from error
    regions = "network." if description.grid.regions else ""
    weights = {}
    for index, (own, file) in enumerate(zip(sets, where, strict=True)):
        load_weights(catalogue.build(description.network, source), own, file)
        member = f"members.{index}." if len(sets) > 1 else ""
        weights.update({f"{regions}{member}{key}": value for key, value in own.items()})
    return Imported(description, weights)


def _through_json(documents: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(json.loads(json.dumps(document)) for document in documents)


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
