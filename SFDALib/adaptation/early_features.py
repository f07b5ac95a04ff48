"""Self-training of early features: the deep network teaches its own first layers (UDAS).

Only the layers before the first down-sampling (level 0), or before the second (level 1), are
trained, so that a head on their features agrees with the final prediction on the target images.
The option ``calibrated`` divides the teacher's logits alone, so that the early prediction is not
taught to be less sure than the source was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from SFDALib.adaptation.common.batch_norm import affine_parameters
from SFDALib.adaptation.common.losses import soft_cross_entropy
from SFDALib.adaptation.common.recipe import Recipe, Setting
from SFDALib.methods.early_features import EarlyFeaturesOptions
from SFDALib.networks.outputs import at_resolution, class_probabilities


class EarlyFeatures(Recipe[EarlyFeaturesOptions]):
    """Train the layers before the head until the early and the final prediction agree."""

    drop_last = True

    def __init__(self, setting: Setting[EarlyFeaturesOptions]) -> None:
        super().__init__(setting)
        early_head = self.model.description.early_head
        if early_head is None or self.model.early_head is None:
            raise ValueError("early head: found none, expected one; the method needs it")
        self._level, self._head = early_head.level, self.model.early_head
        self._stages = self.model.early_stages(self.network, self._level)

    def parameters(self) -> list[nn.Parameter]:
        """What the options ``layers`` and ``weights`` name."""
        stages = self._stages[-1:] if self.options.layers == "last" else self._stages
        if self.options.weights == "batch-norm":
            return [p for stage in stages for p in affine_parameters(stage)]
        return [p for stage in stages for p in stage.parameters()]

    def train_mode(self) -> None:
        """Put batch normalisation into the mode that the option ``bn`` names."""
        set_mode(self.network, self._stages, self.options.bn)

    def loss(self, indices: list[int]) -> Tensor:
        """The refinement loss of a batch."""
        return refinement_loss(
            self.network,
            self._stages,
            self._head,
            self.patches.batch(indices),
            self.options.detach_teacher,
            self.setting.temperature,
        )

    def measures(self, network: nn.Module) -> dict[str, float]:
        """The agreement of both predictions, by which the training stops."""
        return {"agreement": self._agreement(network)}

    def should_stop(self, curves: Mapping[str, list[float]]) -> str | None:
        """Stop where the agreement changes by less than ``stop_change``."""
        before, now = curves["agreement"][-2:]
        if abs(now - before) >= self.options.stop_change:
            return None
        return (
            f"early and final prediction agree to a Dice of {now:.3f}, which changed by less than"
            f" {self.options.stop_change:g}"
        )

    @torch.no_grad()
    def _agreement(self, network: nn.Module) -> float:
        """Dice between the hard early and final predictions: of all patches together, or the mean
        over shuffled batches without the last incomplete one.
        """
        stages = self.model.early_stages(network, self._level)
        by_batch = self.options.stop_images == "batches"
        pairs = []
        for indices in self._agreement_batches(by_batch):
            images = self.patches.batch(indices)
            early = class_probabilities(early_logits(stages, self._head, images)).argmax(1)
            final = class_probabilities(network(images)).argmax(1)
            pairs.append((early.cpu(), final.cpu()))
        if not by_batch:
            early, final = (torch.cat(side) for side in zip(*pairs, strict=True))
            pairs = [(early, final)]
        classes = self.model.description.classes
        values = [mask_dice(early, final, classes) for early, final in pairs]
        return float(sum(values) / len(values))

    def _agreement_batches(self, shuffled: bool) -> list[list[int]]:
        batch = self.options.batch
        if shuffled:
            return self.patches.shuffled(batch, self.setting.rng, drop_last=True)
        return list(self.patches.ordered(batch))


def set_mode(network: nn.Module, stages: Sequence[nn.Module], bn: str) -> None:
    """Put batch normalisation into the mode that the option ``bn`` names."""
    network.train(bn == "train_all")
    if bn == "train_updated":
        for stage in stages:
            stage.train()


def early_logits(stages: Sequence[nn.Module], head: nn.Module, images: Tensor) -> Tensor:
    """The head's logits at the images' resolution."""
    features = reduce(lambda x, stage: stage(x), stages, images)
    return at_resolution(head(features), images.shape[2:])


def refinement_loss(
    network: nn.Module,
    stages: Sequence[nn.Module],
    head: nn.Module,
    images: Tensor,
    detach_teacher: bool,
    temperature: float = 1.0,
) -> Tensor:
    """Cross-entropy of the early prediction under the final one.

    Args:
        temperature: divides the teacher's logits.

    Two forward passes through the early layers, as in the original: their batch normalisation
    learns twice as fast as that of the deep ones.
    """
    early = early_logits(stages, head, images)
    with torch.set_grad_enabled(not detach_teacher):
        final = network(images) / temperature
        teacher = torch.sigmoid(final) if final.shape[1] == 1 else torch.softmax(final, dim=1)
    return soft_cross_entropy(early, teacher)


def mask_dice(a: Tensor, b: Tensor, classes: int, smooth: float = 1e-4) -> float:
    """Mean over the foreground classes of ``(2 |A and B| + s) / (|A| + |B| + s)``; 1 if both are
    empty.
    """
    values = []
    for label in range(1, classes):
        in_a, in_b = a == label, b == label
        overlap = float((in_a & in_b).sum())
        values.append((2 * overlap + smooth) / (float(in_a.sum()) + float(in_b.sum()) + smooth))
    return sum(values) / len(values)
