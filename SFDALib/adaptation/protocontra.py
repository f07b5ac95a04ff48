"""Prototype-anchored feature alignment, and contrastive learning after it (ProtoContra).

First stage: the classifier's weights stand for the source's features of each class; the target's
are drawn to them in both directions. Second stage, off unless asked for, see ``contrast``: its
negatives are pixels where a class ranks third to fifth, of which a model of two classes has none.

Other than in the original, whose freezing of the classifier has no effect, it is frozen; and the
learning rate falls with every epoch (there with every evaluation, of which it has one in 5 steps).
Its weak augmentation is an option: on the demo's T2W head the Dice after two epochs is 0.898
without and 0.849 with it, on a heart 0.797 and 0.801.
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
    name="protocontra",
    title="ProtoContra",
    summary="Draws the features of the new images to what the model takes for typical of each"
    " structure.",
    paper="Yu, Xi, Yuan, Zhou, Dang, Ding. Source-free domain adaptation for medical image"
    " segmentation via prototype-anchored feature alignment and contrastive learning. MICCAI"
    " 2023",
    updates="all weights but the classifier's",
    needs=(),
    cost="one training pass over the images an epoch",
    options=(
        *training_options(epochs=5, learning_rate=1e-4, batch=16),
        Option("weight_decay", 5e-4, "L2 penalty in Adam.", 0, 1),
        Option(
            "lr_decay",
            0.8,
            "Factor of the learning rate an epoch of the alignment; of the contrast it is .95 every"
            " second one.",
            0,
            1,
        ),
        Option(
            "temperature",
            0.1,
            "Divides the similarities of the assignments, and the cosines of the contrast.",
            1e-3,
            100,
        ),
        choice(
            "similarity",
            ("logits", "product"),
            "Of a pixel with each prototype: its logits, or the product of its features with the"
            " prototype, as coded. They differ by the classifier's bias, of which the original's"
            " network has none; where there is one, without it a class may be nowhere.",
        ),
        Option(
            "augment",
            False,
            "Weak augmentation in training, as published, each change of a quarter of the images:"
            " crops of 90 % of the area, shifts of 6 %, scales of 5 %, rotations of 15 degrees,"
            " brightness and contrast by 20 %, gamma from .6 to 1.4. Off, as on one volume the"
            " changed images enter the batch statistics.",
            kind="bool",
        ),
        Option("proportion_momentum", 0.001, "Share of a step in the class proportions.", 0, 1),
        Option(
            "stages",
            1,
            "1: alignment; 2: as published, as many epochs of contrastive learning after it, which"
            " needs a model of two or more structures.",
            1,
            2,
            kind="int",
        ),
        Option(
            "pseudo_weight",
            0.0,
            "Weight, in the contrast, of a cross-entropy with the aligned model's labels, without"
            " the fifth of each class that it is least sure of; 0: off, as published.",
            0,
            100,
        ),
        *COMMON_OPTIONS,
    ),
    entry="SFDALib.adaptation.protocontra:adapt",
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
    """``L = target to prototypes + prototypes to target``, see ``alignment``; then ``Contrast``.

    Raises:
        RequestError: contrastive learning of a model of two classes.
    """
    import torch

    from SFDALib.adaptation.common import features
    from SFDALib.adaptation.common.augmentation import weak
    from SFDALib.adaptation.common.contrast import Contrast
    from SFDALib.adaptation.common.loop import Recipe
    from SFDALib.bundle import assembly
    from SFDALib.errors import RequestError

    network, patches, options = setting.network, setting.patches, setting.options
    epochs, stages = options["epochs"], options["stages"]
    if stages > 1 and setting.model.description.classes < 3:
        raise RequestError(
            "option stages: found 2 for a model of one structure, expected two or more structures,"
            " as negatives are pixels where a class ranks third; leave it at 1"
        )
    base, class_logits = assembly.split(network)
    some = patches.batch([0])
    name = features.classifier(network, some)
    mu = features.prototypes(network, name, some).detach()
    proportions = torch.full((len(mu),), 1 / len(mu), device=mu.device)
    frozen = {id(p) for p in features.head_parameters(network, name, some)}
    contrast: list[Contrast] = []

    def begin(epoch: int) -> None:
        if epoch != epochs:
            return
        optimiser.state.clear()  # a new Adam
        steps = epochs * -(-len(patches) // options["batch"])
        contrast.append(
            Contrast(
                *(network, name, steps, options["temperature"]),
                calibration=setting.temperature,
                pseudo_weight=options["pseudo_weight"],
            )
        )

    def similarities(seen: Tensor, outputs: Tensor) -> Tensor:
        """(K, N), over the temperatures."""
        if options["similarity"] == "product":
            each = mu @ seen.transpose(0, 1).flatten(1)
        else:
            flat = features.resized(outputs, seen).transpose(0, 1).flatten(1)
            each = assembly.membership(network, len(flat)).to(flat) @ flat
        return each / setting.temperature / options["temperature"]

    def loss(indices: list[int]) -> Tensor:
        images = patches.batch(indices)
        training = torch.is_grad_enabled()
        if training and options["augment"]:
            images = weak(images)
        seen, outputs = features.forward(base, name, images)
        if contrast:
            return contrast[0].loss(images, seen, class_logits(outputs))
        sim = similarities(seen, outputs)
        if training:
            with torch.no_grad():
                now = assignment(sim, proportions).mean(1)
                proportions.lerp_(now, options["proportion_momentum"])
        return alignment(seen.transpose(0, 1).flatten(1), mu, sim, proportions)

    def rate(epoch: int) -> float:
        return options["lr_decay"] ** epoch if epoch < epochs else 0.95 ** ((epoch - epochs) // 2)

    optimiser = torch.optim.Adam(
        [p for p in network.parameters() if id(p) not in frozen],
        options["learning_rate"],
        weight_decay=options["weight_decay"],
    )
    return Recipe(
        loss=loss,
        optimiser=optimiser,
        mode=lambda: network.train(options["bn"] == "train"),
        epochs=stages * epochs,
        begin=begin,
        rate=rate,
    )


def assignment(sim: Tensor, proportions: Tensor) -> Tensor:
    """Of every pixel to the prototypes, ``softmax_k(sim + log pi)`` (K, N)."""
    import torch

    return torch.softmax(sim + (proportions + 1e-6).log()[:, None], dim=0)


def alignment(seen: Tensor, mu: Tensor, sim: Tensor, proportions: Tensor) -> Tensor:
    """With ``d = (1 - cos(mu_k, f_n)) / 2``:

    ``mean_n sum_k d softmax_k(sim + log pi) + sum_k pi_k sum_n d softmax_n(sim)``

    Args:
        seen: features (F, N).
        mu: prototypes (K, F).
        sim: similarities over the temperature (K, N).
        proportions: pi (K,).
    """
    import torch
    import torch.nn.functional as F

    distance = (1 - F.normalize(mu, dim=1) @ F.normalize(seen, dim=0)) / 2
    to_prototypes = assignment(sim, proportions)
    to_target = torch.softmax(sim, dim=1)
    return (distance * to_prototypes).sum(0).mean() + (
        proportions * (distance * to_target).sum(1)
    ).sum()
