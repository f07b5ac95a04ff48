"""Uncertainty-aware pseudo-labels from several decoders under rotation (UPL-SFDA).

The original averages its decoders to predict; here the unrotated one is delivered, so that the
adapted model is a model like the source's.

On the demo's T2W head (Testing/Benchmarks/methods.json) it delivers batch statistics, Dice 0.839
from 0.231: four epochs at 1e-5 reach 0.868 and one at 1e-4 even 0.925, but the entropy, and at 1e-4
the volume, then speak against them, so that the watch, which sees no reference, lets them go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from SFDALib.method import COMMON_OPTIONS, Method, Option, training_options
from SFDALib.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor, nn

    from SFDALib.adaptation.loop import Recipe, Setting
    from SFDALib.bundle.source import Source
    from SFDALib.outcome import Adapted
    from SFDALib.volume.grid import Conformed

METHOD = Method(
    name="upl",
    title="UPL-SFDA",
    summary="Trains the model where its copies agree that see the image turned.",
    paper="Wu, Wang, Gu, Lu, Chen, Zhu, Vercauteren, Ourselin, Zhang. UPL-SFDA: uncertainty-aware"
    " pseudo label guided source-free domain adaptation for medical image segmentation. IEEE TMI"
    " 2023",
    updates="all weights",
    needs=(),
    cost="one training pass over the images for each decoder an epoch",
    options=(
        *training_options(epochs=10, learning_rate=1e-5, batch=10),
        Option("decoders", 4, "Copies of the decoder, each with its rotation.", 1, 4, kind="int"),
        Option("threshold", 0.95, "Mean probability above which a pixel is labelled.", 0, 1),
        Option(
            "largest_component",
            True,
            "Keep of each label in a patch the largest connected part alone.",
            kind="bool",
        ),
        Option("dropout", 0.5, "Of features before the classifier, in training.", 0, 0.95),
        *COMMON_OPTIONS,
    ),
    entry="SFDALib.adaptation.upl:adapt",
    adapts=True,
)


def adapt(
    model: Source,
    images: Sequence[Conformed],
    options: dict[str, Any],
    seed: int,
    progress: Progress,
) -> Adapted:
    from SFDALib.adaptation import loop

    return loop.run(model, images, options, seed, progress, recipe)


def recipe(setting: Setting) -> Recipe:
    """``L = mean_d DiceLoss(p_d, PL) + H(M)`` with M the mean of the decoders' probabilities."""
    import torch

    from SFDALib.adaptation import features
    from SFDALib.adaptation.loop import Recipe
    from SFDALib.networks.catalogue import class_probabilities

    options, network = setting.options, setting.network
    networks = [network, *_siblings(setting, options["decoders"] - 1)]
    name = features.classifier(network, setting.patches.batch([0]))

    def probabilities(copy_: nn.Module, images: Tensor, turns: int) -> Tensor:
        logits = copy_(torch.rot90(images, turns, (-2, -1)))
        return class_probabilities(torch.rot90(logits, -turns, (-2, -1)).float())

    def loss(indices: list[int]) -> Tensor:
        images = setting.patches.batch(indices)
        each = []
        for turns, one in enumerate(networks):
            if torch.is_grad_enabled() and options["dropout"]:
                with features.dropout(one, name, options["dropout"]):
                    each.append(probabilities(one, images, turns))
            else:
                each.append(probabilities(one, images, turns))
        mean = torch.stack(each).mean(0)
        label = (mean.detach() > options["threshold"]).float()
        if options["largest_component"]:
            label = _largest_parts(label)
        return sum(masked_dice_loss(p, label) for p in each) / len(each) + entropy_bits(mean)

    def mode() -> None:
        for one in networks:
            one.train(options["bn"] == "train")

    parameters = {id(p): p for one in networks for p in one.parameters()}
    shared = {id(p) for part in setting.model.encoder(network) for p in part.parameters()}
    rate = options["learning_rate"]
    groups = [
        {"params": [p for key, p in parameters.items() if (key in shared) == inside], "betas": b}
        for inside, b in ((True, (0.9, 0.999)), (False, (0.5, 0.999)))
    ]
    optimiser = torch.optim.Adam([group for group in groups if group["params"]], rate)
    return Recipe(loss=loss, optimiser=optimiser, mode=mode)


def _siblings(setting: Setting, count: int) -> list[nn.Module]:
    """Copies of the network that share its encoder."""
    import copy

    shared = {id(part): part for part in setting.model.encoder(setting.network)}
    return [copy.deepcopy(setting.network, dict(shared)) for _ in range(count)]


def _largest_parts(label: Tensor) -> Tensor:
    """Of each class ``(B, K, ...)`` the largest part, connected by faces, the background's too."""
    import torch
    from skimage.measure import label as components

    kept = label.cpu().numpy()
    for image in kept:
        for mask in image:
            parts = components(mask > 0, connectivity=1)
            if parts.max() > 1:
                sizes = torch.bincount(torch.from_numpy(parts).flatten())
                mask *= parts == 1 + int(sizes[1:].argmax())
    return torch.from_numpy(kept).to(label.device)


def masked_dice_loss(p: Tensor, label: Tensor, smooth: float = 1e-4) -> Tensor:
    """Mean over the classes of ``1 - (2 sum q y + s) / (sum q^2 + sum y^2 + s)`` with ``q = p y``:
    a prediction beyond the label costs nothing.
    """
    from SFDALib.adaptation.losses import soft_dice

    return 1 - soft_dice(p * label, label, smooth)


def entropy_bits(p: Tensor) -> Tensor:
    """``-sum p log2 p / (B K x)``, the mean over the classes, too."""
    import torch

    from SFDALib.adaptation.losses import EPSILON

    return -(p * torch.log2(p + EPSILON)).mean()
