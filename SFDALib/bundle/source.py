"""A source model in memory, and writing it to disk as a bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from SFDALib.bundle import assembly
from SFDALib.bundle.bundle_files import DIFFUSION, EARLY_HEAD, MODEL
from SFDALib.bundle.description import INFERENCE, METADATA, Description, to_json
from SFDALib.bundle.weights import Weights
from SFDALib.networks import catalogue
from SFDALib.networks.build import early_stages, encoder


@dataclass(frozen=True)
class Source:
    """A source model in memory, on one device, in eval mode and without gradients."""

    description: Description
    network: nn.Module
    early_head: nn.Module | None
    diffusion: nn.Module | None
    device: torch.device
    documents: Mapping[str, str]

    @property
    def divisor(self) -> tuple[int, ...]:
        return catalogue.divisor(self.description.network)

    def encoder(self, network: nn.Module) -> tuple[nn.Module, ...]:
        """The submodules of the contracting path of ``network``; none where it is not known."""
        return tuple(
            stage
            for part in assembly.parts(network)
            for stage in encoder(part, self.description.network)
        )

    def early_stages(self, network: nn.Module, level: int) -> tuple[nn.Module, ...]:
        """The submodules of ``network`` (this one or a copy of it) up to its early features."""
        return early_stages(assembly.single(network), self.description.network, level)


def write(
    path: Path,
    description: Description,
    network: Weights,
    early_head: Weights | None = None,
    diffusion: Weights | None = None,
    documents: Mapping[str, str] | None = None,
) -> None:
    """Write a complete bundle folder; ``path`` must not exist.

    Whoever calls it writes beside the final place and renames at the end.
    """
    path = Path(path)
    for folder in ("configs", "models", "docs"):
        (path / folder).mkdir(parents=True)
    metadata, inference = to_json(description)
    metadata |= _versions()
    for name, content in ((METADATA, metadata), (INFERENCE, inference)):
        (path / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    for name, weights in (
        (MODEL, network),
        (EARLY_HEAD, early_head),
        (DIFFUSION, diffusion),
    ):
        if weights is not None:
            with open(path / name, "wb") as stream:  # which tells why it cannot be written
                torch.save({key: value.detach().cpu() for key, value in weights.items()}, stream)
    for name, text in {**_default_documents(description), **(documents or {})}.items():
        (path / name).write_text(text, encoding="utf-8")


def _versions() -> dict[str, object]:
    """What the bundle is written with, in MONAI's fields."""
    return {
        "monai_version": version("monai"),
        "pytorch_version": version("torch").split("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {"einops": version("einops")},
    }


def _default_documents(description: Description) -> dict[str, str]:
    labels = "\n".join(f"- {label.value}: {label.name}" for label in description.labels)
    return {
        "LICENSE": "The licence of these weights has not been stated by whoever trained them.\n",
        "docs/README.md": f"# {description.name}\n\nSource model for source-free domain adaptation,"
        f" trained on {description.modality}.\n\n{labels}\n\nResearch only, no medical device.\n",
    }


def half(weights: Weights) -> dict[str, Tensor]:
    """The same weights with floating-point tensors in half precision, for shipping."""
    return {key: v.half() if v.is_floating_point() else v for key, v in weights.items()}


def state(network: nn.Module | None) -> Weights | None:
    """The weights of a network that a bundle may lack."""
    return None if network is None else network.state_dict()
