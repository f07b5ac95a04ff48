"""Rounds of pseudo-labels and training on them: what self-training and CBST share.

Thresholds, portions, optimiser and mirroring are those of CRST's code (Zou, Yu, Liu, Kumar, Wang.
Confidence regularized self-training. ICCV 2019), and so are the two regularisers, off as in CBST.
Left out: the source images that it mixes in (source portion 0), random crops and scales of the
patches, and the mining of rare classes, which wants source labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from SFDALib.methods.method import COMMON_OPTIONS, Option, training_options
from SFDALib.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

    from SFDALib.adaptation.common.loop import Recipe, Setting
    from SFDALib.bundle.source import Source
    from SFDALib.methods.outcome import Adapted
    from SFDALib.volume.conform import Conformed

OPTIONS = (
    Option("rounds", 4, "Times that the pseudo-labels are made anew.", 1, 1000, kind="int"),
    Option("epochs", 2, "Passes over the target images in a round.", 1, 10000, kind="int"),
    *training_options(epochs=2, learning_rate=5e-5, batch=2, optimiser="SGD")[1:],
    Option("head_rate", 10.0, "Factor of the classifier's learning rate.", 0, 1000),
    Option("momentum", 0.9, "Of SGD.", 0, 0.999),
    Option("weight_decay", 5e-4, "L2 penalty in SGD.", 0, 1),
    Option("portion", 0.2, "Share of the pixels that the first round labels.", 0, 1),
    Option("portion_step", 0.05, "Growth of that share a round.", 0, 1),
    Option("portion_max", 0.5, "Largest share.", 0, 1),
    Option("stride", 4, "One pixel of so many counts for the thresholds.", 1, 1000, kind="int"),
    Option(
        "flips",
        0.5,
        "Share of the patches that are mirrored left to right in training, with their labels; none"
        " where the bundle says that its model may not be mirrored so.",
        0,
        1,
    ),
    Option(
        "kld_weight",
        0.0,
        "Weight of a pull of the labelled pixels towards equal probabilities (MRKLD of CRST, there"
        " 0.1); 0: off.",
        0,
        100,
    ),
    Option(
        "entropy_weight",
        0.0,
        "Softens the labels, the more the larger it is (LRENT of CRST, there 0.25); 0: off.",
        0,
        100,
    ),
    *COMMON_OPTIONS,
)
IGNORED = 255


def train(
    model: Source,
    images: Sequence[Conformed],
    options: dict[str, Any],
    seed: int,
    progress: Progress,
    by_class: bool,
) -> Adapted:
    """Adapt a copy of the model's network; thresholds of each class, or one for all."""
    from functools import partial

    from SFDALib.adaptation.common import loop

    method = partial(recipe, by_class=by_class)
    return loop.run(model, images, options, seed, progress, method)


def recipe(setting: Setting, by_class: bool) -> Recipe:
    """Cross-entropy with the pseudo-labels of the round, and a pull towards equal probabilities."""
    import torch

    from SFDALib.adaptation.common import features
    from SFDALib.adaptation.common.loop import Recipe
    from SFDALib.adaptation.common.losses import (
        masked_cross_entropy,
        masked_soft_cross_entropy,
        uniform_cross_entropy,
    )

    network, patches, options = setting.network, setting.patches, setting.options
    soft, pull = options["entropy_weight"] > 0, options["kld_weight"]
    targets: list[Tensor] = []

    def begin(epoch: int) -> None:
        if epoch % options["epochs"]:
            return
        portion = options["portion"] + options["portion_step"] * (epoch // options["epochs"])
        portion = min(portion, options["portion_max"])
        targets[:] = _labels(setting, portion, by_class)

    def loss(indices: list[int]) -> Tensor:
        target = torch.stack([targets[index] for index in indices]).to(setting.model.device)
        images = patches.batch(indices)
        if torch.is_grad_enabled() and mirrors:
            mirrored = torch.rand(len(images)) < options["flips"]
            images, target = (_mirrored(x, mirrored) for x in (images, target))
        logits = setting.logits(images)
        if soft:
            value = masked_soft_cross_entropy(logits, target.float())
        else:
            value = masked_cross_entropy(logits, target.long(), IGNORED)
        labelled = target.sum(1) > 0 if soft else target != IGNORED
        return value + pull * uniform_cross_entropy(logits, labelled) if pull else value

    axes = setting.model.description.mirror_axes
    mirrors = axes is None or setting.model.description.spatial_dims - 1 in axes
    name = features.classifier(network, patches.batch([0]))
    return Recipe(
        loss=loss,
        optimiser=torch.optim.SGD(
            features.with_head_rate(network, name, options["learning_rate"], options["head_rate"]),
            options["learning_rate"],
            momentum=options["momentum"],
            weight_decay=options["weight_decay"],
        ),
        mode=lambda: network.train(options["bn"] == "train"),
        epochs=options["rounds"] * options["epochs"],
        begin=begin,
    )


def _mirrored(batch: Tensor, which: Tensor) -> Tensor:
    """The batch with these of its items mirrored along the last axis."""
    import torch

    each = which.view(-1, *[1] * (batch.ndim - 1)).to(batch.device)
    return torch.where(each, batch.flip(-1), batch)


def _labels(setting: Setting, portion: float, by_class: bool) -> list[Tensor]:
    """The pseudo-labels of every patch, on the CPU: ``([k,] j, i)`` uint8, or where they are soft
    ``(K, [k,] j, i)`` float16.
    """
    import torch

    network, patches = setting.network, setting.patches
    network.eval()

    def predictions() -> Any:
        for index in range(len(patches)):  # one by one: the rest of the memory is the training's
            yield setting.probabilities(patches.batch([index]))

    with torch.no_grad():
        best = [p.max(dim=1) for p in predictions()]
        stride = setting.options["stride"]
        confidence = torch.cat([b.values.flatten()[::stride].cpu() for b in best])
        winner = torch.cat([b.indices.flatten()[::stride].cpu() for b in best])
        classes = setting.model.description.classes
        limits = thresholds(confidence, winner if by_class else None, classes, portion)
        soft = setting.options["entropy_weight"]
        return [
            (soft_label(p, limits, soft).half() if soft else pseudo_label(p, limits))[0].cpu()
            for p in predictions()
        ]


def thresholds(confidence: Tensor, winner: Tensor | None, classes: int, portion: float) -> Tensor:
    """Confidences ``(K,)`` above which a pixel is labelled: those of the ``floor(n portion)``-th
    most confident of the class's n pixels, 1 where that is none.

    Args:
        confidence: (N,) largest probability of each pixel.
        winner: (N,) its class; None for one threshold from all pixels together.
    """
    import torch

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
    from SFDALib.adaptation.common.losses import EPSILON

    ratio = _over_thresholds(p, limits)
    label = ((ratio + EPSILON).log() / weight).softmax(dim=1)
    return label * (ratio.amax(dim=1, keepdim=True) >= 1)
