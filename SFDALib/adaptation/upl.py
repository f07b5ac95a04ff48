"""Uncertainty-aware pseudo-labels from several decoders under rotation (UPL-SFDA).

Other than in the original, which averages its decoders to predict, the unrotated one is delivered,
so that the adapted model is one like the source's; and there is no dropout unless asked for: before
the classifier a rate of .5 costs .04 to .06 of Dice on a heart (0.746 and 0.690 after two epochs).

On the demo's T2W head (Testing/Benchmarks/methods.json) it delivers batch statistics, Dice 0.839
from 0.231: four epochs at 1e-5 reach 0.868 and one at 1e-4 even 0.925, but the entropy, and at 1e-4
the volume, then speak against them, so that the watch, which sees no reference, lets them go.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from SFDALib.methods.method import COMMON_OPTIONS, Method, Option, training_options
from SFDALib.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor, nn

    from SFDALib.adaptation.common.loop import Recipe, Setting
    from SFDALib.bundle.source import Source
    from SFDALib.methods.outcome import Adapted
    from SFDALib.volume.conform import Conformed

METHOD = Method(
    name="upl",
    title="UPL-SFDA",
    summary="Trains on pixels where several decoder copies, each shown a rotated image, agree.",
    paper="Wu, Wang, Gu, Lu, Chen, Zhu, Vercauteren, Ourselin, Zhang. UPL-SFDA: uncertainty-aware"
    " pseudo label guided source-free domain adaptation for medical image segmentation. IEEE TMI"
    " 2023",
    updates="all weights",
    needs=(),
    cost="one training pass over the images for each decoder an epoch, and one without gradients",
    options=(
        *training_options(epochs=10, learning_rate=1e-5, batch=10),  # 2D: neighbouring slices
        Option("decoders", 4, "Copies of the decoder, each with its rotation.", 1, 4, kind="int"),
        Option("threshold", 0.95, "Mean probability above which a pixel is labelled.", 0, 1),
        Option(
            "largest_component",
            True,
            "Keep of each label the largest connected part alone: of a batch, which is a stack of"
            " neighbouring slices, or of a block.",
            kind="bool",
        ),
        Option(
            "dropout",
            0.0,
            "Rate of the features before the classifier, in training, for networks that have no"
            " dropout of their own. The original has .5 in the deepest block of its decoder, in its"
            " first epoch alone, as its first validation leaves it off.",
            0,
            0.95,
        ),
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
    from SFDALib.adaptation.common import loop

    return loop.run(model, images, options, seed, progress, recipe)


def recipe(setting: Setting) -> Recipe:
    """``L = mean_d DiceLoss(p_d, PL) + H(M)`` with M the mean of the decoders' probabilities."""
    import torch

    from SFDALib.adaptation.common import features
    from SFDALib.adaptation.common.loop import Recipe

    options, network = setting.options, setting.network
    siblings, shared = _siblings(setting, options["decoders"] - 1)
    networks = [network, *siblings]
    name = features.classifier(network, setting.patches.batch([0]))

    def probabilities(images: Tensor, dropout: bool) -> list[Tensor]:
        """Of every decoder, turned back."""
        each = []
        for turns, one in enumerate(networks):
            rate = options["dropout"]
            with features.dropout(one, name, rate) if dropout and rate else nullcontext():
                each.append(turned(setting, one, images, turns))
        return each

    def loss(indices: list[int]) -> Tensor:
        images = setting.patches.batch(indices)
        training = torch.is_grad_enabled()
        with torch.no_grad():
            mean = torch.stack(probabilities(images, training)).mean(0)
        label = (mean > options["threshold"]).float()
        if options["largest_component"]:
            label = largest_parts(label)
        each = probabilities(images, training)
        dice = sum(masked_dice_loss(p, label) for p in each) / len(each)
        return dice + entropy_bits(torch.stack(each).mean(0))

    def begin(epoch: int) -> None:
        if not epoch:  # with the statistics that the network has now, settled or not
            for one in siblings:
                one.load_state_dict(network.state_dict())

    def mode() -> None:
        for one in networks:
            one.train(options["bn"] == "train")

    parameters = {id(p): p for one in networks for p in one.parameters()}
    rate = options["learning_rate"]
    groups = [
        {"params": [p for key, p in parameters.items() if (key in shared) == inside], "betas": b}
        for inside, b in ((True, (0.9, 0.999)), (False, (0.5, 0.999)))
    ]
    optimiser = torch.optim.Adam([group for group in groups if group["params"]], rate)
    copied = (
        "the decoder; the encoder is shared" if shared else "the whole network (no known encoder)"
    )
    return Recipe(
        loss=loss,
        optimiser=optimiser,
        mode=mode,
        stacks=True,
        begin=begin,
        notes=(f"{len(siblings)} copies of {copied}",),
    )


def turned(setting: Setting, network: nn.Module, images: Tensor, turns: int) -> Tensor:
    """Probabilities of images that the network is shown turned by so many times 90 degrees in their
    last two axes, turned back. Where it does not accept the turned size, the border is replicated.
    """
    import torch
    import torch.nn.functional as F

    from SFDALib.networks.outputs import class_probabilities

    seen = torch.rot90(images, turns, (-2, -1))
    size = seen.shape[2:]
    lack = [-n % multiple for n, multiple in zip(size, setting.model.divisor, strict=True)]
    if any(lack):
        seen = F.pad(seen, [side for n in reversed(lack) for side in (0, n)], mode="replicate")
    logits = setting.logits(seen, network)[(..., *(slice(n) for n in size))]
    return class_probabilities(torch.rot90(logits, -turns, (-2, -1)))


def _siblings(setting: Setting, count: int) -> tuple[list[nn.Module], set[int]]:
    """Copies of the network that share its encoder, and the ids of the weights that they share."""
    import copy

    encoder = setting.model.encoder(setting.network)
    memo = {  # every part: some are known to the network by several names
        id(part): part
        for stage in encoder
        for part in (*stage.modules(), *stage.parameters(), *stage.buffers())
    }
    copies = [copy.deepcopy(setting.network, dict(memo)) for _ in range(count)]
    return copies, {id(p) for stage in encoder for p in stage.parameters()}


def largest_parts(label: Tensor) -> Tensor:
    """Of each class, the background's too, the largest part connected by faces.

    Args:
        label: (B, K, ...) 0 or 1; of slices the batch is a stack, of which the part is one, of
            blocks each has its own.
    """
    import torch
    from skimage.measure import label as components

    kept = label.cpu().numpy()
    masks = kept.swapaxes(0, 1) if label.ndim == 4 else kept.reshape(-1, *kept.shape[2:])
    for mask in masks:
        parts = components(mask > 0, connectivity=1)
        if parts.max() > 1:
            sizes = torch.bincount(torch.from_numpy(parts).flatten())
            mask *= parts == 1 + int(sizes[1:].argmax())
    return torch.from_numpy(kept).to(label.device)


def masked_dice_loss(p: Tensor, label: Tensor, smooth: float = 1e-4) -> Tensor:
    """Mean over the classes of ``1 - (2 sum q y + s) / (sum q^2 + sum y^2 + s)`` with ``q = p y``:
    a prediction beyond the label costs nothing.
    """
    from SFDALib.adaptation.common.losses import soft_dice

    return 1 - soft_dice(p * label, label, smooth)


def entropy_bits(p: Tensor) -> Tensor:
    """``-sum p log2 p / (B K x)``, the mean over the classes, too."""
    import torch

    from SFDALib.adaptation.common.losses import EPSILON

    return -(p * torch.log2(p + EPSILON)).mean()
