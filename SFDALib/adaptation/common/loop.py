"""The one epoch loop of the methods that train weights; a method fills it with its loss.

1. Evaluate the source. 2. Re-estimate the batch statistics and evaluate. 3. Epochs of optimiser
steps, an evaluation after each. The best state is delivered. Here stand, once for all methods, the
pull towards the source's weights, the moving average, the rules that end the training, and what an
ensemble asks for: each of its members is trained by itself, on the same batches, and the ensemble
is evaluated as a whole.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from SFDALib.adaptation.common import batch_norm
from SFDALib.adaptation.common.model_selection import Watch, expected_shares, measure
from SFDALib.adaptation.common.patches import PatchList, TargetPatches
from SFDALib.bundle import assembly
from SFDALib.bundle.source import Source
from SFDALib.machine.batch_size import batch_that_fits
from SFDALib.methods.outcome import Adapted
from SFDALib.networks.outputs import class_probabilities
from SFDALib.progress import Progress
from SFDALib.volume.conform import Conformed


@dataclass(frozen=True)
class Setting:
    """What a method works with.

    Args:
        model: the source, which stays as it is; of an ensemble, one member.
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

    @property
    def temperature(self) -> float:
        """What the logits are divided by: the bundle's, or 1 without the option ``calibrated``."""
        return self.model.description.temperature if self.options["calibrated"] else 1.0

    def logits(self, images: Tensor, network: nn.Module | None = None) -> Tensor:
        """Logits (B, 1 or K, ...) over the temperature, of the network to be trained or another."""
        network = self.network if network is None else network
        return network(images).float() / self.temperature

    def probabilities(self, images: Tensor, network: nn.Module | None = None) -> Tensor:
        """Class probabilities (B, K, ...) of these logits."""
        return class_probabilities(self.logits(images, network))


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
        stacks: batches are neighbouring slices of one image in their order; see
            ``TargetPatches.stacks``.
        accumulate: one step an epoch, by the mean gradient over its batches, not one a batch.
        clip: largest norm of a step's gradient; a larger one is scaled down to it.
        settled_by: patches at once, at least, where batch statistics are re-estimated: those of a
            single slice are far from those of the image.
        rate: epochs done -> factor of the learning rate.
        begin: called with an epoch's number before it, the first time for the source and, where
            they are settled, once more for the settled statistics; renews pseudo-labels.
        after_step: renews a teacher.
        measures: the network to be delivered -> what else is worth a curve.
        guide: the network to be delivered -> what the best state has least of by labels, where
            there are some; see ``Watch.look``.
        stop: the curves -> why to end, in plain words; None to go on.
        notes: for the report; read at the end.
    """

    loss: Callable[[list[int]], Tensor]
    optimiser: torch.optim.Optimizer
    mode: Callable[[], object]
    epochs: int | None = None
    patches: PatchList | None = None
    shuffle: bool = True
    drop_last: bool = False
    stacks: bool = False
    accumulate: bool = False
    clip: float = math.inf
    settled_by: int = 1
    rate: Callable[[int], float] = lambda epoch: 1.0
    begin: Callable[[int], None] = lambda epoch: None
    after_step: Callable[[], None] = lambda: None
    measures: Callable[[nn.Module], dict[str, float]] = lambda network: {}
    guide: Callable[[nn.Module], float] | None = None
    stop: Callable[[Mapping[str, list[float]]], str | None] = lambda curves: None
    notes: Sequence[str] = ()


@dataclass
class Learner:
    """The training of one network by a recipe.

    Args:
        anchor: weight of the pull towards the weights as they are now.
    """

    recipe: Recipe
    anchor: float
    _trained: list[nn.Parameter] = field(init=False)
    _anchors: list[Tensor] = field(init=False)
    _schedule: torch.optim.lr_scheduler.LRScheduler = field(init=False)

    def __post_init__(self) -> None:
        optimiser = self.recipe.optimiser
        self._trained = [p for group in optimiser.param_groups for p in group["params"]]
        for parameter in self._trained:
            parameter.requires_grad_(True)
        self._anchors = [p.detach().clone() for p in self._trained] if self.anchor else []
        self._schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, self.recipe.rate)

    def step(self, batches: list[list[int]]) -> float:
        """One update on batches, one after the other; their mean loss without the pull."""
        self.recipe.optimiser.zero_grad(set_to_none=True)
        loss, patches = 0.0, sum(map(len, batches))
        for number, indices in enumerate(batches):
            value = self.recipe.loss(indices) * (len(indices) / patches)
            loss += value.item()
            if self._anchors and not number:
                value = value + self.anchor * _half_squared_distance(self._trained, self._anchors)
            value.backward()
        if self.recipe.clip < math.inf:
            nn.utils.clip_grad_norm_(self._trained, self.recipe.clip)
        self.recipe.optimiser.step()
        self.recipe.after_step()
        return loss

    def end_epoch(self) -> None:
        self._schedule.step()


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
    network = copy.deepcopy(model.network).requires_grad_(False)
    patches = TargetPatches(model, [image.array for image in images])
    members = zip(assembly.members(model.network), assembly.members(network), strict=True)
    learners = [
        Learner(
            method(Setting(replace(model, network=was), one, images, patches, options, rng)),
            options["anchor"],
        )
        for was, one in members
    ]
    recipe = learners[0].recipe  # all have the same course
    watch = Watch(expected_shares(model.description, patches, images), options["patience"])
    epochs = recipe.epochs or options["epochs"]
    trained_on = recipe.patches or patches

    def look(delivered: nn.Module, training_loss: float) -> bool:
        state = measure(delivered, patches, model.description.temperature)
        more = recipe.measures(delivered)
        guide = recipe.guide and recipe.guide(delivered)
        return watch.look(delivered, state, guide, training_loss=training_loss, **more)

    def first_look() -> bool:
        for learner in learners:
            learner.recipe.begin(0)
        losses = [_untrained_loss(one.recipe, trained_on, options["batch"]) for one in learners]
        return look(network, sum(losses) / len(losses))

    go_on = first_look()
    if options["settle_bn"]:
        fits = batch_that_fits(network, tuple(patches.batch([0]).shape[1:]), model.device)
        least = min(recipe.settled_by, fits)
        batch_norm.settle(network, patches, max(options["batch"], least))
        go_on = first_look()
    average = _moving_average(network, options["ema"])
    for epoch in range(epochs if go_on else 0):
        for learner in learners:
            if epoch:
                learner.recipe.begin(epoch)
            learner.recipe.mode()
        batches = _batches(recipe, trained_on, options["batch"], rng)
        used = sum(len(indices) for indices in batches)
        total = 0.0
        for step in [batches] if recipe.accumulate else [[indices] for indices in batches]:
            losses = [learner.step(step) for learner in learners]
            total += sum(losses) / len(losses) * sum(map(len, step)) / used
            if average:
                average.update_parameters(network)
        for learner in learners:
            learner.end_epoch()
        go_on = look(average.module if average else network, total)
        progress("adapting", epoch + 1, epochs, loss=total)
        if go_on and (reason := recipe.stop(watch.curves)):
            watch.stopped = reason
        if watch.stopped:
            break
    stopped = watch.stopped or f"all {epochs} epochs done"
    notes = [note for learner in learners for note in learner.recipe.notes]
    if len(learners) > 1:
        notes.append(f"each of the {len(learners)} sets of weights was adapted by itself")
    return Adapted(
        watch.weights, watch.curves, watch.best_epoch, stopped, tuple(dict.fromkeys(notes))
    )


def _batches(
    recipe: Recipe, patches: PatchList, size: int, rng: np.random.Generator
) -> list[list[int]]:
    """The batches of an epoch."""
    if recipe.stacks:
        return patches.stacks(size, rng)
    if recipe.shuffle:
        return patches.shuffled(size, rng, recipe.drop_last)
    return list(patches.ordered(size))


@torch.no_grad()
def _untrained_loss(recipe: Recipe, patches: PatchList, batch: int) -> float:
    stacks = patches.stacks(batch, np.random.default_rng(0)) if recipe.stacks else None
    total = 0.0
    for indices in stacks or patches.ordered(batch):
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
