"""A source model in memory, and writing it to disk as a bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from SFDALib.bundle import assembly
from SFDALib.bundle.bundle_files import DIFFUSION, EARLY_HEAD, INFERENCE, METADATA, MODEL
from SFDALib.bundle.description import Description, lacking
from SFDALib.bundle.metadata import to_json
from SFDALib.bundle.weights import Weights
from SFDALib.methods import needs
from SFDALib.networks import catalogue
from SFDALib.networks.build import early_stages, encoder

if TYPE_CHECKING:
    from SFDALib.networks.diffusion_unet import ConditionalDiffusionUNet


@dataclass(frozen=True)
class Source:
    """A source model in memory, on one device, its networks in eval mode and without gradients.

    Args:
        description: what the model is.
        network: images ``(N, C, [k,] j, i)`` to logits ``(N, 1 or K, [k,] j, i)``; an ensemble and
            overlapping regions are already put together to class logits.
        early_head: early features to logits; None where the model has none.
        diffusion: the noise in an image; None where the model has none or it was not loaded.
        device: where the networks are.
        documents: licence and README, by their names in a bundle.
    """

    description: Description
    network: nn.Module
    early_head: nn.Module | None
    diffusion: ConditionalDiffusionUNet | None
    device: torch.device
    documents: Mapping[str, str]

    @property
    def divisor(self) -> tuple[int, ...]:
        """For each axis the number that the side of the network's input must be a multiple of."""
        return catalogue.divisor(self.description.network)

    def require_early_head(self) -> nn.Module:
        """The early head.

        Raises:
            RequestError: the model has none.
        """
        if self.early_head is None:
            raise lacking(self.description.name, needs.EARLY_HEAD)
        return self.early_head

    def require_diffusion(self) -> ConditionalDiffusionUNet:
        """The diffusion network.

        Raises:
            RequestError: the model has none, or it was not loaded.
        """
        if self.diffusion is None:
            raise lacking(self.description.name, needs.DIFFUSION)
        return self.diffusion

    def encoder(self, network: nn.Module) -> tuple[nn.Module, ...]:
        """The submodules of the contracting path of ``network``; empty where it is not known."""
        return tuple(
            stage
            for part in assembly.parts(network)
            for stage in encoder(part, self.description.network)
        )

    def early_stages(self, network: nn.Module, level: int) -> tuple[nn.Module, ...]:
        """The submodules of ``network`` (this one or a copy of it) up to its early features.

        Raises:
            RequestError: the network has no such stages, or is an ensemble.
        """
        return early_stages(assembly.single(network), self.description.network, level)


def write(
    path: Path,
    description: Description,
    network: Weights,
    early_head: Weights | None = None,
    diffusion: Weights | None = None,
    documents: Mapping[str, str] | None = None,
) -> None:
    """Write a complete bundle folder.

    A caller that wants it whole or not at all writes to a temporary folder and renames that.

    Args:
        path: the folder; its files must not exist.
        network, early_head, diffusion: weights; None for a model without them.
        documents: licence and README by their names; defaults where they are missing.
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
            with open(path / name, "wb") as stream:  # an OSError with its reason, unlike torch's
                torch.save({key: value.detach().cpu() for key, value in weights.items()}, stream)
    for name, text in {**_default_documents(description), **(documents or {})}.items():
        (path / name).write_text(text, encoding="utf-8")


def _versions() -> dict[str, object]:
    """The versions of the packages that write the bundle, in MONAI's fields."""
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
    """The weights of a network; None for none."""
    return None if network is None else network.state_dict()
