"""The one runner of the methods that update weights, with the one epoch loop.

1. Evaluate the source. 2. Re-estimate the batch statistics and evaluate. 3. Epochs of optimiser
steps, an evaluation after each. 4. Deliver the best state. Here stand, once for all methods, the
pull towards the source's weights, the moving average, early stopping, and ensembles: each member is
trained by itself, on the same batches, and the ensemble is evaluated as a whole.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from SFDALib.adaptation.common import batch_norm, labelled_patches, members
from SFDALib.adaptation.common.model_selection import ModelSelection, evaluate, expected_shares
from SFDALib.adaptation.common.patches import PatchList, TargetPatches
from SFDALib.adaptation.common.recipe import Recipe, Setting
from SFDALib.bundle import assembly
from SFDALib.bundle.source import Source
from SFDALib.machine.batch_size import batch_that_fits
from SFDALib.methods import registry
from SFDALib.methods.method import Method
from SFDALib.methods.outcome import Adapted
from SFDALib.methods.shared_options import TrainingOptions
from SFDALib.progress import Progress
from SFDALib.training.manifest import Case
from SFDALib.volume.conform import Conformed

AnyRecipe = Recipe[Any]


def adapt(
    method: Method,
    model: Source,
    images: Sequence[Conformed],
    options: Any,
    seed: int,
    progress: Progress,
    cases: Sequence[Case] = (),
) -> Adapted:
    """Adapt a model to images by a method that updates weights.

    Args:
        method: its entry is a subclass of ``Recipe``, or a function that does all of it.
        model: the source, which stays as it is.
        images: of the target domain, on the model's grid.
        options: an instance of ``method.options_type``.
        seed: of all random numbers.
        progress: called after each epoch.
        cases: labelled images on the model's grid, for a method that needs labels. Their sizes
            widen the plausible volumes of the structures.

    Raises:
        RequestError: the method cannot work with this model or these options.
    """
    recipe = registry.entry(method)
    if not (isinstance(recipe, type) and issubclass(recipe, Recipe)):
        return recipe(model, images, options, seed, progress)
    if cases:
        description = labelled_patches.sizes(model.description, cases)
        model = replace(model, description=description)

    def once(own_seed: int, own_progress: Progress) -> Adapted:
        return Training(recipe, model, images, options, own_seed, cases).run(own_progress)

    return members.adapt(model, recipe.repetitions(options), seed, progress, once)


@dataclass
class Learner:
    """The training of one network by a recipe.

    Args:
        anchor: weight of the pull towards the weights as they are now.
    """

    recipe: AnyRecipe
    anchor: float
    optimiser: torch.optim.Optimizer = field(init=False)
    _trained: list[nn.Parameter] = field(init=False)
    _anchors: list[Tensor] = field(init=False)
    _schedule: torch.optim.lr_scheduler.LRScheduler = field(init=False)

    def __post_init__(self) -> None:
        self.optimiser = self.recipe.optimiser()
        self._trained = [p for group in self.optimiser.param_groups for p in group["params"]]
        for parameter in self._trained:
            parameter.requires_grad_(True)
        self._anchors = [p.detach().clone() for p in self._trained] if self.anchor else []
        factor = self.recipe.learning_rate_factor
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, factor)

    def start_epoch(self, epoch: int) -> None:
        """Prepare the steps of an epoch."""
        if epoch:
            self.recipe.on_epoch_start(epoch, self.optimiser)
        self.recipe.train_mode()

    def step(self, batches: list[list[int]]) -> float:
        """One update on batches, one after the other; their mean loss without the pull."""
        self.optimiser.zero_grad(set_to_none=True)
        loss, patches = 0.0, sum(map(len, batches))
        for number, indices in enumerate(batches):
            value = self.recipe.loss(indices) * (len(indices) / patches)
            loss += value.item()
            if self._anchors and not number:
                value = value + self.anchor * _half_squared_distance(self._trained, self._anchors)
            value.backward()
        if self.recipe.max_norm < math.inf:
            nn.utils.clip_grad_norm_(self._trained, self.recipe.max_norm)
        self.optimiser.step()
        self.recipe.after_step()
        return loss

    def end_epoch(self) -> None:
        """Adjust the learning rate."""
        self._schedule.step()


class Training:
    """One adaptation from the source: a learner for each of the model's sets of weights.

    Args:
        recipe: the method's class.
        model, images, options, seed, cases: as of ``adapt``.
    """

    def __init__(
        self,
        recipe: type[AnyRecipe],
        model: Source,
        images: Sequence[Conformed],
        options: TrainingOptions,
        seed: int,
        cases: Sequence[Case] = (),
    ) -> None:
        self._rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        self._model, self._options = model, options
        self._network = copy.deepcopy(model.network).requires_grad_(False)
        self._patches = TargetPatches(model, [image.array for image in images])
        sets = zip(assembly.members(model.network), assembly.members(self._network), strict=True)
        self._learners = [
            Learner(
                recipe(
                    Setting(
                        replace(model, network=was),
                        one,
                        images,
                        self._patches,
                        options,
                        self._rng,
                        seed,
                        cases,
                    )
                ),
                options.anchor,
            )
            for was, one in sets
        ]
        self._first = self._learners[0].recipe  # all have the same course
        expected = expected_shares(model.description, self._patches, images)
        self._selection = ModelSelection(expected, options.patience)

    def run(self, progress: Progress) -> Adapted:
        """Train, and return the best state."""
        selection, epochs = self._selection, self._first.epochs
        go_on = self._evaluate_source()
        if self._options.settle_bn:
            self._reestimate()
            go_on = self._evaluate_source()
        average = _moving_average(self._network, self._options.ema)
        for epoch in range(epochs if go_on else 0):
            loss = self._train_epoch(epoch, average)
            go_on = self._evaluate(average.module if average else self._network, loss)
            progress("adapting", epoch + 1, epochs, loss=loss)
            if go_on and (reason := self._first.should_stop(selection.curves)):
                selection.stopped = reason
            if selection.stopped:
                break
        stopped = selection.stopped or f"all {epochs} epochs done"
        notes = [note for learner in self._learners for note in learner.recipe.notes]
        if len(self._learners) > 1:
            notes.append(f"each of the {len(self._learners)} sets of weights was adapted by itself")
        return Adapted(
            selection.weights,
            selection.curves,
            selection.best_epoch,
            stopped,
            tuple(dict.fromkeys(notes)),
            collapsed=selection.collapsed,
        )

    def _evaluate(self, delivered: nn.Module, training_loss: float) -> bool:
        """Evaluate the network to be delivered; True: go on."""
        temperature = self._model.description.temperature
        state = evaluate(delivered, self._patches, temperature)
        more = self._first.measures(delivered)
        loss = self._first.selection_loss(delivered)
        return self._selection.update(delivered, state, loss, training_loss=training_loss, **more)

    def _evaluate_source(self) -> bool:
        for learner in self._learners:
            learner.recipe.on_source()
        batch = self._options.batch
        losses = [_untrained_loss(learner.recipe, batch) for learner in self._learners]
        return self._evaluate(self._network, sum(losses) / len(losses))

    def _reestimate(self) -> None:
        """Replace the batch statistics by those of the target."""
        shape = tuple(self._patches.batch([0]).shape[1:])
        fits = batch_that_fits(self._network, shape, self._model.device)
        least = min(self._first.reestimation_batch, fits)
        batch_norm.reestimate(self._network, self._patches, max(self._options.batch, least))

    def _train_epoch(self, epoch: int, average: AveragedModel | None) -> float:
        """The steps of an epoch; their mean loss."""
        for learner in self._learners:
            learner.start_epoch(epoch)
        batches = _batches(self._first, self._options.batch, self._rng)
        used = sum(len(indices) for indices in batches)
        total = 0.0
        for step in [batches] if self._first.accumulate else [[indices] for indices in batches]:
            losses = [learner.step(step) for learner in self._learners]
            total += sum(losses) / len(losses) * sum(map(len, step)) / used
            if average:
                average.update_parameters(self._network)
        for learner in self._learners:
            learner.end_epoch()
        return total


def _batches(recipe: AnyRecipe, size: int, rng: np.random.Generator) -> list[list[int]]:
    """The batches of an epoch."""
    patches = recipe.training_patches
    if recipe.stacks:
        return _stacks(patches, size, rng)
    if recipe.shuffle:
        return patches.shuffled(size, rng, recipe.drop_last)
    return list(patches.ordered(size))


def _stacks(patches: PatchList, size: int, rng: np.random.Generator) -> list[list[int]]:
    if not isinstance(patches, TargetPatches):
        raise TypeError(f"stacks: found {type(patches).__name__}, expected TargetPatches")
    return patches.stacks(size, rng)


@torch.no_grad()
def _untrained_loss(recipe: AnyRecipe, batch: int) -> float:
    """The mean loss over all patches before a step."""
    patches = recipe.training_patches
    stacks = _stacks(patches, batch, np.random.default_rng(0)) if recipe.stacks else None
    total = 0.0
    for indices in stacks or patches.ordered(batch):
        total += recipe.loss(indices).item() * len(indices)
    return total / len(patches)


def _half_squared_distance(weights: Sequence[Tensor], anchors: Sequence[Tensor]) -> Tensor:
    """``1/2 sum (w - w_source)^2`` (L2-SP; Li, Grandvalet, Davoine, ICML 2018)."""
    terms = [(w - a).square().sum() for w, a in zip(weights, anchors, strict=True)]
    return sum(terms, torch.zeros((), device=terms[0].device)) / 2


def _moving_average(network: nn.Module, decay: float) -> AveragedModel | None:
    """A moving average of weights and statistics that starts with the network as it is."""
    if not decay:
        return None
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    average.update_parameters(network)
    return average
