"""Importance-weighted pseudo-labels and class centroids (IAPC).

Left out of the original: the warm-up of 5000 steps, more than one volume has in all; and random
crops, scales and colours.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from SFDALib.adaptation.common import features
from SFDALib.adaptation.common.losses import masked_cross_entropy, mean_entropy
from SFDALib.adaptation.common.recipe import Recipe, Setting
from SFDALib.methods.iapc import IapcOptions
from SFDALib.networks.outputs import class_logits

IMPORTANCE, PROTOTYPE, SYMMETRIC, ENTROPY = 0.2, 0.5, 0.04, 2.0  # weights of the terms
ENTROPY_EPSILON = 1e-5
SCALES = (1.0, 1.25, 0.75)
IGNORED = 255


class IAPC(Recipe[IapcOptions]):
    """``L = .2 w v CE(z, y) + .5 v CE(z, y where the centroids agree, else 0) + .04 (CE(z, c) +
    CE(cos, z)) + 2 H(p)``, each the mean over all pixels, with the source's labels y, its
    importance w, the weights v of the classes, and the nearest centroids c.
    """

    def __init__(self, setting: Setting[IapcOptions]) -> None:
        super().__init__(setting)
        self._classifier = features.classifier(self.network, self.patches.batch([0]))
        self._memory = copy.deepcopy(self.network)
        self._labels: list[Tensor] = []  # the source's, of every patch
        self._rarity = torch.ones(self.model.description.classes)

    def optimiser(self) -> torch.optim.Optimizer:
        """SGD with Nesterov momentum; the classifier learns ``head_rate`` times as fast."""
        return features.sgd(self.network, self._classifier, self.options, nesterov=True)

    def on_source(self) -> None:
        """Start the memory network as the student starts; label the patches by the source once."""
        self._memory.load_state_dict(self.network.state_dict())
        self._rarity.fill_(1)
        if self._labels:
            return
        scales = SCALES if self.options.several_scales else ()
        for indices in self.patches.ordered(self.options.batch):
            labels = source_labels(self.setting, self.patches.batch(indices), scales)
            self._labels.extend(labels.cpu())

    def loss(self, indices: list[int]) -> Tensor:
        """The loss of a batch."""
        images = self.patches.batch(indices)
        label, weight, pixels, centroids = self._targets(indices, images)
        own_features, logits = features.forward(self.network, self._classifier, images)
        z = class_logits(logits) / self.setting.temperature
        cosine = cosines(own_features, centroids)
        nearest = resized_labels(cosine.detach().argmax(1), z)
        agreed = label.masked_fill(nearest != label, IGNORED)
        symmetric = symmetric_loss(z, cosine, nearest)
        share = (agreed != IGNORED).float().mean()  # of the pixels: the mean is over all of them
        return (
            IMPORTANCE * masked_cross_entropy(z, label, IGNORED, weight * pixels)
            + PROTOTYPE * share * masked_cross_entropy(z, agreed, IGNORED, pixels)
            + SYMMETRIC * symmetric
            + ENTROPY * mean_entropy(torch.softmax(z, 1), ENTROPY_EPSILON)
        )

    @torch.no_grad()
    def after_step(self) -> None:
        """Move the memory network towards the student; its buffers are the student's.

        Not torch's ``AveragedModel``: that either averages the buffers, too, or leaves them.
        """
        parameters = zip(self._memory.parameters(), self.network.parameters(), strict=True)
        for average, new in parameters:
            average.lerp_(new, 1 - self.options.memory_decay)
        for buffer, source in zip(self._memory.buffers(), self.network.buffers(), strict=True):
            buffer.copy_(source)

    def _targets(self, indices: list[int], images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Labels y (B, ...), importance w (B, ...), weights v (B, ...) and centroids (B, K, F)."""
        training = torch.is_grad_enabled()
        with torch.no_grad():
            source_logits = class_logits(self.setting.logits(images, self.model.network))
            label = torch.stack([self._labels[index] for index in indices])
            label = label.to(source_logits.device).long()
            weight = importance(source_logits, self.options.importance)
            weights, rarity = class_weights(
                label, self._rarity, self.options.small_size, self.options.small_weight
            )
            if training:
                self._rarity.copy_(rarity)
            return label, weight, weights.to(source_logits)[label], self._centroids(images)

    def _centroids(self, images: Tensor) -> Tensor:
        """Of each class in each image, by the memory network, which is in the student's mode."""
        self._memory.train(self.network.training)
        memory_features, logits = features.forward(self._memory, self._classifier, images)
        z = class_logits(logits)
        label = resized_labels(z.argmax(1), memory_features)
        return image_centroids(memory_features, label, z.shape[1])


