"""Importance-weighted pseudo-labels and class centroids (IAPC).

Left out of the original: the warm-up of 5000 steps, more than one volume has in all; and random
crops, scales and colours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from SFDALib.methods.method import COMMON_OPTIONS, Method, Option, choice, training_options
from SFDALib.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

    from SFDALib.adaptation.common.loop import Recipe, Setting
    from SFDALib.bundle.source import Source
    from SFDALib.methods.outcome import Adapted
    from SFDALib.volume.conform import Conformed

METHOD = Method(
    name="iapc",
    title="IAPC",
    summary="Trains the model on the source's own labels, weighted by how clear they are, and on"
    " what its features say.",
    paper="Cao, Zhang, Lu, Xiao, Yang, Wang. Towards source-free domain adaptive semantic"
    " segmentation via importance-aware and prototype-contrast learning. IEEE T-IV 2024",
    updates="all weights",
    needs=(),
    cost="one training pass over the images an epoch, two more without gradients, and six before",
    options=(
        *training_options(epochs=10, learning_rate=1e-4, batch=6, optimiser="SGD"),
        Option("head_rate", 10.0, "Factor of the classifier's learning rate.", 0, 1000),
        Option("momentum", 0.9, "Nesterov's, of SGD.", 0.001, 0.999),
        Option("weight_decay", 5e-4, "L2 penalty in SGD.", 0, 1),
        Option("memory_decay", 0.9999, "Of the averaged model that finds centroids.", 0, 1),
        Option(
            "small_weight",
            7.0,
            "Weight of a class that is small in a batch; an absent class approaches it by a tenth a"
            " step, and leaves it so.",
            0,
            1000,
        ),
        Option("small_size", 4096, "Pixels a patch below which it is small.", 0, 10**9, kind="int"),
        Option(
            "several_scales",
            True,
            "The source's labels are the largest of its probabilities summed over three sizes of a"
            " patch (1, 1.25, 0.75) and their mirror images.",
            kind="bool",
        ),
        choice(
            "importance",
            ("probability", "logit"),
            "1 - z2 / z1 of the two largest probabilities, as printed, or logits, as coded.",
        ),
        *COMMON_OPTIONS,
    ),
    entry="SFDALib.adaptation.iapc:adapt",
    adapts=True,
    looks=6,
)
IMPORTANCE, PROTOTYPE, SYMMETRIC, ENTROPY = 0.2, 0.5, 0.04, 2.0  # weights of the terms
ENTROPY_EPSILON = 1e-5
SCALES = (1.0, 1.25, 0.75)
IGNORED = 255


def adapt(
    model: Source,
    images: Sequence[Conformed],
    options: dict[str, Any],
    seed: int,
    progress: Progress,
) -> Adapted:
    from SFDALib.adaptation.common import loop

    return loop.run(model, images, options, seed, progress, recipe)


def recipe(setting: Setting) -> Recipe:
    """``L = .2 w v CE(z, y) + .5 v CE(z, y where the centroids agree, else 0) + .04 (CE(z, c) +
    CE(cos, z)) + 2 H(p)``, each the mean over all pixels, with the source's labels y, its
    importance w, the weights v of the classes, and the nearest centroids c.
    """
    import copy

    import torch

    from SFDALib.adaptation.common import features
    from SFDALib.adaptation.common.loop import Recipe
    from SFDALib.adaptation.common.losses import masked_cross_entropy, mean_entropy
    from SFDALib.networks.outputs import class_logits

    network, patches, options = setting.network, setting.patches, setting.options
    name = features.classifier(network, patches.batch([0]))
    memory = copy.deepcopy(network)
    source = setting.model.network
    scales = SCALES if options["several_scales"] else ()
    labels: list[Tensor] = []
    rarity = torch.ones(setting.model.description.classes)

    def begin(epoch: int) -> None:
        if epoch:
            return
        memory.load_state_dict(network.state_dict())  # settled or not, as the student starts
        rarity.fill_(1)
        if not labels:
            for indices in patches.ordered(options["batch"]):
                labels.extend(source_labels(setting, patches.batch(indices), scales).cpu())

    @torch.no_grad()
    def after_step() -> None:
        for kept, new in zip(memory.parameters(), network.parameters(), strict=True):
            kept.lerp_(new, 1 - options["memory_decay"])
        for kept, new in zip(memory.buffers(), network.buffers(), strict=True):
            kept.copy_(new)

    def centroids(images: Tensor) -> Tensor:
        """Of each class in each image, by the memory network, which is in the student's mode."""
        memory.train(network.training)
        kept, logits = features.forward(memory, name, images)
        z = class_logits(logits)
        return image_centroids(kept, resized_labels(z.argmax(1), kept), z.shape[1])

    def loss(indices: list[int]) -> Tensor:
        images, training = patches.batch(indices), torch.is_grad_enabled()
        with torch.no_grad():
            clear = class_logits(setting.logits(images, source))
            label = torch.stack([labels[index] for index in indices]).to(clear.device).long()
            weight = importance(clear, options["importance"])
            weights, absence = class_weights(
                label, rarity, options["small_size"], options["small_weight"]
            )
            if training:
                rarity.copy_(absence)
            pixels = weights.to(clear)[label]
            means = centroids(images)
        seen, logits = features.forward(network, name, images)
        z = class_logits(logits) / setting.temperature
        cosine = cosines(seen, means)
        nearest = resized_labels(cosine.detach().argmax(1), z)
        agreed = label.masked_fill(nearest != label, IGNORED)
        symmetric = masked_cross_entropy(z, nearest, IGNORED) + masked_cross_entropy(
            features.resized(cosine, z, "linear"), z.detach().argmax(1), IGNORED
        )
        share = (agreed != IGNORED).float().mean()  # of the pixels: the mean is over all of them
        return (
            IMPORTANCE * masked_cross_entropy(z, label, IGNORED, weight * pixels)
            + PROTOTYPE * share * masked_cross_entropy(z, agreed, IGNORED, pixels)
            + SYMMETRIC * symmetric
            + ENTROPY * mean_entropy(torch.softmax(z, 1), ENTROPY_EPSILON)
        )

    return Recipe(
        loss=loss,
        optimiser=torch.optim.SGD(
            features.with_head_rate(network, name, options["learning_rate"], options["head_rate"]),
            options["learning_rate"],
            momentum=options["momentum"],
            weight_decay=options["weight_decay"],
            nesterov=True,
        ),
        mode=lambda: network.train(options["bn"] == "train"),
        begin=begin,
        after_step=after_step,
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
    import torch

    counts = torch.bincount(label.flatten(), minlength=len(rarity)).cpu()
    small = torch.where(counts < small_size * len(label), small_weight, 1.0)
    renewed = 0.9 * rarity + 0.1 * torch.where(counts == 0, small_weight, 1.0)
    return small * renewed, renewed


def resized_labels(label: Tensor, like: Tensor) -> Tensor:
    """Labels (B, ...) at the resolution of others, nearest neighbour."""
    from SFDALib.adaptation.common.features import resized

    return resized(label[:, None].float(), like)[:, 0].long()


def source_labels(setting: Setting, images: Tensor, scales: Sequence[float]) -> Tensor:
    """Labels (B, ...) uint8 of the source: the largest of its probabilities, which are summed over
    images of these sizes, and over their mirror images; without sizes those of the images alone.

    Args:
        scales: factors of the size, of which the nearest that the network accepts is taken.
    """
    import torch
    import torch.nn.functional as F

    model, size = setting.model, images.shape[2:]
    mode = "bilinear" if len(size) == 2 else "trilinear"

    def probabilities(seen: Tensor) -> Tensor:
        p = setting.probabilities(seen, model.network)
        return F.interpolate(p, size, mode=mode, align_corners=False)

    def at(scale: float) -> Tensor:
        near = [max(round(n * scale / d), 1) * d for n, d in zip(size, model.divisor, strict=True)]
        return F.interpolate(images, near, mode=mode, align_corners=False)

    with torch.no_grad():
        seen = [at(scale) for scale in scales]
        total = sum(probabilities(x) + probabilities(x.flip(-1)).flip(-1) for x in seen)
        return (total if seen else probabilities(images)).argmax(1).byte()


def importance(logits: Tensor, of: str) -> Tensor:
    """``1 - z2 / z1`` of the two largest outputs ``(B, K, ...)`` of each pixel; ``(B, ...)``."""
    import torch

    top = (logits if of == "logit" else torch.softmax(logits, 1)).topk(2, dim=1).values
    return 1 - top[:, 1] / top[:, 0]


def image_centroids(seen: Tensor, label: Tensor, classes: int) -> Tensor:
    """Mean features of each class in each image, of length 1: ``(B, K, F)``; zeros if absent."""
    import torch
    import torch.nn.functional as F

    from SFDALib.adaptation.common.features import class_means

    one_hot = F.one_hot(label, classes).movedim(-1, 1)
    means = [class_means(seen[b : b + 1], one_hot[b : b + 1]) for b in range(len(seen))]
    return F.normalize(torch.stack(means), dim=2)


def cosines(seen: Tensor, centroids: Tensor) -> Tensor:
    """Cosine of every pixel's features with each centroid of its image, ``(B, K, ...)``."""
    import torch
    import torch.nn.functional as F

    flat = F.normalize(seen.flatten(2), dim=1)
    return torch.bmm(centroids, flat).view(len(seen), centroids.shape[1], *seen.shape[2:])
