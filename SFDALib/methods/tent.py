"""TENT: entropy minimisation over scale and shift of batch normalisation."""

from __future__ import annotations

from dataclasses import dataclass

from SFDALib.methods.method import Method, training_work
from SFDALib.methods.shared_options import (
    BatchNormOptions,
    batch_option,
    epochs_option,
    learning_rate_option,
)


@dataclass(frozen=True, kw_only=True)
class TentOptions(BatchNormOptions):
    """Options of TENT."""

    epochs: int = epochs_option(1)
    learning_rate: float = learning_rate_option(1e-3)
    batch: int = batch_option(8)


METHOD = Method(
    name="tent",
    title="TENT",
    summary="Makes the model confident on the new images by rescaling its features alone.",
    paper="Wang, Shelhamer, Liu, Olshausen, Darrell. Tent: fully test-time adaptation by entropy"
    " minimization. ICLR 2021",
    updates="scale and shift of batch normalisation",
    needs=("batch-norm",),
    cost="one training pass over the images an epoch",
    options_type=TentOptions,
    entry="SFDALib.adaptation.tent:Tent",
    adapts=True,
    own_work=lambda options: training_work(options.epochs),
    recommended={"epochs": 2},
)
