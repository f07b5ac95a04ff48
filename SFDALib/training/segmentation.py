"""Train a source segmentation network, and measure what adaptation needs of the source images.

These are the volumes and shapes of the structures, the intensities inside them, the softmax
temperature, and what the model does at home. The loss is the cross-entropy (binary for one class)
as in UDAS and AdaMI, optionally plus soft Dice.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from SFDALib.bundle import assembly, source
from SFDALib.bundle.description import Description, Fingerprint
from SFDALib.networks.build import build_network
from SFDALib.networks.outputs import class_probabilities
from SFDALib.progress import Progress
from SFDALib.training import loop
from SFDALib.training.at_home import at_home
from SFDALib.training.manifest import Case, load_cases
from SFDALib.training.patches import Patches
from SFDALib.training.request import TrainingRequest, weights_for_shipping
from SFDALib.training.statistics import measured
from SFDALib.trust import fingerprint


def train(
    request: TrainingRequest,
    description: Description,
    loss: str,
    device: torch.device,
    progress: Progress,
) -> None:
    """Train on the manifest's ``train`` cases; calibrate on its ``val`` cases; write a bundle.

    Args:
        request: cases, output and options.
        description: of the model to train.
        loss: "ce" (cross-entropy) or "dice-ce" (plus soft Dice).
        device: to train on.
        progress: informed of the loss.

    Raises:
        RequestError: the output exists, or a case is unusable.
    """
    workers = loop.start_workers(device)
    request.prepare(workers)
    cache = request.work / f"segmentation-{workers.rank}"
    cases = load_cases(request.entries, "train", description.input_spec, description.classes, cache)
    torch.manual_seed(request.loop.seed)
    regions = description.input_spec.regions
    network = assembly.assemble(lambda: build_network(description.network), 1, regions)
    patches = Patches(cases, description.patch_size, request.batch, request.augment)

    weights, curve = loop.fit(
        network,
        lambda step: patches.draw(request.loop.seed, step, workers.rank),
        lambda trained, images, labels: segmentation_loss(trained(images), labels, loss),
        request.loop,
        request.checkpoint(
            "segmentation",
            network=dict(description.network),
            grid=asdict(description.input_spec),
            patch_size=description.patch_size,
            loss=loss,
        ),
        workers,
        progress,
    )
    network.load_state_dict(weights)
    network.eval()
    held_out = load_cases(
        request.entries, "val", description.input_spec, description.classes, cache
    )
    calibration = Patches(held_out or cases, description.patch_size, request.batch, "none")
    described = replace(
        description,
        labels=measured(description.labels, cases, description.input_spec.is_2d),
        fingerprint=_fingerprint(cases, description.input_spec.channels),
        temperature=calibrate(network, calibration, workers.device),
        provenance={**description.provenance, **request.provenance("segmentation", curve)},
    )
    if workers.leads:
        model = source.Source(described, network, None, None, workers.device, {})
        described = replace(described, at_home=at_home(model, held_out, progress))
    request.finish(
        workers,
        lambda folder: source.write(folder, described, weights_for_shipping(request, weights)),
    )


def segmentation_loss(logits: Tensor, labels: Tensor, kind: str = "ce") -> Tensor:
    """Mean over voxels of the cross-entropy, plus soft Dice of the foreground for "dice-ce".

    Args:
        logits: (N, 1 or K, ...).
        labels: (N, ...) int64.
    """
    if logits.shape[1] == 1:
        entropy = F.binary_cross_entropy_with_logits(logits[:, 0], labels.to(logits.dtype))
    else:
        entropy = F.cross_entropy(logits, labels)
    if kind == "ce":
        return entropy
    probabilities = class_probabilities(logits)
    dice = DiceLoss(include_background=False, to_onehot_y=True, batch=True)
    return entropy + dice(probabilities, labels[:, None])


def calibrate(network: nn.Module, patches: Patches, device: torch.device, draws: int = 16) -> float:
    """The temperature T for which ``softmax(logits / T)`` has the least cross-entropy on patches.

    Guo et al. 2017 (arXiv:1706.04599); found by a bounded search over log T, T from 0.25 to 8.

    Args:
        network: in evaluation mode.
        patches: with their labels.
        device: of the network.
        draws: how many batches of patches.
    """
    pairs: list[tuple[Tensor, Tensor]] = []
    with torch.no_grad():
        for index in range(draws):
            images, labels = patches.draw(0, index, 0)
            pairs.append((network(images.to(device)).float(), labels.to(device)))

    def loss_at(log_temperature: float) -> float:
        scale = float(np.exp(-log_temperature))
        return sum(segmentation_loss(z * scale, y).item() for z, y in pairs) / len(pairs)

    found: Any = minimize_scalar(loss_at, bounds=(np.log(0.25), np.log(8.0)), method="bounded")
    return round(float(np.exp(found.x)), 4)


def _fingerprint(cases: list[Case], channels: int) -> tuple[Fingerprint, ...]:
    """The intensities of the training images inside the labels, for each channel."""
    known = [case.intensities for case in cases if case.intensities is not None]
    found = []
    for channel in range(channels):
        of_channel = fingerprint.measured([values[channel] for values in known])
        if of_channel is None:
            return ()
        found.append(of_channel)
    return tuple(found)
