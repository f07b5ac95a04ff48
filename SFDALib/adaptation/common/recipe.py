"""What a training method overrides: the steps that ``loop`` calls, named as trainers name them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from SFDALib.adaptation.common.patches import PatchList, TargetPatches
from SFDALib.bundle.source import Source
from SFDALib.methods.shared_options import TrainingOptions
from SFDALib.networks.outputs import class_probabilities
from SFDALib.training.manifest import Case
from SFDALib.volume.conform import Conformed

Options = TypeVar("Options", bound=TrainingOptions)


@dataclass(frozen=True)
class Setting(Generic[Options]):
    """What a method works with.

    Args:
        model: the source, which stays as it is; of an ensemble, one member.
        network: a copy of its network, to be trained.
        images, patches: the target.
        options: of the method.
        rng: of the order of the patches, and of whatever else the method draws on the CPU.
        seed: of the adaptation.
        cases: labelled images, for a method that needs labels.
    """

    model: Source
    network: nn.Module
    images: Sequence[Conformed]
    patches: TargetPatches
    options: Options
    rng: np.random.Generator
    seed: int = 0
    cases: Sequence[Case] = ()

    @property
    def temperature(self) -> float:
        """What the logits are divided by: the bundle's, or 1 without the option ``calibrated``."""
        return self.model.description.temperature if self.options.calibrated else 1.0

    def logits(self, images: Tensor, network: nn.Module | None = None) -> Tensor:
        """Logits (B, 1 or K, ...) over the temperature, of the network to be trained or another."""
        network = self.network if network is None else network
        return network(images).float() / self.temperature

    def probabilities(self, images: Tensor, network: nn.Module | None = None) -> Tensor:
        """Class probabilities (B, K, ...) of these logits."""
        return class_probabilities(self.logits(images, network))


class Recipe(Generic[Options]):
    """A training method; ``loop.adapt`` calls its steps in the order in which they stand here.

    A method overrides ``loss`` and what else differs. All weights are trained by Adam otherwise.

    Args:
        setting: what the method works with; its parts are also ``model``, ``network``, ``patches``
            and ``options``.
        notes: for the report; read at the end.
        shuffle, drop_last: the order of the patches, and whether an incomplete batch is left out.
        stacks: batches are neighbouring slices of one image in their order; see
            ``TargetPatches.stacks``.
        accumulate: one step an epoch, by the mean gradient over its batches, not one a batch.
        reestimation_batch: patches at once, at least, where batch statistics are re-estimated:
            those of a single slice are far from those of the image.
    """

    shuffle: ClassVar[bool] = True
    drop_last: ClassVar[bool] = False
    stacks: ClassVar[bool] = False
    accumulate: ClassVar[bool] = False
    reestimation_batch: ClassVar[int] = 1

    def __init__(self, setting: Setting[Options]) -> None:
        self.setting = setting
        self.model, self.network = setting.model, setting.network
        self.patches, self.options = setting.patches, setting.options
        self.notes: list[str] = []

    @classmethod
    def repetitions(cls, options: Options) -> int:
        """How many adaptations, each from the source with its own seed, are averaged."""
        return 1

    def parameters(self) -> Iterable[nn.Parameter]:
        """The weights to be trained; all others stay."""
        return self.network.parameters()

    def optimiser(self) -> torch.optim.Optimizer:
        """The optimiser of these weights; called once."""
        return torch.optim.Adam(self.parameters(), self.learning_rate)

    @property
    def learning_rate(self) -> float:
        """The optimiser's learning rate in the first epoch."""
        assert self.options.learning_rate is not None, "the method chooses it"
        return self.options.learning_rate

    def learning_rate_factor(self, epoch: int) -> float:
        """Factor of the learning rate after so many epochs."""
        return 1.0

    @property
    def max_norm(self) -> float:
        """Largest norm of a step's gradient; a larger gradient is scaled down to it."""
        return math.inf

    @property
    def epochs(self) -> int:
        """How many epochs there are."""
        return self.options.epochs

    @property
    def training_patches(self) -> PatchList:
        """The patches that the steps go over."""
        return self.patches

    def on_source(self) -> None:
        """Called before the source is evaluated, and again once the batch statistics have been
        re-estimated: makes what depends on the network as it is before training, and draws random
        patches.
        """
        self.training_patches.draw()

    def on_epoch_start(self, epoch: int, optimiser: torch.optim.Optimizer) -> None:
        """Called before each epoch but the first, for which ``on_source`` was called: draws random
        patches anew.
        """
        self.training_patches.draw()

    def train_mode(self) -> None:
        """Put the network into the mode of an epoch's steps."""
        self.network.train(self.options.bn == "train")

    def loss(self, indices: list[int]) -> Tensor:
        """The loss of one step on patches; also called without gradients, to evaluate the source.

        Args:
            indices: of ``training_patches``.
        """
        raise NotImplementedError

    def after_step(self) -> None:
        """Called after each update, for example to update a teacher."""

    def measures(self, network: nn.Module) -> dict[str, float]:
        """Further values of the network to be delivered, one curve each."""
        return {}

    def selection_loss(self, network: nn.Module) -> float | None:
        """By labels: the value that the best state has least of; None without labels."""
        return None

    def should_stop(self, curves: Mapping[str, list[float]]) -> str | None:
        """Why the training ends after this epoch, in words; None to go on."""
        return None
