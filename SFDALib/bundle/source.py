"""The networks of a bundle with their weights: loading them safely, and writing a bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from SFDALib.bundle import assembly, files
from SFDALib.bundle import description as about
from SFDALib.bundle.description import Description
from SFDALib.bundle.files import BundleFiles
from SFDALib.bundle.open_model import open_model
from SFDALib.bundle.weights import Weights, load_weights, state_dict, unpickle
from SFDALib.networks import catalogue
from SFDALib.networks.residual_unet import EarlyHead


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
            for stage in catalogue.encoder(part, self.description.network)
        )

    def early_stages(self, network: nn.Module, level: int) -> tuple[nn.Module, ...]:
        """The submodules of ``network`` (this one or a copy of it) up to its early features."""
        return catalogue.early_stages(assembly.single(network), self.description.network, level)


ENTRY_BYTES = 4096  # that a file of weights has for each tensor beside its numbers


def load(path: Path, device: torch.device, diffusion: bool = True) -> Source:
    """Read a source model with all its weights; ``diffusion`` False leaves that model on the disk.

    Raises:
        RequestError: anything that is not as the description says.
    """
    model = open_model(path)
    if isinstance(model, BundleFiles):
        return _of_bundle(model, device, diffusion)
    imported = model.read()
    network = _frozen(imported.network, device)
    return Source(imported.description, network, None, None, device, imported.documents)


def _of_bundle(bundle: BundleFiles, device: torch.device, diffusion: bool) -> Source:
    description, path = bundle.describe(), bundle.path
    network = assembly.assemble(
        lambda: catalogue.build(description.network, f"{path}: {about.INFERENCE}, network_def"),
        description.ensemble,
        description.input_spec.regions,
    )
    _load_into(network, bundle, files.MODEL)
    early_head = denoiser = None
    if description.early_head:
        early_head = EarlyHead(
            description.spatial_dims, description.early_head.channels, description.out_channels
        )
        _load_into(early_head, bundle, files.EARLY_HEAD)
    if description.diffusion and diffusion:
        denoiser = catalogue.build(
            description.diffusion.network, f"{path}: {about.INFERENCE}, diffusion_def"
        )
        _load_into(denoiser, bundle, files.DIFFUSION)
    return Source(
        description,
        *(_frozen(n, device) for n in (network, early_head, denoiser)),
        device,
        bundle.documents(),
    )


def _frozen(network: nn.Module | None, device: torch.device) -> nn.Module | None:
    return None if network is None else network.to(device).eval().requires_grad_(False)


def _load_into(network: nn.Module, bundle: BundleFiles, name: str) -> None:
    expected = network.state_dict()
    # in double precision at most, with their names and what torch notes of each
    numbers = sum(value.numel() for value in expected.values())
    limit = 8 * numbers + ENTRY_BYTES * (100 + len(expected))
    load_weights(network, _read_weights(bundle, name, limit), f"{bundle.path}: {name}")


def _read_weights(bundle: BundleFiles, name: str, limit: int) -> dict[str, Tensor]:
    with bundle.open(name, min(limit, files.WEIGHTS_LIMIT)) as stream:
        content = unpickle(stream.read(), f"{bundle.path}: {name}")
    return state_dict(content, f"{bundle.path}: {name}")


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
    metadata, inference = about.to_json(description)
    metadata |= _versions()
    for name, content in ((about.METADATA, metadata), (about.INFERENCE, inference)):
        (path / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    for name, weights in (
        (files.MODEL, network),
        (files.EARLY_HEAD, early_head),
        (files.DIFFUSION, diffusion),
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
