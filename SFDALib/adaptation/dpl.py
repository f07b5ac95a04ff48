"""Denoised pseudo-labels: only pixels that dropout and prototypes agree on teach the model.

The original's one sigmoid a structure is the probability of each foreground class here, and salt is
bright (there, by an oversight, nearly black).
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
    name="dpl",
    title="Denoised pseudo-labels (DPL)",
    summary="Trains the model on its own predictions where they are stable and look alike.",
    paper="Chen, Liu, Jin, Dou, Heng. Source-free domain adaptive fundus image segmentation with"
    " denoised pseudo-labeling. MICCAI 2021",
    updates="all weights",
    needs=(),
    cost="one training pass over the images an epoch, and dropout_passes passes before",
    options=(
        *training_options(epochs=2, learning_rate=2e-3, batch=8),
        Option("dropout_passes", 10, "Passes with dropout.", 2, 1000, kind="int"),
        Option(
            "dropout",
            0.5,
            "Rate of the dropout of the features before the classifier, for networks that have no"
            " dropout of their own.",
            0,
            0.95,
        ),
        Option("confidence", 0.75, "Probability above which a pixel is labelled.", 0, 1),
        Option("uncertainty", 0.05, "Pixels whose deviation is larger teach nothing.", 0, 1),
        Option("gamma_max", 3.5, "Random gamma of half of the images, from 0.5.", 0.5, 10),
        Option("specks", 0.5, "Share of the images that get salt or pepper.", 0, 1),
        Option("erasing", 0.5, "Share of the images of which a rectangle is erased.", 0, 1),
        *COMMON_OPTIONS,
    ),
    entry="SFDALib.adaptation.dpl:adapt",
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
    """``L = sum m BCE(p, y) / sum m`` over pixels and foreground classes, m the trusted ones."""
    import torch

    from SFDALib.adaptation import features
    from SFDALib.adaptation.intensity import random_erasing, random_gamma, random_specks
    from SFDALib.adaptation.loop import Recipe
    from SFDALib.networks.catalogue import class_probabilities

    network, patches, options = setting.network, setting.patches, setting.options
    name = features.classifier(network, patches.batch([0]))
    taught: list[tuple[Tensor, Tensor]] = []

    def begin(epoch: int) -> None:
        if epoch:
            return
        network.eval()
        with torch.no_grad():
            parts = [
                _trusted(network, name, patches.batch(indices), options)
                for indices in patches.ordered(options["batch"])
            ]
        taught[:] = [(y.cpu(), m.cpu()) for part in parts for y, m in zip(*part, strict=True)]

    def loss(indices: list[int]) -> Tensor:
        y, mask = (
            torch.stack([taught[index][part] for index in indices]).to(setting.model.device)
            for part in (0, 1)
        )
        images = patches.batch(indices)
        if torch.is_grad_enabled():
            images = random_specks(images, options["specks"])
            images = random_gamma(images, 0.5, options["gamma_max"])
            images = random_erasing(images, options["erasing"])
        return masked_bce(class_probabilities(network(images).float())[:, 1:], y, mask)

    return Recipe(
        loss=loss,
        optimiser=torch.optim.Adam(
            network.parameters(), options["learning_rate"], betas=(0.9, 0.99)
        ),
        mode=lambda: network.train(options["bn"] == "train"),
        shuffle=False,
        begin=begin,
    )


def _trusted(network: nn.Module, name: str, images: Tensor, options: Any) -> tuple[Tensor, Tensor]:
    """Pseudo-labels and trust of a batch, bool ``(B, K-1, ...)``."""
    import torch

    from SFDALib.adaptation import features
    from SFDALib.networks.catalogue import class_probabilities

    means, spreads, seen = [], [], []
    with features.dropout(network, name, options["dropout"]):
        for _ in range(options["dropout_passes"]):
            before, logits = features.forward(network, name, images)
            means.append(class_probabilities(logits)[:, 1:])
            spreads.append(class_probabilities(logits / 2)[:, 1:])
            seen.append(before)
    p = torch.stack(means).mean(0)
    return denoised(
        p,
        torch.stack(spreads).std(0),
        torch.stack(seen).mean(0),
        **{key: options[key] for key in ("confidence", "uncertainty")},
    )


def denoised(
    p: Tensor, spread: Tensor, seen: Tensor, confidence: float, uncertainty: float
) -> tuple[Tensor, Tensor]:
    """Pseudo-labels ``p > confidence``, and where they are trusted: the spread is small, and the
    features lie nearer to the mean of the class that the label names than to the other's.

    Args:
        p, spread: (B, K-1, ...) mean and standard deviation over the passes.
        seen: (B, F, ...) mean features.
    """
    import torch

    from SFDALib.adaptation.features import class_means, resized

    label = p > confidence
    trusted = spread < uncertainty
    agrees = []
    for k in range(p.shape[1]):
        chance, kept, inside = p[:, k : k + 1], trusted[:, k : k + 1], label[:, k : k + 1]
        weights = torch.cat([(1 - chance) * kept * ~inside, chance * kept * inside], dim=1)
        means = class_means(seen, resized(weights, seen))
        flat = seen.movedim(1, -1)
        distance = [(flat - mean).square().sum(-1) for mean in means]
        nearer = resized((distance[1] < distance[0])[:, None].float(), p) > 0
        agrees.append(nearer == inside)
    return label, trusted & torch.cat(agrees, dim=1)


def masked_bce(p: Tensor, label: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy where the mask is; 0 where that is nowhere."""
    import torch

    from SFDALib.adaptation.losses import EPSILON

    each = -torch.log(torch.where(label, p, 1 - p) + EPSILON)
    return (each * mask).sum() / mask.sum().clamp(min=1)
