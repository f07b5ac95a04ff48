"""Uncertainty-aware pseudo-labels from several decoders under rotation (UPL-SFDA).

Differs from the original: the unrotated decoder is delivered, not the mean of all of them, so that
the adapted model is one like the source's; and there is no dropout unless asked for: before
the classifier a rate of .5 costs .04 to .06 of Dice on a heart (0.746 and 0.690 after two epochs).

On the demo's T2W head (Testing/Benchmarks/methods.json) it delivers batch statistics, Dice 0.839
from 0.231: four epochs at 1e-5 reach 0.868 and one at 1e-4 even 0.925, but the entropy, and at 1e-4
the volume, then are worse, so that model selection, which has no reference, does not choose them.
"""

from __future__ import annotations

import copy
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from skimage.measure import label as components
from torch import Tensor, nn

from SFDALib.adaptation.common import features
from SFDALib.adaptation.common.losses import EPSILON, soft_dice
from SFDALib.adaptation.common.recipe import Recipe, Setting
from SFDALib.methods.upl import UplOptions
from SFDALib.networks.outputs import class_probabilities


class UPL(Recipe[UplOptions]):
    """``L = mean_d DiceLoss(p_d, PL) + H(M)`` with M the mean of the decoders' probabilities."""

    stacks = True

    def __init__(self, setting: Setting[UplOptions]) -> None:
        super().__init__(setting)
        self._copies, self._shared = copies(setting, self.options.decoders - 1)
        self.networks = [self.network, *self._copies]
        self._classifier = features.classifier(self.network, self.patches.batch([0]))
        copied = "the whole network (no known encoder)"
        if self._shared:
            copied = "the decoder; the encoder is shared"
        self.notes = [f"{len(self._copies)} copies of {copied}"]

    def optimiser(self) -> torch.optim.Optimizer:
        """Adam, with other betas for the decoders than for the encoder, as in the original."""
        parameters = {id(p): p for one in self.networks for p in one.parameters()}
        groups = [
            {
                "params": [p for key, p in parameters.items() if (key in self._shared) == inside],
                "betas": betas,
            }
            for inside, betas in ((True, (0.9, 0.999)), (False, (0.5, 0.999)))
        ]
        groups = [group for group in groups if group["params"]]
        return torch.optim.Adam(groups, self.options.learning_rate)

    def on_source(self) -> None:
        """Give the copies the statistics that the network has now, re-estimated or not."""
        for one in self._copies:
            one.load_state_dict(self.network.state_dict())

    def train_mode(self) -> None:
        """Put all copies into the mode of the option ``bn``."""
        for one in self.networks:
            one.train(self.options.bn == "train")

    def loss(self, indices: list[int]) -> Tensor:
        """The loss of a stack of slices, or of a batch of blocks."""
        images = self.patches.batch(indices)
        training = torch.is_grad_enabled()
        with torch.no_grad():
            mean = torch.stack(self._probabilities(images, training)).mean(0)
        label = (mean > self.options.threshold).float()
        if self.options.largest_component:
            label = largest_parts(label)
        each = self._probabilities(images, training)
        losses = [masked_dice_loss(p, label) for p in each]
        dice = sum(losses[1:], losses[0]) / len(losses)
        return dice + entropy_bits(torch.stack(each).mean(0))

    def _probabilities(self, images: Tensor, dropout: bool) -> list[Tensor]:
        """Of every decoder, turned back."""
        each = []
        rate = self.options.dropout
        for turns, one in enumerate(self.networks):
            dropping = dropout and rate
            with features.dropout(one, self._classifier, rate) if dropping else nullcontext():
                each.append(turned(self.setting, one, images, turns))
        return each


def turned(setting: Setting[UplOptions], network: nn.Module, images: Tensor, turns: int) -> Tensor:
    """Probabilities of images that the network is shown turned by so many times 90 degrees in their
    last two axes, turned back. Where it does not accept the turned size, the border is replicated.
    """
    rotated = torch.rot90(images, turns, (-2, -1))
    size = rotated.shape[2:]
    lack = [-n % multiple for n, multiple in zip(size, setting.model.divisor, strict=True)]
    if any(lack):
        padding = [side for n in reversed(lack) for side in (0, n)]
        rotated = F.pad(rotated, padding, mode="replicate")
    logits = setting.logits(rotated, network)
    logits = logits[(slice(None), slice(None), *(slice(n) for n in size))]
    return class_probabilities(torch.rot90(logits, -turns, (-2, -1)))


def copies(setting: Setting[UplOptions], count: int) -> tuple[list[nn.Module], set[int]]:
    """Copies of the network that share its encoder, and the ids of the weights that they share."""
    encoder = setting.model.encoder(setting.network)
    memo = {  # every part: some are known to the network by several names
        id(part): part
        for stage in encoder
        for part in (*stage.modules(), *stage.parameters(), *stage.buffers())
    }
    made = [copy.deepcopy(setting.network, dict(memo)) for _ in range(count)]
    return made, {id(p) for stage in encoder for p in stage.parameters()}


def largest_parts(label: Tensor) -> Tensor:
    """Of each class, the background's too, the largest part connected by faces.

    Args:
        label: (B, K, ...) 0 or 1; of slices the batch is a stack, of which the part is one, of
            blocks each has its own.
    """
    kept = label.cpu().numpy()
    masks = kept.swapaxes(0, 1) if label.ndim == 4 else kept.reshape(-1, *kept.shape[2:])
    for mask in masks:
        parts = components(mask > 0, connectivity=1)
        if parts.max() > 1:
            sizes = torch.bincount(torch.from_numpy(parts).flatten())
            mask *= parts == 1 + int(sizes[1:].argmax())
    return torch.from_numpy(kept).to(label.device)


def masked_dice_loss(p: Tensor, label: Tensor, smooth: float = 1e-4) -> Tensor:
    """Mean over the classes of ``1 - (2 sum q y + s) / (sum q^2 + sum y^2 + s)`` with ``q = p y``:
    a prediction beyond the label costs nothing.
    """
    return 1 - soft_dice(p * label, label, smooth)


def entropy_bits(p: Tensor) -> Tensor:
    """``-sum p log2 p / (B K x)``, the mean over the classes, too."""
    return -(p * torch.log2(p + EPSILON)).mean()
