"""Import a state dict with a description that a person wrote."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from SFDALib.bundle.configuration import describe, read_config
from SFDALib.bundle.importers.imported import Imported, joined, network_weights, read_bytes
from SFDALib.bundle.weights import unpickle
from SFDALib.errors import RequestError
from SFDALib.networks import catalogue


def read(weights: Path, description: Path) -> Imported:
    """Read ``network.state_dict()``, also inside a training's checkpoint of plain data.

    Raises:
        RequestError: either file is unusable, or they do not belong together.
    """
    config = read_config(description)
    try:
        described = describe(config)
    except RequestError as error:
        raise RequestError(f"{description}: {error}") from error
    content = unpickle(read_bytes(weights), str(weights))
    tensors = network_weights(content, str(weights))
    provenance = {"import": {"from": "state dict", "file": weights.name}}
    network = catalogue.with_one_output(described.network)
    described = replace(described, network=network, provenance=provenance)
    return joined(described, [tensors], [str(weights)], str(description))
