"""Build the networks that a description names and load their weights."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from SFDALib.bundle import assembly, bundle_files
from SFDALib.bundle.bundle_files import INFERENCE, BundleFiles
from SFDALib.bundle.description import Description
from SFDALib.bundle.importers.common import checked
from SFDALib.bundle.source import Source
from SFDALib.bundle.weights import Weights, load_weights, state_dict, unpickle
from SFDALib.networks.build import build_network, without_training_heads
from SFDALib.networks.diffusion_unet import ConditionalDiffusionUNet
from SFDALib.networks.residual_unet import EarlyHead

ENTRY_BYTES = 4096  # in a file of weights for each tensor, beside its numbers
# Prefixes that parallel, compiled and enclosing networks add to the names of weights
PREFIXES = ("module.", "_orig_mod.", "network.", "model.", "net.")


def load_bundle(
    bundle: BundleFiles, description: Description, device: torch.device, diffusion: bool
) -> Source:
    """The networks of an SFDA bundle on a device.

    Args:
        diffusion: False does not load the diffusion model.

    Raises:
        RequestError: weights are missing, damaged, or not those of the described networks.
    """
    where = f"{bundle.path}: {INFERENCE}"
    network = assembly.assemble(
        lambda: build_network(description.network, f"{where}, network_def"),
        description.ensemble,
        description.input_spec.regions,
    )
    _load_into(network, bundle, bundle_files.MODEL)
    early_head: nn.Module | None = None
    denoiser: ConditionalDiffusionUNet | None = None
    if description.early_head:
        early_head = EarlyHead(
            description.spatial_dims, description.early_head.channels, description.out_channels
        )
        _load_into(early_head, bundle, bundle_files.EARLY_HEAD)
        early_head = frozen(early_head, device)
    if description.diffusion and diffusion:
        built = build_network(description.diffusion.network, f"{where}, diffusion_def")
        _load_into(built, bundle, bundle_files.DIFFUSION)
        denoiser = cast(ConditionalDiffusionUNet, frozen(built, device))
    network = frozen(network, device)
    return Source(description, network, early_head, denoiser, device, bundle.documents())


def load_imported(
    description: Description,
    sets: Sequence[tuple[str, Weights]],
    source: str,
    device: torch.device,
    documents: Mapping[str, str] | None = None,
) -> Source:
    """The network of a model from elsewhere on a device.

    Args:
        description: is checked as that of any bundle is.
        sets: pairs of a file and its weights; several are an ensemble.
        source: what is imported, for errors.
        documents: licence and README by their names.

    Raises:
        RequestError: the description is unusable, or weights belong to another network.
    """
    description = checked(description, source)
    members = []
    for file, weights in sets:
        member = build_network(description.network, source)
        weights = _without_prefixes(weights, member.state_dict())
        needed = without_training_heads(weights, member, description.network)
        load_weights(member, needed, file)
        members.append(member)
    regions = description.input_spec.regions
    network = assembly.assemble(iter(members).__next__, len(members), regions)
    return Source(description, frozen(network, device), None, None, device, documents or {})


def frozen(network: nn.Module, device: torch.device) -> nn.Module:
    """The network on the device, in eval mode, its weights without gradients."""
    return network.to(device).eval().requires_grad_(False)


def _load_into(network: nn.Module, bundle: BundleFiles, name: str) -> None:
    expected = network.state_dict()
    # at most in double precision, plus names and torch's records of each tensor
    numbers = sum(value.numel() for value in expected.values())
    limit = 8 * numbers + ENTRY_BYTES * (100 + len(expected))
    load_weights(network, _read_weights(bundle, name, limit), f"{bundle.path}: {name}")


def _read_weights(bundle: BundleFiles, name: str, limit: int) -> dict[str, Tensor]:
    with bundle.open(name, min(limit, bundle_files.WEIGHTS_LIMIT)) as stream:
        content = unpickle(stream.read(), f"{bundle.path}: {name}")
    return state_dict(content, f"{bundle.path}: {name}")


def _without_prefixes(weights: Weights, expected: Container[str]) -> Weights:
    """The weights without prefixes that parallel, compiled or enclosing networks add."""
    while not any(key in expected for key in weights):
        prefix = next((p for p in PREFIXES if all(key.startswith(p) for key in weights)), None)
        if prefix is None or not weights:
            break
        weights = {key.removeprefix(prefix): value for key, value in weights.items()}
    return weights
