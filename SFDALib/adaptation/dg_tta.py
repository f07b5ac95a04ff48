"""Consistency under random intensity mappings, as DG-TTA adapts at test time.

Two random shallow convolution networks (GIN) change the contrast of the same image; the model
learns to segment both alike. Random deformations are left out. So are MIND descriptors, the paper's
other half: they take the place of the network's input, so that only a network that was trained on
them, of which no bundle tells, can read them; and for one that reads intensities they cannot enter
the loss either, as they depend on the image alone and not on the weights.

On the demo's T2W head (Testing/Benchmarks/methods.json) 1e-5 with ``bn=eval`` delivers Dice 0.869
from 0.231, of which 0.838 is batch statistics; 1e-4 diverges. The paper's models were trained on
such contrasts, the demo's was not; and ``bn=train`` learns the statistics of changed images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from SFDALib.method import COMMON_OPTIONS, Method, Option, training_options
from SFDALib.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

    from SFDALib.adaptation.loop import Recipe, Setting
    from SFDALib.bundle.source import Source
    from SFDALib.outcome import Adapted
    from SFDALib.volume.grid import Conformed

METHOD = Method(
    name="dg-tta",
    title="DG-TTA (GIN consistency)",
    summary="Teaches the model to segment the new images alike whatever their contrast.",
    paper="Weihsbach, Kruse, Bigalke, Heinrich. DG-TTA: out-of-domain medical image segmentation"
    " through domain generalization and test-time adaptation. arXiv 2312.06275, 2023 (Sensors"
    " 2025); GIN: Ouyang et al., IEEE TMI 2023",
    updates="all weights",
    needs=(),
    cost="two training passes over the images an epoch",
    options=(
        *training_options(epochs=12, learning_rate=1e-5, batch=8, optimiser="AdamW"),
        Option("layers", 4, "Convolutions of the random networks.", 1, 10, kind="int"),
        *COMMON_OPTIONS,
    ),
    entry="SFDALib.adaptation.dg_tta:adapt",
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
    """``L = 1 - mean_k Dice(p_k(G1(x)), p_k(G2(x)))`` with fresh random G1, G2 each step."""
    import torch

    from SFDALib.adaptation.intensity import random_convolutions
    from SFDALib.adaptation.loop import Recipe
    from SFDALib.adaptation.losses import soft_dice
    from SFDALib.networks.catalogue import class_probabilities

    network, options = setting.network, setting.options

    def loss(indices: list[int]) -> Tensor:
        images = setting.patches.batch(indices)
        first, second = (
            class_probabilities(network(random_convolutions(images, options["layers"])).float())
            for _ in range(2)
        )
        return 1 - soft_dice(first, second)

    return Recipe(
        loss=loss,
        optimiser=torch.optim.AdamW(network.parameters(), options["learning_rate"]),
        mode=lambda: network.train(options["bn"] == "train"),
    )
