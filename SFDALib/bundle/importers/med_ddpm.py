"""The published weights of Med-DDPM (Dorjsembe et al., IEEE JBHI 2024) for a bundle.

They were trained on images of 1 mm, scaled to [-1, 1] by their least and largest value, with the
axes of the public images; a bundle that uses them brings its images to that grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from SFDALib.bundle.description import Description, DiffusionDescription
from SFDALib.bundle.importers.common import read_bytes
from SFDALib.bundle.importers.guided_diffusion import weights_from_guided_diffusion
from SFDALib.bundle.weights import Weights, load_weights, state_dict, unpickle
from SFDALib.errors import RequestError
from SFDALib.networks.diffusion_unet import ConditionalDiffusionUNet
from SFDALib.networks.med_ddpm import MED_DDPM_PRESETS

TARGET = "SFDALib.networks.diffusion_unet.ConditionalDiffusionUNet"
TIMESTEPS = 250
FOREGROUND_FIRST = ("med-ddpm-128",)  # whose first condition channel is the head
CHECKPOINT = ("ema", "model")  # of a training; samples are drawn with the average


def read(
    weights: Path, preset: str, description: Description, relabel: Sequence[tuple[int, int]] = ()
) -> tuple[DiffusionDescription, Weights]:
    """The description and the weights of a bundle's diffusion network.

    Args:
        preset: a name in ``MED_DDPM_PRESETS``.
        description: of the bundle that it is for.
        relabel: pairs of a label of Med-DDPM (BraTS: 1 necrosis, 2 edema, 3 enhancing) and the
            bundle's of the same meaning; others mean the same in both.

    Raises:
        RequestError: the weights are of another network, or the bundle has other channels or
            labels than they want.
    """
    arguments = MED_DDPM_PRESETS[preset]
    structures = arguments["condition_channels"] - 1
    channels = arguments["image_channels"]
    if (description.input_spec.channels, len(description.labels)) != (channels, structures):
        raise RequestError(
            f"{preset}: found a bundle of {description.input_spec.channels} image channel(s) and"
            f" {len(description.labels)} structure(s), expected {channels} and {structures}; choose"
            " the weights that belong to it, or train a diffusion model for it"
        )
    if description.spatial_dims != 3:
        raise RequestError(f"{preset}: found a 2D bundle, expected a 3D one")
    definition = {"_target_": TARGET, **arguments}
    network = ConditionalDiffusionUNet(**arguments)
    content = unpickle(read_bytes(weights), str(weights))
    for key in CHECKPOINT:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    original = weights_from_guided_diffusion(state_dict(content, str(weights)), network)
    order = condition_order(structures, relabel, preset in FOREGROUND_FIRST)
    converted = _reordered(original, channels, order)
    load_weights(network, converted, str(weights))
    described = DiffusionDescription(
        network=definition,
        spacing=(1.0, 1.0, 1.0),
        timesteps=TIMESTEPS,
        foreground=True,
        source_only=False,  # BraTS: of all four modalities
    )
    return described, converted


def condition_order(
    structures: int, relabel: Sequence[tuple[int, int]], foreground_first: bool
) -> list[int]:
    """For each condition channel of the bundle, its structures and then the foreground, that of
    Med-DDPM.
    """
    theirs = {ours: label for label, ours in relabel}
    labels = [theirs.get(label, label) for label in range(1, structures + 1)]
    if sorted(labels) != list(range(1, structures + 1)):
        raise RequestError(
            f"--relabel: found labels {labels} of Med-DDPM for the bundle's, expected each of 1 to"
            f" {structures} once, such as 1=2,2=1"
        )
    first = int(foreground_first)
    foreground = 0 if foreground_first else structures
    return [*(label - 1 + first for label in labels), foreground]


def _reordered(weights: Weights, images: int, order: Sequence[int]) -> Mapping[str, torch.Tensor]:
    """The weights with the condition channels, which follow those of the image, in this order."""
    first = weights["conv_in.conv.weight"]
    channels = [*range(images), *(images + channel for channel in order)]
    return {**weights, "conv_in.conv.weight": first[:, channels]}
