"""MuVi: self-training of a 3D network with three views of one volume.

The views are cyclic permutations of the axes: the volume as the model knows it, and with each of
the two other planes in the place of its slices.

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
over the views, so that it is a model like the source's, and the best state by ``watch``.

Measured so far on one hippocampus with a simulated shift (gamma, bias field, noise), where the last
state loses 1.5 to 3 Dice points of the source's 0.85 and the watch delivers the source instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from SFDALib.methods.method import (
    INFERENCE_OPTIONS,
    LOOP_OPTIONS,
    SETTLE_BN,
    Method,
    Option,
    choice,
    training_options,
)
from SFDALib.progress import Progress

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from SFDALib.adaptation.common.loop import Recipe, Setting
    from SFDALib.bundle.source import Source
    from SFDALib.methods.outcome import Adapted
    from SFDALib.volume.conform import Conformed

METHOD = Method(
    name="muvi",
    title="MuVi",
    summary="Learns from what the model is sure of when it looks at the volume from three sides.",
    paper="Joshi et al. Single image test-time adaptation via multi-view co-training. MICCAI 2025,"
    " arXiv 2506.23705",
    updates="all weights",
    needs=("3d",),
    cost="three predictions, and three training passes over the overlapping windows an epoch",
    options=(
        *training_options(epochs=1, learning_rate=1e-3, batch=1, optimiser="SGD"),
        Option("momentum", 0.99, "Of SGD (Nesterov).", 0, 0.9999),
        Option("weight_decay", 3e-5, "L2 penalty in SGD.", 0, 1),
        Option("clip", 12.0, "Largest norm of a step's gradient.", 1e-6, 1e6),
        Option(
            "threshold",
            0.4,
            "Entropy in nats up to which the first view labels a voxel; higher labels more, and"
            " more that is wrong.",
            0,
            10,
        ),
        Option("threshold_other", 0.2, "The same of the two other views.", 0, 10),
        Option(
            "feature_weight",
            1.0,
            "Weight of the distance between the views' deepest features; 0: off, in effect as in"
            " the released code.",
            0,
            1000,
        ),
        Option(
            "consistency_weight",
            1.0,
            "Weight of the loss of the other views to the first one's labels; 0: off.",
            0,
            1000,
        ),
        choice(
            "bn",
            ("eval", "train"),
            "Batch normalisation by the running statistics, as published, or by each batch's.",
        ),
        SETTLE_BN,
        *LOOP_OPTIONS,
        *INFERENCE_OPTIONS,
    ),
    entry="SFDALib.adaptation.muvi:adapt",
    adapts=True,
    views=3,
    looks=6,
    sliding=True,
)
SETTLED_BY = 8  # patches; the original re-estimates no statistics
VIEWS = ((0, 1, 2), (2, 0, 1), (1, 2, 0))  # the axes (k, j, i) in the order of each view


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
    """``L = sum_v D(p_v, y) + sum_{v > 0} a (1 - cos(f_0, f_v)) + c D(p_v, argmax p_0)`` with D
    Dice and cross-entropy, y the pseudo-label and f the deepest features.
    """
    import torch

    from SFDALib.adaptation.common import views
    from SFDALib.adaptation.common.loop import Recipe
    from SFDALib.adaptation.common.patches import TargetPatches
    from SFDALib.networks.outputs import class_logits

    network, options, model = setting.network, setting.options, setting.model
    features, consistency = options["feature_weight"], options["consistency_weight"]
    arrays = [image.array for image in setting.images]
    patches = TargetPatches(model, arrays, options["overlap"])
    labels: list[TargetPatches] = []
    deepest = views.deepest(network, patches.batch([0]))

    def begin(epoch: int) -> None:
        if epoch == 0:
            labels[:] = [TargetPatches(model, _pseudo_labels(setting), options["overlap"])]

    def loss(indices: list[int]) -> Tensor:
        images, target = patches.batch(indices), labels[0].batch(indices)[:, 0].long()
        seen = []
        for order in VIEWS:
            logits, deep = views.turned(network, images, order, model.divisor, deepest)
            seen.append((class_logits(logits.float() / setting.temperature), deep))
        total = sum(dice_ce(logits, target) for logits, _ in seen)
        (first, first_deep), *others = seen
        for logits, deep in others:
            total = total + features * views.cosine_distance(first_deep, deep)
            total = total + consistency * dice_ce(logits, first.argmax(1))
        return total

    return Recipe(
        loss=loss,
        optimiser=torch.optim.SGD(
            network.parameters(),
            options["learning_rate"],
            momentum=options["momentum"],
            weight_decay=options["weight_decay"],
            nesterov=options["momentum"] > 0,
        ),
        mode=lambda: network.train(options["bn"] == "train"),
        patches=patches,
        shuffle=False,
        clip=options["clip"],
        settled_by=SETTLED_BY,
        begin=begin,
    )


def dice_ce(logits: Tensor, labels: Tensor, smooth: float = 1e-5) -> Tensor:
    """nnU-Net's loss: mean cross-entropy, less the mean Dice of the foreground classes of each
    image, ``(2 sum p y + s) / (sum p + sum y + s)``.

    Args:
        logits: (B, K, ...).
        labels: (B, ...) whole numbers.
    """
    import torch.nn.functional as F

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
    import torch

    label = torch.zeros_like(predictions[0][0], dtype=torch.uint8)
    best = torch.full_like(predictions[0][0], torch.inf, dtype=torch.float32)
    for p, threshold in zip(predictions, thresholds, strict=True):
        entropy, winner = torch.special.entr(p).sum(0).float(), p.argmax(0).to(torch.uint8)
        sure = (winner > 0) & (entropy <= threshold) & (entropy < best)
        label[sure], best[sure] = winner[sure], entropy[sure]
    return label


def _pseudo_labels(setting: Setting) -> list[np.ndarray]:
    """Of each image, (1, k, j, i) for ``TargetPatches``, by the network as it is now."""
    from dataclasses import replace

    import numpy as np

    from SFDALib.adaptation.common import views
    from SFDALib.inference.predict import predict

    options = setting.options
    thresholds = (options["threshold"], *[options["threshold_other"]] * 2)
    description = replace(setting.model.description, temperature=setting.temperature)
    model = replace(setting.model, description=description)
    found = []
    for image in setting.images:
        predictions = []
        for order in VIEWS:
            seen = np.ascontiguousarray(image.array.transpose(0, *(1 + axis for axis in order)))
            p = predict(model, seen, options, network=setting.network)
            predictions.append(views.permuted(p, views.back(order)))
        found.append(pseudo_label(predictions, thresholds)[None].cpu().numpy().astype(np.float32))
    return found
