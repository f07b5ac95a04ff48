"""TENT: entropy minimisation through scale and shift of batch normalisation alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from SFDALib.methods.method import COMMON_OPTIONS, Method, training_options
from SFDALib.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

    from SFDALib.adaptation.common.loop import Recipe, Setting
    from SFDALib.bundle.source import Source
    from SFDALib.methods.outcome import Adapted
    from SFDALib.volume.conform import Conformed

METHOD = Method(
    name="tent",
    title="TENT",
    summary="Makes the model confident on the new images by rescaling its features alone.",
    paper="Wang, Shelhamer, Liu, Olshausen, Darrell. Tent: fully test-time adaptation by entropy"
    " minimization. ICLR 2021",
    updates="scale and shift of batch normalisation",
    needs=("batch-norm",),
    cost="one training pass over the images an epoch",
    options=(
        *training_options(epochs=1, learning_rate=1e-3, batch=8),
        *COMMON_OPTIONS,
    ),
    entry="SFDALib.adaptation.tent:adapt",
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
    """``L = mean_x H(p(x))`` in nats.

    The original predicts with each batch's statistics; here the running ones, which the steps
    renew, are delivered, so that a slice's result does not depend on its neighbours.

    Raises:
        RequestError: the batch normalisation has no scale and shift.
    """
    import torch

    from SFDALib.adaptation.common.batch_norm import affine_parameters
    from SFDALib.adaptation.common.loop import Recipe
    from SFDALib.adaptation.common.losses import mean_entropy
    from SFDALib.errors import RequestError

    network, options = setting.network, setting.options
    parameters = affine_parameters(network)
    if not parameters:
        raise RequestError(
            "method tent: found batch normalisation without scale and shift, expected both; use"
            " bn-statistics"
        )

    def loss(indices: list[int]) -> Tensor:
        return mean_entropy(setting.probabilities(setting.patches.batch(indices)))

    return Recipe(
        loss=loss,
        optimiser=torch.optim.Adam(parameters, options["learning_rate"]),
        mode=lambda: network.train(options["bn"] == "train"),
    )
