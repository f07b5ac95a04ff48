"""MuVi: self-training of a 3D network with three views of one volume.

The views are cyclic permutations of the axes: the volume in the model's orientation, and with each
of the two other planes as its slices.

1. Segment the volume in the three views. 2. Pseudo-label: every voxel that one of them gives a
structure with an entropy of at most its threshold; all others are background. 3. Go once over the
overlapping windows of inference, a step of SGD each, batch normalisation as it is. The loss adds
Dice and cross-entropy of the three views to the pseudo-label, the cosine distance between the
deepest features of the first view and of each other one, and Dice and cross-entropy of the other
views to the first one's labels.

Deviations from the released code (smriti-joshi/muvi, 8364273): several structures may be labelled,
where views disagree by the surest; features of the views are compared at the same place as vectors
of their channels (in the released code as single numbers of different places, whose cosine is 1 or
-1 and has no gradient, so that ``feature_weight=0`` is what it trains by); the labels of the first
view are its classes (in the released code ``argmax`` runs over the batch instead of the classes,
which makes every voxel background, so that the other views are drawn to it); windows of a view are
padded to what the network can halve; the adapted model's own prediction is delivered, not the mean
over the views, so that it is a model like the source's, and of all states the best.

Measured so far on one hippocampus with a simulated shift (gamma, bias field, noise), where the last
state loses 1.5 to 3 Dice points of the source's 0.85 and model selection delivers the source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from SFDALib.adaptation.common import views
from SFDALib.adaptation.common.patches import TargetPatches
from SFDALib.adaptation.common.recipe import Recipe, Setting
from SFDALib.inference.predict import predict
from SFDALib.methods.muvi import MuviOptions
from SFDALib.networks.outputs import class_logits

VIEWS = ((0, 1, 2), (2, 0, 1), (1, 2, 0))  # the axes (k, j, i) in the order of each view


class MuVi(Recipe[MuviOptions]):
    """``L = sum_v D(p_v, y) + sum_{v > 0} a (1 - cos(f_0, f_v)) + c D(p_v, argmax p_0)`` with D
    Dice and cross-entropy, y the pseudo-label and f the deepest features.
    """

    shuffle = False
    reestimation_batch = 8  # the original re-estimates no statistics

    def __init__(self, setting: Setting[MuviOptions]) -> None:
        super().__init__(setting)
        arrays = [image.array for image in setting.images]
        self._windows = TargetPatches(self.model, arrays, self.options.overlap)
        self._labels = self._windows  # replaced by ``on_source``
        self._deepest = views.deepest(self.network, self._windows.batch([0]))

    def optimiser(self) -> torch.optim.Optimizer:
        """SGD with Nesterov momentum."""
        options = self.options
        return torch.optim.SGD(
            self.parameters(),
            options.learning_rate,
            momentum=options.momentum,
            weight_decay=options.weight_decay,
            nesterov=options.momentum > 0,
        )

    @property
    def max_norm(self) -> float:
        """The option ``clip``."""
        return self.options.clip

    @property
    def training_patches(self) -> TargetPatches:
        """The overlapping windows of inference."""
        return self._windows

    def on_source(self) -> None:
        """Make the pseudo-labels by the network as it is now."""
        labels = [self._pseudo_label(image.array) for image in self.setting.images]
        self._labels = TargetPatches(self.model, labels, self.options.overlap)

    def loss(self, indices: list[int]) -> Tensor:
        """The loss of a batch of windows in all views."""
        images, target = self._windows.batch(indices), self._labels.batch(indices)[:, 0].long()
        each = []
        for order in VIEWS:
            logits, deep = views.turned(
                self.network, images, order, self.model.divisor, self._deepest
            )
            each.append((class_logits(logits.float() / self.setting.temperature), deep))
        (first, first_deep), *others = each
        total = dice_ce(first, target)
        for logits, _ in others:
            total = total + dice_ce(logits, target)
        for logits, deep in others:
            distance = views.cosine_distance(first_deep, deep)
            total = total + self.options.feature_weight * distance
            total = total + self.options.consistency_weight * dice_ce(logits, first.argmax(1))
        return total

    def _pseudo_label(self, array: np.ndarray) -> np.ndarray:
        """Of an image (C, k, j, i), (1, k, j, i) float32 for ``TargetPatches``."""
        thresholds = (self.options.threshold, *[self.options.threshold_other] * 2)
        description = replace(self.model.description, temperature=self.setting.temperature)
        model = replace(self.model, description=description)
        predictions = []
        for order in VIEWS:
            turned = np.ascontiguousarray(array.transpose(0, *(1 + axis for axis in order)))
            p = predict(model, turned, self.options, network=self.network)
            predictions.append(views.permuted(p, views.back(order)))
        return pseudo_label(predictions, thresholds)[None].cpu().numpy().astype(np.float32)


def dice_ce(logits: Tensor, labels: Tensor, smooth: float = 1e-5) -> Tensor:
    """nnU-Net's loss: mean cross-entropy, less the mean Dice of the foreground classes of each
    image, ``(2 sum p y + s) / (sum p + sum y + s)``.

    Args:
        logits: (B, K, ...).
        labels: (B, ...) whole numbers.
    """
    p = logits.softmax(1)[:, 1:].flatten(2)
    y = F.one_hot(labels, logits.shape[1]).movedim(-1, 1)[:, 1:].flatten(2).to(p)
    over, under = 2 * (p * y).sum(2) + smooth, p.sum(2) + y.sum(2) + smooth
    return F.cross_entropy(logits, labels) - (over / under).mean()


def pseudo_label(predictions: Sequence[Tensor], thresholds: Sequence[float]) -> Tensor:
    """The union of the views' labels where they are sure, ``(k, j, i)``; where they disagree, that
    of the view with the lowest entropy.

    Args:
        predictions: of each view class probabilities (K, k, j, i).
        thresholds: of each view its largest entropy in nats.
    """
    label = torch.zeros_like(predictions[0][0], dtype=torch.uint8)
    best = torch.full_like(predictions[0][0], torch.inf, dtype=torch.float32)
    for p, threshold in zip(predictions, thresholds, strict=True):
        entropy, winner = torch.special.entr(p).sum(0).float(), p.argmax(0).to(torch.uint8)
        sure = (winner > 0) & (entropy <= threshold) & (entropy < best)
        label[sure], best[sure] = winner[sure], entropy[sure]
    return label
