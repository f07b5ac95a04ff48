"""Train a source segmentation network, and measure what adaptation needs of the source images.

These are the volumes of the structures, the intensities inside them and the softmax temperature.
The loss is the cross-entropy (binary for one class) as in UDAS and AdaMI, optionally plus soft
Dice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from scipy.optimize import minimize_scalar
from torch import Tensor, nn

from SFDALib.bundle import assembly, source
from SFDALib.bundle.description import Description, Fingerprint, Label
from SFDALib.json_fields import SMALLEST
from SFDALib.networks.build import build_network
from SFDALib.networks.outputs import class_probabilities
from SFDALib.progress import Progress
from SFDALib.training import loop
from SFDALib.training.manifest import Case, LabelMap, load_cases
from SFDALib.training.patches import Patches
from SFDALib.training.request import TrainingRequest, weights_for_shipping
from SFDALib.trust import fingerprint
from SFDALib.volume.components import smallest_and_reach

SIZE_MARGIN = 0.25  # plausible volumes: from 25 % below the smallest to 25 % above the largest


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
        labels=tuple(measured(label, cases, description) for label in description.labels),
        fingerprint=_fingerprint(cases, description.input_spec.channels),
        temperature=calibrate(network, calibration, workers.device),
        provenance={**description.provenance, **request.provenance("segmentation", curve)},
    )
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
        measured = fingerprint.measured([values[channel] for values in known])
        if measured is None:
            return ()
        found.append(measured)
    return tuple(found)


def measured(label: Label, cases: Sequence[LabelMap], description: Description) -> Label:
    """The label with its volume, its area on the slices that show it, its smallest connected
    component and its reach, over the cases.
    """
    volumes, areas = [], []
    pieces, radii = [], []
    for case in cases:
        mask = case.labels == label.value
        if mask.any():
            piece_ml, radius_mm = smallest_and_reach(mask, case.spacing_kji)
            pieces.append(piece_ml)
            radii.append(radius_mm)
            volumes.append(float(mask.sum()) * float(np.prod(case.spacing_kji)) / 1000)
            per_slice = mask.sum(axis=(1, 2))
            areas.extend(per_slice[per_slice > 0] * float(np.prod(case.spacing_kji[1:])))
    if not volumes:
        return label
    return replace(
        label,
        size_ml=label.size_ml
        or (
            round(min(volumes) * (1 - SIZE_MARGIN), 3),
            round(max(volumes) * (1 + SIZE_MARGIN), 3),
        ),
        mean_ml=round(float(np.mean(volumes)), 3),
        slice_area_mm2=round(float(np.mean(areas)), 2) if description.input_spec.is_2d else None,
        piece_ml=max(round(min(pieces) * (1 - SIZE_MARGIN), 6), SMALLEST),
        radius_mm=round(max(radii) * (1 + SIZE_MARGIN), 3),
    )