def symmetric_loss(z: Tensor, cosine: Tensor, nearest: Tensor) -> Tensor:
    """``CE(z, c) + CE(cos, argmax z)``.

    Args:
        z: logits (B, K, ...).
        cosine: with each centroid (B, K, ...), perhaps at a lower resolution.
        nearest: c, the nearest centroid of each pixel (B, ...).
    """
    return masked_cross_entropy(z, nearest, IGNORED) + masked_cross_entropy(
        features.resized(cosine, z, "linear"), z.detach().argmax(1), IGNORED
    )


def class_weights(
    label: Tensor, rarity: Tensor, small_size: int, small_weight: float
) -> tuple[Tensor, Tensor]:
    """Weights of the classes (K,) in a batch, and the renewed factors of rare ones.

    ``w_k = (small_weight if the class has fewer than small_size pixels an image, else 1) r_k``
    with ``r_k <- .9 r_k + .1 (small_weight if it is absent, else 1)``.

    Args:
        label: (B, ...) whole numbers.
        rarity: (K,) r before this batch.
    """
    counts = torch.bincount(label.flatten(), minlength=len(rarity)).cpu()
    small = torch.where(counts < small_size * len(label), small_weight, 1.0)
    renewed = 0.9 * rarity + 0.1 * torch.where(counts == 0, small_weight, 1.0)
    return small * renewed, renewed


def resized_labels(label: Tensor, like: Tensor) -> Tensor:
    """Labels (B, ...) at the resolution of others, nearest neighbour."""
    return features.resized(label[:, None].float(), like)[:, 0].long()


def source_labels(setting: Setting[IapcOptions], images: Tensor, scales: Sequence[float]) -> Tensor:
    """Labels (B, ...) uint8 of the source: the largest of its probabilities, which are summed over
    images of these sizes, and over their mirror images; without sizes those of the images alone.

    Args:
        scales: factors of the size, of which the nearest that the network accepts is taken.
    """
    model, size = setting.model, images.shape[2:]
    mode = "bilinear" if len(size) == 2 else "trilinear"

    def probabilities(scaled: Tensor) -> Tensor:
        p = setting.probabilities(scaled, model.network)
        return F.interpolate(p, size, mode=mode, align_corners=False)

    def at(scale: float) -> Tensor:
        near = [max(round(n * scale / d), 1) * d for n, d in zip(size, model.divisor, strict=True)]
        return F.interpolate(images, near, mode=mode, align_corners=False)

    with torch.no_grad():
        if not scales:
            return probabilities(images).argmax(1).byte()
        each = [probabilities(x) + probabilities(x.flip(-1)).flip(-1) for x in map(at, scales)]
        total = each[0]
        for p in each[1:]:
            total = total + p
        return total.argmax(1).byte()


def importance(logits: Tensor, of: str) -> Tensor:
    """``1 - z2 / z1`` of the two largest outputs ``(B, K, ...)`` of each pixel; ``(B, ...)``."""
    top = (logits if of == "logit" else torch.softmax(logits, 1)).topk(2, dim=1).values
    return 1 - top[:, 1] / top[:, 0]


def image_centroids(maps: Tensor, label: Tensor, classes: int) -> Tensor:
    """Mean features of each class in each image, of length 1: ``(B, K, F)``; zeros if absent."""
    one_hot = F.one_hot(label, classes).movedim(-1, 1)
    means = [features.class_means(maps[b : b + 1], one_hot[b : b + 1]) for b in range(len(maps))]
    return F.normalize(torch.stack(means), dim=2)


def cosines(maps: Tensor, centroids: Tensor) -> Tensor:
    """Cosine of every pixel's features with each centroid of its image, ``(B, K, ...)``."""
    flat = F.normalize(maps.flatten(2), dim=1)
    return torch.bmm(centroids, flat).view(len(maps), centroids.shape[1], *maps.shape[2:])
