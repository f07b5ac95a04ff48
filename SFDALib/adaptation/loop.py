"""The one epoch loop of the methods that train weights; a method fills it with its loss.

Look at the source, settle the batch statistics, look again; then epochs of optimiser steps, each
followed by a look; the best state that was seen is delivered. Here stand, once for all methods, the
pull towards the source's weights, the moving average, and the rules that end it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from SFDALib.adaptation import batch_norm
from SFDALib.adaptation.patches import TargetPatches
from SFDALib.adaptation.watch import Watch, expected_shares, measure
from SFDALib.bundle.source import Source
from SFDALib.outcome import Adapted
from SFDALib.progress import Progress
from SFDALib.volume.grid import Conformed


@dataclass(frozen=True)
class Setting:
    """What a method works with.

    Args:
        model: the source, which stays as it is.
        network: a copy of its network, to be trained.
        images, patches: the target.
        options: of the method.
        rng: of the order of the patches, and of whatever else the method draws on the CPU.
    """

    model: Source
    network: nn.Module
    images: Sequence[Conformed]
    patches: TargetPatches
    options: Mapping[str, Any]
    rng: np.random.Generator


@dataclass(frozen=True)
class Recipe:
    """What a method puts into the loop.

    Args:
        loss: indices of patches -> the loss of one step; also called without gradients.
        optimiser: of the weights to be trained; all others stay.
        mode: puts the network into the mode of an epoch's steps.
        epochs: how many, if not the option of that name.
        patches: what the steps go over, if not the setting's patches.
        shuffle, drop_last: the order of the patches, and whether an incomplete batch is left out.
        accumulate: one step an epoch, by the mean gradient over its batches, not one a batch.
        clip: largest norm of a step's gradient; a larger one is scaled down to it.
        rate: epochs done -> factor of the learning rate.
        begin: called with an epoch's number before it, the first time for the source and, where
            they are settled, once more for the settled statistics; renews pseudo-labels.
        after_step: renews a teacher.
        measures: the network to be delivered -> what else is worth a curve.
        stop: the curves -> why to end, in plain words; None to go on.
        notes: for the report.
    """

    loss: Callable[[list[int]], Tensor]
    optimiser: torch.optim.Optimizer
    mode: Callable[[], object]
    epochs: int | None = None
    patches: TargetPatches | None = None
    shuffle: bool = True
    drop_last: bool = False
    accumulate: bool = False
    clip: float = math.inf
    rate: Callable[[int], float] = lambda epoch: 1.0
    begin: Callable[[int], None] = lambda epoch: None
    after_step: Callable[[], None] = lambda: None
    measures: Callable[[nn.Module], dict[str, float]] = lambda network: {}
    stop: Callable[[Mapping[str, list[float]]], str | None] = lambda curves: None
    notes: tuple[str, ...] = ()


def run(
    model: Source,
    images: Sequence[Conformed],
    options: Mapping[str, Any],
    seed: int,
    progress: Progress,
    method: Callable[[Setting], Recipe],
) -> Adapted:
    """Adapt a copy of the model's network to the images by a method's recipe."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    network = copy.deepcopy(model.network)
    patches = TargetPatches(model, [image.array for image in images])
    recipe = method(Setting(model, network, images, patches, options, rng))
    trained = [p for group in recipe.optimiser.param_groups for p in group["params"]]
    network.requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_(True)
    anchors = [parameter.detach().clone() for parameter in trained] if options["anchor"] else []
    schedule = torch.optim.lr_scheduler.LambdaLR(recipe.optimiser, recipe.rate)
    watch = Watch(expected_shares(model.description, patches, images), options["patience"])
    epochs = recipe.epochs or options["epochs"]
    trained_on = recipe.patches or patches

    def look(delivered: nn.Module, training_loss: float) -> bool:
        state = measure(delivered, patches, model.description.temperature)
        more = recipe.measures(delivered)
        return watch.look(delivered, state, training_loss=training_loss, **more)

    def first_look() -> bool:
        recipe.begin(0)
        return look(network, _untrained_loss(recipe, trained_on, options["batch"]))

    go_on = first_look()
    if options["settle_bn"]:
        batch_norm.settle(network, patches, options["batch"])
        go_on = first_look()
    average = _moving_average(network, options["ema"])
    for epoch in range(epochs if go_on else 0):
        if epoch:
            recipe.begin(epoch)
        recipe.mode()
        total = 0.0
        batches = (
            trained_on.shuffled(options["batch"], rng, recipe.drop_last)
            if recipe.shuffle
            else list(trained_on.ordered(options["batch"]))
        )
        used = sum(len(indices) for indices in batches)
        for step in [batches] if recipe.accumulate else [[indices] for indices in batches]:
            recipe.optimiser.zero_grad(set_to_none=True)
            in_step = sum(len(indices) for indices in step)
            for number, indices in enumerate(step):
                value = recipe.loss(indices)
                total += value.item() * len(indices) / used
                value = value * (len(indices) / in_step)
                if anchors and not number:
                    value = value + options["anchor"] * _half_squared_distance(trained, anchors)
                value.backward()
            if recipe.clip < math.inf:
                nn.utils.clip_grad_norm_(trained, recipe.clip)
            recipe.optimiser.step()
            recipe.after_step()
            if average:
                average.update_parameters(network)
        schedule.step()
        go_on = look(average.module if average else network, total)
        progress("adapting", epoch + 1, epochs, loss=total)
        if go_on and (reason := recipe.stop(watch.curves)):
            watch.stopped = reason
        if watch.stopped:
            break
    stopped = watch.stopped or f"all {epochs} epochs done"
    return Adapted(watch.weights, watch.curves, watch.best_epoch, stopped, recipe.notes)


@torch.no_grad()
def _untrained_loss(recipe: Recipe, patches: TargetPatches, batch: int) -> float:
    total = 0.0
    for indices in patches.ordered(batch):
        total += recipe.loss(indices).item() * len(indices)
    return total / len(patches)


def _half_squared_distance(weights: Sequence[Tensor], anchors: Sequence[Tensor]) -> Tensor:
    """``1/2 sum (w - w_source)^2`` (L2-SP; Li, Grandvalet, Davoine, ICML 2018)."""
    return sum((w - a).square().sum() for w, a in zip(weights, anchors, strict=True)) / 2


def _moving_average(network: nn.Module, decay: float) -> AveragedModel | None:
    """A moving average of weights and statistics that starts with the network as it is."""
    if not decay:
        return None
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    average.update_parameters(network)
    return average
