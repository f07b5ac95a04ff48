"""Denoised pseudo-labels: the model is trained on pixels that dropout and prototypes agree on.

Other than in the original: its one sigmoid a structure is the probability of each foreground class
here; salt is bright (there, by an oversight, nearly black); and what is delivered is the most
likely class by running statistics, so that the adapted model is one like the source's (there a
structure is where p > .75 by the statistics of each image).

The published rate of 2e-3 is too high for one volume: on the demo's two heads it collapses, and is
stopped; on a heart it leads from 0.795 to 0.665, where 1e-4 reaches 0.800.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from SFDALib.methods.method import COMMON_OPTIONS, Method, Option, training_options
from SFDALib.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

    from SFDALib.adaptation.common.loop import Recipe, Setting
    from SFDALib.bundle.source import Source
    from SFDALib.methods.outcome import Adapted
    from SFDALib.volume.conform import Conformed

METHOD = Method(
    name="dpl",
    title="Denoised pseudo-labels (DPL)",
    summary="Trains the model on its own predictions where they are stable and look alike.",
    paper="Chen, Liu, Jin, Dou, Heng. Source-free domain adaptive fundus image segmentation with"
    " denoised pseudo-labeling. MICCAI 2021",
    updates="all weights",
    needs=(),
    cost="one training pass over the images an epoch; before, dropout_passes passes for each of at"
    " most six rates of dropout",
    options=(
        *training_options(epochs=2, learning_rate=2e-3, batch=8),
        Option("dropout_passes", 10, "Passes with dropout.", 2, 1000, kind="int"),
        Option(
            "dropout",
            None,
            "Rate of the dropout of the features before the classifier, for networks that have no"
            " dropout of their own (the original's has, of .5); none: the largest of .5, .2, .1,"
            " .05, .02 and .01 that leaves half of the labelled pixels of every structure trusted.",
            0,
            0.95,
            optional=True,
        ),
        Option("confidence", 0.75, "Probability above which a pixel is labelled.", 0, 1),
        Option(
            "uncertainty",
            0.05,
            "Pixels whose standard deviation over the dropout passes is larger are ignored.",
            0,
            1,
        ),
        Option(
            "gamma_max",
            3.5,
            "Half of the images are raised to 1/g, with g from 0.5 to this.",
            0.5,
            10,
        ),
        Option("specks", 0.5, "Share of the images that get salt or pepper.", 0, 1),
        Option("erasing", 0.5, "Share of the images of which a rectangle is erased.", 0, 1),
        *COMMON_OPTIONS,
    ),
    entry="SFDALib.adaptation.dpl:adapt",
    adapts=True,
    looks=20,
)
RATES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
ENOUGH = 0.5  # of the labelled pixels of a structure


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
    """``L = sum m BCE(p, y) / sum m`` over pixels and foreground classes, m the trusted ones."""
    import torch

    from SFDALib.adaptation.common import features
    from SFDALib.adaptation.common.intensity_noise import (
        random_erasing,
        random_gamma,
        random_specks,
    )
    from SFDALib.adaptation.common.loop import Recipe

    network, patches, options = setting.network, setting.patches, setting.options
    name = features.classifier(network, patches.batch([0]))
    taught: list[tuple[Tensor, Tensor]] = []
    notes: list[str] = []

    def begin(epoch: int) -> None:
        if epoch:
            return
        rates = RATES if options["dropout"] is None else (options["dropout"],)
        if features.has_dropout(network):
            rates = (0.0,)  # of no effect
        taught[:], notes[:] = _chosen(setting, name, rates)

    def loss(indices: list[int]) -> Tensor:
        y, mask = (
            torch.stack([taught[index][part] for index in indices]).to(setting.model.device)
            for part in (0, 1)
        )
        images = patches.batch(indices)
        if torch.is_grad_enabled():
            images = random_specks(images, options["specks"])
            images = random_gamma(images, 0.5, options["gamma_max"], inverse=True)
            images = random_erasing(images, options["erasing"])
        return masked_bce(setting.probabilities(images)[:, 1:], y, mask)

    return Recipe(
        loss=loss,
        optimiser=torch.optim.Adam(
            network.parameters(), options["learning_rate"], betas=(0.9, 0.99)
        ),
        mode=lambda: network.train(options["bn"] == "train"),
        shuffle=False,
        begin=begin,
        notes=notes,
    )


def _chosen(
    setting: Setting, name: str, rates: Sequence[float]
) -> tuple[list[tuple[Tensor, Tensor]], list[str]]:
    """Pseudo-labels and trust of every patch by the first rate of dropout that leaves enough of
    them, by the last if none does; and what to say of them.
    """
    for rate in rates:
        taught = _labels(setting, name, rate)
        kept = trusted_share(taught)
        if all(share is None or share >= ENOUGH for share in kept):
            break
    labels = setting.model.description.labels
    found = [
        f"{label.name} {'unlabelled' if share is None else f'{share:.0%}'}"
        for label, share in zip(labels, kept, strict=True)
    ]
    by = f"dropout {rate:g}" if rate else "the network's own dropout"
    notes = [f"labelled pixels that are trusted, by {by}: {', '.join(found)}"]
    empty = [label.name for label, share in zip(labels, kept, strict=True) if not share]
    if empty:
        notes.append(
            f"no trusted pixel of {', '.join(empty)}: training can only take from them; lower"
            " --option confidence or raise --option uncertainty"
        )
    return taught, notes


def trusted_share(taught: Sequence[tuple[Tensor, Tensor]]) -> list[float | None]:
    """Of each foreground class the share of its labelled pixels that are trusted; None without any.

    Args:
        taught: labels and trust of every patch, bool ``(K-1, ...)``.
    """
    import torch

    labelled = torch.stack([y.flatten(1).sum(1) for y, _ in taught]).sum(0)
    trusted = torch.stack([(y & mask).flatten(1).sum(1) for y, mask in taught]).sum(0)
    return [float(t / n) if n else None for t, n in zip(trusted, labelled, strict=True)]


def _labels(setting: Setting, name: str, rate: float) -> list[tuple[Tensor, Tensor]]:
    """Pseudo-labels and trust of every patch, on the CPU.

    As in the original by the statistics of each batch, with the option ``bn`` its training has;
    the running ones stay as they were, as its training starts from the source again.
    """
    import torch

    network, options = setting.network, setting.options
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    network.train(options["bn"] == "train")
    taught: list[tuple[Tensor, Tensor]] = []
    with torch.no_grad():
        for indices in setting.patches.ordered(options["batch"]):
            parts = _trusted(setting, name, setting.patches.batch(indices), rate)
            taught += [(y.cpu(), mask.cpu()) for y, mask in zip(*parts, strict=True)]
        for buffer_name, buffer in network.named_buffers():
            buffer.copy_(before[buffer_name])
    network.eval()
    return taught


def _trusted(setting: Setting, name: str, images: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    """Pseudo-labels and trust of a batch, bool ``(B, K-1, ...)``."""
    import torch

    from SFDALib.adaptation.common import features
    from SFDALib.networks.outputs import class_probabilities

    network, options = setting.network, setting.options
    means, spreads, seen = [], [], []
    with features.dropout(network, name, rate):
        for _ in range(options["dropout_passes"]):
            before, logits = features.forward(network, name, images)
            logits = logits / setting.temperature
            means.append(class_probabilities(logits)[:, 1:])
            spreads.append(class_probabilities(logits / 2)[:, 1:])
            seen.append(before)
    return denoised(
        torch.stack(means).mean(0),
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
        seen: (B, F, ...) mean features, perhaps at a lower resolution, to which probabilities and
            spread are brought linearly before they are compared, labels by the nearest neighbour.
    """
    import torch

    from SFDALib.adaptation.common.features import class_means, resized

    label = p > confidence
    chance, steady = (resized(x, seen, "linear") for x in (p, spread))
    steady = steady < uncertainty
    inside = resized(label.float(), seen) > 0
    flat = seen.movedim(1, -1)
    agrees = []
    for k in range(p.shape[1]):
        share, kept, within = (x[:, k : k + 1] for x in (chance, steady, inside))
        means = class_means(
            seen, torch.cat([(1 - share) * kept * ~within, share * kept * within], 1)
        )
        distance = [(flat - mean).square().sum(-1) for mean in means]
        nearer = resized((distance[1] < distance[0])[:, None].float(), p) > 0
        agrees.append(nearer == label[:, k : k + 1])
    return label, (spread < uncertainty) & torch.cat(agrees, dim=1)


def masked_bce(p: Tensor, label: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy where the mask is; 0 where that is nowhere."""
    import torch

    from SFDALib.adaptation.common.losses import EPSILON

    each = -torch.log(torch.where(label, p, 1 - p) + EPSILON)
    return (each * mask).sum() / mask.sum().clamp(min=1)
