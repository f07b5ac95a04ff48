"""DG-TTA: consistency of the predictions for two random deformations of the same patch.

1. Draw random windows of the target. 2. Deform each by two affine maps, close to the identity;
where asked for, change the contrast of each copy by random convolutions (GIN), too. 3. Segment both
copies and bring the predictions back by the inverse maps. 4. Raise the overlap of the two, over all
windows of an epoch in one step. 5. Do all of it several times from the source's weights, and
average the logits of the results.

Deviations from the released code (multimodallearning/DG-TTA, c8eac38): windows begin at whole
voxels and 2D networks are served, too; what lies outside of an image repeats its border, where the
original takes its minimum; a class that neither copy shows counts as agreement, where the original
divides 0 by 0; the original's first "epoch" takes no step and is our look at the source, so that
its 12 are 11 here; it delivers the last state, we the best by ``watch``. MIND descriptors, with
which its authors also train sources, take the place of the network's input: only a network that was
trained on them can read them, and no bundle tells of that.

On the demo's volumes one member with ``bn=eval`` delivered Dice 0.862 (T2W; bn-statistics 0.856)
and 0.887 (FLAIR; 0.840), with statistics re-estimated slice by slice, not yet by ``SETTLED_BY``.
Consistency under GIN alone with a step for each batch of 8 delivered 0.867 on the T2W volume;
``strength=0 contrast=gin patches=8`` comes near it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from SFDALib.methods.method import COMMON_OPTIONS, Method, Option, choice, training_options
from SFDALib.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor, nn

    from SFDALib.adaptation.common.loop import Recipe, Setting
    from SFDALib.bundle.source import Source
    from SFDALib.methods.outcome import Adapted
    from SFDALib.volume.conform import Conformed

METHOD = Method(
    name="dg-tta",
    title="DG-TTA (consistency)",
    summary="Teaches the model to segment the new images alike however they are deformed.",
    paper="Weihsbach, Kruse, Bigalke, Heinrich. DG-TTA: out-of-domain medical image segmentation"
    " through augmentation, descriptor-driven domain generalization and test-time adaptation."
    " Sensors 2025, 25(17):5603, arXiv 2312.06275; GIN: Ouyang et al., IEEE TMI 2023",
    updates="all weights, or what the option parameters names",
    needs=(),
    cost="two training passes over random patches an epoch, for each member of the ensemble",
    options=(
        Option("epochs", 11, "Steps, each by the mean gradient of patches.", 1, 10000, kind="int"),
        Option(
            "patches",
            16,
            "Random windows of an epoch; more make a step slower and its gradient steadier.",
            1,
            10000,
            kind="int",
        ),
        Option(
            "ensemble",
            3,
            "Independent adaptations whose results are averaged; each takes the time of one, and"
            " its weights are all in the adapted bundle.",
            1,
            10,
            kind="int",
        ),
        *training_options(epochs=11, learning_rate=1e-5, batch=1, optimiser="AdamW")[1:],
        Option("weight_decay", 0.01, "Decay of the weights in AdamW.", 0, 1),
        Option(
            "strength",
            0.05,
            "Standard deviation of the entries of the affine maps, 1 being half a patch; 0: no"
            " deformation. Larger ones ask for agreement under coarser deformations.",
            0,
            0.5,
        ),
        choice(
            "contrast",
            ("none", "gin"),
            "Change the contrast of both copies by random convolutions (GIN), or not; for models"
            " that were trained with --augment contrast.",
        ),
        Option("layers", 4, "Convolutions of GIN's random networks.", 1, 10, kind="int"),
        choice(
            "parameters",
            ("all", "norms", "encoder"),
            "What is trained: all weights, scale and shift of the normalisation, or the encoder.",
        ),
        choice(
            "valid",
            ("inside", "logits"),
            "Voxels that count: those that both copies show, or, as in the released code, those"
            " where the logits of both add up to more than 0.",
        ),
        *COMMON_OPTIONS,
    ),
    entry="SFDALib.adaptation.dg_tta:adapt",
    adapts=True,
    views=2,
)
SETTLED_BY = 8  # patches; the original re-estimates no statistics


def adapt(
    model: Source,
    images: Sequence[Conformed],
    options: dict[str, Any],
    seed: int,
    progress: Progress,
) -> Adapted:
    from SFDALib.adaptation.common import loop, members

    return members.adapt(
        model,
        options["ensemble"],
        seed,
        progress,
        lambda one_seed, told: loop.run(model, images, options, one_seed, told, recipe),
    )


def recipe(setting: Setting) -> Recipe:
    """``L = 1 - mean_{k > 0} Dice(A1^-1 p(A1 x), A2^-1 p(A2 x))`` with fresh A1, A2 for each patch.

    Raises:
        RequestError: nothing that would make the two copies differ, or weights that this network
            does not have apart.
    """
    import torch

    from SFDALib.adaptation.common import affine
    from SFDALib.adaptation.common.loop import Recipe
    from SFDALib.adaptation.common.patches import RandomPatches
    from SFDALib.errors import RequestError
    from SFDALib.gin import random_convolutions
    from SFDALib.networks.outputs import class_logits

    network, options = setting.network, setting.options
    strength, contrast = options["strength"], options["contrast"] == "gin"
    if not strength and not contrast:
        raise RequestError(
            "method dg-tta: found strength=0 and contrast=none, expected one of them otherwise:"
            " the two copies of a patch are the same"
        )
    arrays = [image.array for image in setting.images]
    patches = RandomPatches(setting.model, arrays, options["patches"], setting.rng)

    def copy_(images: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities for a changed copy, brought back, and where they are valid."""
        if contrast:
            images = random_convolutions(images, options["layers"])
        maps = affine.random_maps(images, strength)
        seen = affine.warped(images, maps, "border") if strength else images
        logits = class_logits(setting.logits(seen))
        valid = torch.ones_like(logits[:, :1])
        if strength:
            back = affine.inverse(maps)
            logits, valid = (affine.warped(x, back, "zeros") for x in (logits, valid))
        if options["valid"] == "logits":
            valid = logits.sum(1, keepdim=True)
        return logits.softmax(1), (valid > 0).float()

    def loss(indices: list[int]) -> Tensor:
        images = patches.batch(indices)
        (first, in_first), (second, in_second) = copy_(images), copy_(images)
        both = in_first * in_second
        return 1 - consistency(first * both, second * both)[:, 1:].mean()

    return Recipe(
        loss=loss,
        optimiser=torch.optim.AdamW(
            _trained(setting), options["learning_rate"], weight_decay=options["weight_decay"]
        ),
        mode=lambda: network.train(options["bn"] == "train"),
        patches=patches,
        accumulate=True,
        settled_by=SETTLED_BY,
        begin=lambda _: patches.draw(),
    )


def consistency(first: Tensor, second: Tensor) -> Tensor:
    """``mean_x(2 a b) / mean_x((a + b)^2 / 2)`` of each class of each image, (B, K); 1 where
    neither shows the class.

    Args:
        first, second: (B, K, ...) probabilities a and b, 0 where they are not to count.
    """
    import torch

    over = (2 * first * second).flatten(2).mean(2)
    under = ((first + second).square() / 2).flatten(2).mean(2)
    return torch.where(under > 0, over / torch.where(under > 0, under, 1), 1.0)


def _trained(setting: Setting) -> list[nn.Parameter]:
    from torch import nn

    from SFDALib.errors import RequestError

    network, which = setting.network, setting.options["parameters"]
    norms = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
    parts = {
        "all": (network,),
        "norms": tuple(part for part in network.modules() if isinstance(part, norms)),
        "encoder": setting.model.encoder(network),
    }[which]
    parameters = list(dict.fromkeys(p for part in parts for p in part.parameters()))
    if not parameters:
        kind = setting.model.description.network["_target_"].rsplit(".", 1)[-1]
        raise RequestError(
            f"option parameters: found {which} for {kind}, in which none can be told apart,"
            " expected all; choose it"
        )
    return parameters
