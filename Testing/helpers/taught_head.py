"""A model that was taught a head for some seconds, heads of another contrast, and adaptations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any
from unittest import mock

import numpy as np
import torch
from bundles import describe
from heads import geometry_around_head, head

from SFDALib.adaptation import early_features
from SFDALib.adaptation.common import loop
from SFDALib.adaptation.common.model_selection import (
    ModelSelection,
    State,
)
from SFDALib.adaptation.common.patches import TargetPatches
from SFDALib.bundle.source import Source
from SFDALib.methods import registry
from SFDALib.methods.option import PUBLISHED
from SFDALib.methods.outcome import Adapted
from SFDALib.networks.build import build_network, early_stages
from SFDALib.networks.residual_unet import EarlyHead
from SFDALib.progress import silent
from SFDALib.training.segmentation import segmentation_loss
from SFDALib.volume.conform import Conformed, conform

SIZES = {2: ((26, 30, 9), (23, 34, 7)), 3: ((22, 26, 16), (24, 30, 13))}

SPACING = {2: (3.0, 3.0, 9.0), 3: (4.0, 4.0, 5.0)}


def labels_of(image: np.ndarray, classes: int) -> np.ndarray:
    """Brain 1, and for three classes the rest of the head 2, from normalised intensities."""
    brain = image[0] > 0.66
    return np.where(brain, 1, np.where((image[0] > 0.15) & (classes == 3), 2, 0))


def conformed(description: Any, index: int) -> Conformed:
    dims = description.spatial_dims
    volume = head(geometry_around_head(SIZES[dims][index], SPACING[dims]))
    return conform(volume, description.input_spec)


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums in the same order on every computer."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def source(spatial_dims: int = 2, classes: int = 2) -> Source:
    """A model that was taught the head for some seconds: network and early head."""
    return taught(spatial_dims, classes)


@cache
@one_thread()
def taught(spatial_dims: int, classes: int) -> Source:
    description = replace(describe(spatial_dims, classes), diffusion=None)
    if spatial_dims == 3:
        grid = replace(description.input_spec, spacing=SPACING[3])
        description = replace(description, input_spec=grid, patch_size=(16, 24, 24))
    torch.manual_seed(0)
    network = build_network(description.network)
    early_head = EarlyHead(spatial_dims, 4, description.out_channels)
    model = Source(description, network, early_head, None, torch.device("cpu"), {})
    image = conformed(description, 0).array
    images, labels = (
        TargetPatches(model, [array.astype(np.float32)])
        for array in (image, labels_of(image, classes)[None])
    )
    everything = list(range(len(images)))
    x, y = images.batch(everything), labels.batch(everything)[:, 0].long()
    optimiser = torch.optim.Adam([*network.parameters(), *early_head.parameters()], 1e-2)
    stages = early_stages(network, description.network, 0)
    for _ in range(60):
        early = early_features.early_logits(stages, early_head, x)
        loss = segmentation_loss(network(x), y) + segmentation_loss(early, y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for part in (network, early_head):
        part.eval().requires_grad_(False)
    return model


@cache
def targets(spatial_dims: int, classes: int, count: int) -> tuple[Conformed, ...]:
    """Heads of another contrast, with noise; two are of different size."""
    description = source(spatial_dims, classes).description
    noise = np.random.default_rng(5)
    images = []
    for index in range(count):
        image = conformed(description, index)
        array = 0.75 * image.array**0.7 + noise.normal(0.03, 0.03, image.array.shape)
        images.append(replace(image, array=array.astype(np.float32)))
    return tuple(images)


def adapt_head(
    method: str, dims: int = 2, classes: int = 2, count: int = 1, seed: int = 0, **options: Any
) -> Adapted:
    described = registry.find(method)
    values = described.values({"batch": 4, **options}, PUBLISHED)
    images = targets(dims, classes, count)
    return loop.adapt(described, source(dims, classes), images, values, seed, silent)


def changed(outcome: Adapted, model: Source) -> set[str]:
    """Names of the weights and statistics that are not bit for bit the source's."""
    before = model.network.state_dict()
    assert list(outcome.weights) == list(before)
    return {name for name, value in outcome.weights.items() if not torch.equal(value, before[name])}


def statistics(names: Any) -> set[str]:
    return {name for name in names if "running" in name or "num_batches" in name}


# Learning rates at which these small networks improve by the method's own criterion.
RATES = {"adami": 3e-4, "adaent": 3e-4, "early-features": 1e-3}


def later_is_better(watch: ModelSelection, _: State) -> float:
    return -len(watch.curves.get("criterion", []))


def last_state(method: str, **more: Any) -> Adapted:
    """An adaptation that returns its last state, whatever its watch thinks of it: what changed."""

    with mock.patch.object(ModelSelection, "criterion", later_is_better):
        outcome = adapt_head(method, learning_rate=RATES[method], **more)
    assert outcome.best_epoch > 0, outcome.stopped
    return outcome
