"""Self-training of early features: the deep network teaches its own first layers (UDAS).

Only the layers before the first down-sampling (level 0), or before the second (level 1), are
trained, so that a head on their features agrees with the final prediction on the target images.
The option ``calibrated`` divides the teacher's logits alone, so that the early prediction is not
taught to be less sure than the source was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
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
    from torch import Tensor, nn

    from SFDALib.adaptation.common.loop import Recipe, Setting
    from SFDALib.bundle.source import Source
    from SFDALib.methods.outcome import Adapted
    from SFDALib.volume.conform import Conformed

METHOD = Method(
    name="early-features",
    title="Early features (UDAS)",
    summary="Lets the deep part of the model teach its first layers what the new images look like.",
    paper="Sheikh, Schultz. Unsupervised domain adaptation for medical image segmentation via"
    " self-training of early features. MIDL 2022",
    updates="the layers before the first down-sampling (14,160 weights in the paper's network)",
    needs=("early-head",),
    cost="a few passes over the images; only the first layers are trained",
    options=(
        *training_options(epochs=50, learning_rate=1e-3, batch=20),
        choice(
            "layers",
            ("all", "last"),
            "Every layer before the head, or those of its level alone: with a head of level 1 on a"
            " bundle that was adapted at level 0, the paper's L1 then L2.",
        ),
        choice(
            "weights",
            ("all", "batch-norm"),
            "All weights of these layers, or scale and shift of batch normalisation (L1-BN).",
        ),
        Option(
            "detach_teacher",
            True,
            "Gradients stop at the teacher, as in the paper; the original code lets them through.",
            kind="bool",
        ),
        choice(
            "bn",
            ("train_all", "train_updated", "eval"),
            "Batch normalisation that uses and learns the target's statistics: everywhere (as the"
            " original code), in the trained layers alone, or nowhere.",
        ),
        SETTLE_BN,
        *LOOP_OPTIONS,
        Option(
            "stop_change",
            0.005,
            "Stops when the Dice between early and final prediction changes by less; 0: never.",
            0,
            1,
        ),
        choice(
            "stop_images",
            ("all", "batches"),
            "The stop rule's Dice over all images, or the original's mean over shuffled batches.",
        ),
        *INFERENCE_OPTIONS,
    ),
    entry="SFDALib.adaptation.early_features:adapt",
    adapts=True,
)


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
    """Train the layers before the head until the early and the final prediction agree."""
    import torch

    from SFDALib.adaptation.common.loop import Recipe

    model, network, options = setting.model, setting.network, setting.options
    level = model.description.early_head.level
    stages = model.early_stages(network, level)

    def loss(indices: list[int]) -> Tensor:
        batch = setting.patches.batch(indices)
        return refinement_loss(
            *(network, stages, model.early_head, batch, options["detach_teacher"]),
            setting.temperature,
        )

    def measures(delivered: nn.Module) -> dict[str, float]:
        return {"agreement": _agreement(setting, delivered, model.early_stages(delivered, level))}

    def stop(curves: Mapping[str, list[float]]) -> str | None:
        before, now = curves["agreement"][-2:]
        if abs(now - before) >= options["stop_change"]:
            return None
        return (
            f"early and final prediction agree to a Dice of {now:.3f}, which changed by less than"
            f" {options['stop_change']:g}"
        )

    return Recipe(
        loss=loss,
        optimiser=torch.optim.Adam(
            _trained(stages[-1:] if options["layers"] == "last" else stages, options["weights"]),
            options["learning_rate"],
        ),
        mode=lambda: set_mode(network, stages, options["bn"]),
        drop_last=True,
        measures=measures,
        stop=stop,
    )


def _trained(stages: Sequence[nn.Module], weights: str) -> list[nn.Parameter]:
    from SFDALib.adaptation.common.batch_norm import affine_parameters

    if weights == "batch-norm":
        return [p for stage in stages for p in affine_parameters(stage)]
    return [p for stage in stages for p in stage.parameters()]


def set_mode(network: nn.Module, stages: Sequence[nn.Module], bn: str) -> None:
    """Put batch normalisation into the mode that the option ``bn`` names."""
    network.train(bn == "train_all")
    if bn == "train_updated":
        for stage in stages:
            stage.train()


def early_logits(stages: Sequence[nn.Module], head: nn.Module, images: Tensor) -> Tensor:
    """The head's logits at the images' resolution."""
    from SFDALib.networks.outputs import at_resolution

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
    import torch

    from SFDALib.adaptation.common.losses import soft_cross_entropy

    early = early_logits(stages, head, images)
    with torch.set_grad_enabled(not detach_teacher):
        final = network(images) / temperature
        teacher = torch.sigmoid(final) if final.shape[1] == 1 else torch.softmax(final, dim=1)
    return soft_cross_entropy(early, teacher)


def _agreement(setting: Setting, network: nn.Module, stages: Sequence[nn.Module]) -> float:
    """Dice between the hard early and final predictions: of all patches together, or the mean over
    shuffled batches without the last incomplete one.
    """
    import torch

    from SFDALib.networks.outputs import class_probabilities

    model, patches, batch = setting.model, setting.patches, setting.options["batch"]
    by_batch = setting.options["stop_images"] == "batches"
    batches = (
        patches.shuffled(batch, setting.rng, drop_last=True)
        if by_batch
        else list(patches.ordered(batch))
    )
    pairs = []
    with torch.no_grad():
        for indices in batches:
            images = patches.batch(indices)
            early = class_probabilities(early_logits(stages, model.early_head, images)).argmax(1)
            final = class_probabilities(network(images)).argmax(1)
            pairs.append((early.cpu(), final.cpu()))
    if not by_batch:
        pairs = [tuple(torch.cat(side) for side in zip(*pairs, strict=True))]
    values = [mask_dice(early, final, model.description.classes) for early, final in pairs]
    return float(sum(values) / len(values))


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
