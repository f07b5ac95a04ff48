"""Rounds of pseudo-labels and training on them: what self-training and CBST share.

Thresholds, portions, optimiser and mirroring are those of CRST's code (Zou, Yu, Liu, Kumar, Wang.
Confidence regularized self-training. ICCV 2019), and so are the two regularisers, off as in CBST.
Left out: the source images that it mixes in (source portion 0), random crops and scales of the
patches, and the mining of rare classes, which wants source labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from SFDALib.adaptation.common import features
from SFDALib.adaptation.common.losses import (
    EPSILON,
    masked_cross_entropy,
    masked_soft_cross_entropy,
    uniform_cross_entropy,
)
from SFDALib.adaptation.common.recipe import Recipe, Setting
from SFDALib.methods.pseudo_labels import PseudoLabelOptions

IGNORED = 255


class PseudoLabelTraining(Recipe[PseudoLabelOptions]):
    """Cross-entropy with the pseudo-labels of the round, and a pull towards equal probabilities.

    Args:
        by_class: whether each class has its own threshold, or one holds for all.
    """

    by_class: ClassVar[bool]

    def __init__(self, setting: Setting[PseudoLabelOptions]) -> None:
        super().__init__(setting)
        self._classifier = features.classifier(self.network, self.patches.batch([0]))
        self._soft = self.options.entropy_weight > 0
        axes = self.model.description.mirror_axes
        self._mirrors = axes is None or self.model.description.spatial_dims - 1 in axes
        self._targets: list[Tensor] = []

    def optimiser(self) -> torch.optim.Optimizer:
        """SGD; the classifier learns ``head_rate`` times as fast."""
        return features.sgd(self.network, self._classifier, self.options)

    @property
    def epochs(self) -> int:
        """Of all rounds."""
        return self.options.rounds * self.options.epochs

    def on_source(self) -> None:
        """Label for the first round."""
        self._targets = self.pseudo_labels(self.options.portion)

    def on_epoch_start(self, epoch: int, optimiser: torch.optim.Optimizer) -> None:
        """Label a larger portion at the start of each round."""
        options = self.options
        if epoch % options.epochs == 0:
            portion = options.portion + options.portion_step * (epoch // options.epochs)
            self._targets = self.pseudo_labels(portion)

    def loss(self, indices: list[int]) -> Tensor:
        """The loss of a batch, in training with random mirroring."""
        target = torch.stack([self._targets[index] for index in indices]).to(self.model.device)
        images = self.patches.batch(indices)
        if torch.is_grad_enabled() and self._mirrors:
            which = torch.rand(len(images)) < self.options.flips
            images, target = (_mirrored(x, which) for x in (images, target))
        logits = self.setting.logits(images)
        if self._soft:
            value = masked_soft_cross_entropy(logits, target.float())
        else:
            value = masked_cross_entropy(logits, target.long(), IGNORED)
        if not self.options.kld_weight:
            return value
        labelled = target.sum(1) > 0 if self._soft else target != IGNORED
        return value + self.options.kld_weight * uniform_cross_entropy(logits, labelled)

    @torch.no_grad()
    def pseudo_labels(self, portion: float) -> list[Tensor]:
        """The pseudo-labels of every patch, on the CPU.

        Args:
            portion: share of the pixels to label, at most ``portion_max``.

        Returns:
            For each patch ``([k,] j, i)`` uint8, or where they are soft ``(K, [k,] j, i)`` float16.
        """
        self.network.eval()
        best = [p.max(dim=1) for p in self._predictions()]
        stride, softness = self.options.stride, self.options.entropy_weight
        confidence = torch.cat([b.values.flatten()[::stride].cpu() for b in best])
        winner = torch.cat([b.indices.flatten()[::stride].cpu() for b in best])
        limits = thresholds(
            confidence,
            winner if self.by_class else None,
            self.model.description.classes,
            min(portion, self.options.portion_max),
        )
        return [
            (soft_label(p, limits, softness).half() if self._soft else pseudo_label(p, limits))[
                0
            ].cpu()
            for p in self._predictions()
        ]

    def _predictions(self) -> Iterator[Tensor]:
        """Of the patches one by one: the rest of the memory is the training's."""
        for index in range(len(self.patches)):
            yield self.setting.probabilities(self.patches.batch([index]))


def _mirrored(batch: Tensor, which: Tensor) -> Tensor:
    """The batch with these of its items mirrored along the last axis."""
    each = which.view(-1, *[1] * (batch.ndim - 1)).to(batch.device)
    return torch.where(each, batch.flip(-1), batch)


def thresholds(confidence: Tensor, winner: Tensor | None, classes: int, portion: float) -> Tensor:
    """Confidences ``(K,)`` above which a pixel is labelled: those of the ``floor(n portion)``-th
    most confident of the class's n pixels, 1 where that is none.

    Args:
        confidence: (N,) largest probability of each pixel.
        winner: (N,) its class; None for one threshold from all pixels together.
    """
    groups = (
        [confidence] * classes
        if winner is None
        else [confidence[winner == label] for label in range(classes)]
    )
    limits = []
    for group in groups:
        count = int(len(group) * portion)
        limits.append(float(group.sort(descending=True).values[count - 1]) if count else 1.0)
    return torch.tensor(limits)


def _over_thresholds(p: Tensor, limits: Tensor) -> Tensor:
    return p / limits.to(p.device).view(1, -1, *[1] * (p.ndim - 2))


def pseudo_label(p: Tensor, limits: Tensor) -> Tensor:
    """``arg max_k p_k / threshold_k`` where that reaches 1, else IGNORED; ``(B, ...)`` uint8."""
    best = _over_thresholds(p, limits).max(dim=1)
    return best.indices.masked_fill(best.values < 1, IGNORED).byte()


def soft_label(p: Tensor, limits: Tensor, weight: float) -> Tensor:
    """``(p_k / threshold_k)^(1 / weight)`` over its sum where the largest ratio reaches 1, else
    zeros; ``(B, K, ...)``.
    """
    ratio = _over_thresholds(p, limits)
    label = ((ratio + EPSILON).log() / weight).softmax(dim=1)
    return label * (ratio.amax(dim=1, keepdim=True) >= 1)
