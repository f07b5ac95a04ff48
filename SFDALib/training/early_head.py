"""Train a head on the early features of a bundle's network, whose weights are frozen (UDAS)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path

import torch
from torch import Tensor, nn

from SFDALib.bundle import source
from SFDALib.bundle.description import EarlyHeadDescription
from SFDALib.bundle.open_model import open_model
from SFDALib.networks.outputs import at_resolution
from SFDALib.networks.residual_unet import EarlyHead
from SFDALib.progress import Progress
from SFDALib.training import loop
from SFDALib.training.manifest import load_cases
from SFDALib.training.patches import Patches
from SFDALib.training.request import TrainingRequest, weights_for_shipping
from SFDALib.training.segmentation import segmentation_loss


def train(
    request: TrainingRequest, bundle: Path, level: int, device: torch.device, progress: Progress
) -> None:
    """Train the head of a level on the ``train`` cases; write the bundle with it.

    Args:
        request: cases, output and options.
        bundle: the source model; its own weights are not changed.
        level: 0 or 1, after how many downsampling stages the head reads the features.
        device: to train on.
        progress: informed of the loss.

    Raises:
        RequestError: the output exists, or the bundle or a case is unusable.
    """
    workers = loop.start_workers(device)
    request.prepare(workers)
    opened = open_model(bundle)
    model = opened.load(workers.device)
    description = model.description
    cases = load_cases(
        request.entries,
        "train",
        description.input_spec,
        description.classes,
        request.work / f"early-head-{workers.rank}",
    )
    stages = model.early_stages(model.network, level)
    patches = Patches(cases, description.patch_size, request.batch, request.augment)
    features = _frozen(stages)
    channels = features(patches.draw(0, 0, workers.rank)[0][:1].to(workers.device)).shape[1]
    torch.manual_seed(request.loop.seed)
    head = EarlyHead(description.spatial_dims, channels, description.out_channels)
    weights, curve = loop.fit(
        head,
        lambda step: patches.draw(request.loop.seed, step, workers.rank),
        _head_loss(features),
        request.loop,
        request.checkpoint("early-head", level=level, bundle=opened.sha256()),
        workers,
        progress,
    )
    described = replace(
        description,
        early_head=EarlyHeadDescription(level, channels),
        provenance={**description.provenance, **request.provenance("early_head", curve)},
    )
    request.finish(
        workers,
        lambda folder: source.write(
            folder,
            described,
            weights_for_shipping(request, model.network.state_dict()),
            early_head=weights_for_shipping(request, weights),
            diffusion=source.state(model.diffusion),
            documents=model.documents,
        ),
    )


def _frozen(stages: Sequence[nn.Module]) -> Callable[[Tensor], Tensor]:
    """The features after ``stages``, one after the other, without gradients."""

    def features(images: Tensor) -> Tensor:
        with torch.no_grad():
            return reduce(lambda x, stage: stage(x), stages, images)

    return features


def _head_loss(features: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """The segmentation loss of a head on ``features``: of head, images and labels."""

    def batch_loss(head: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        logits = at_resolution(head(features(images)), labels.shape[1:])
        return segmentation_loss(logits, labels)

    return batch_loss
