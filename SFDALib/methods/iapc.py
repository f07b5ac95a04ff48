"""IAPC: importance-weighted pseudo-labels and class centroids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from SFDALib.methods.method import Method, training_work
from SFDALib.methods.option import option
from SFDALib.methods.shared_options import (
    BatchNormOptions,
    batch_option,
    epochs_option,
    learning_rate_option,
)


@dataclass(frozen=True, kw_only=True)
class IapcOptions(BatchNormOptions):
    """Options of IAPC."""

    epochs: int = epochs_option(10)
    learning_rate: float = learning_rate_option(1e-4, "SGD")
    batch: int = batch_option(6)
    head_rate: float = option(10.0, "Factor of the classifier's learning rate.", 0, 1000)
    momentum: float = option(0.9, "Nesterov momentum of SGD.", 0.001, 0.999)
    weight_decay: float = option(5e-4, "L2 penalty in SGD.", 0, 1)
    memory_decay: float = option(
        0.9999, "Decay per step of the averaged model that finds the centroids.", 0, 1
    )
    small_weight: float = option(
        7.0,
        "Weight of a class that is small in a batch; that of an absent class moves towards it by"
        " a tenth a step, and back when the class is present.",
        0,
        1000,
    )
    small_size: int = option(
        4096,
        "Size in a patch below which a class is small.",
        0,
        10**9,
        unit="pixels",
    )
    several_scales: bool = option(
        True,
        "The source's labels are the largest of its probabilities summed over three sizes of a"
        " patch (1, 1.25, 0.75) and their mirror images.",
    )
    importance: Literal["probability", "logit"] = option(
        "probability",
        "1 - z2 / z1 of the two largest probabilities, as printed, or logits, as coded.",
    )


METHOD = Method(
    name="iapc",
    title="IAPC",
    summary="Trains the model on the source's own labels, weighted by how clear they are, and on"
    " what its features say.",
    paper="Cao, Zhang, Lu, Xiao, Yang, Wang. Towards source-free domain adaptive semantic"
    " segmentation via importance-aware and prototype-contrast learning. IEEE T-IV 2024",
    updates="all weights",
    needs=(),
    cost="one training pass over the images an epoch, two more without gradients, and six before",
    options_type=IapcOptions,
    entry="SFDALib.adaptation.iapc:IAPC",
    adapts=True,
    own_work=lambda options: training_work(options.epochs, extra_passes=6),
    recommended={"learning_rate": 0.001, "epochs": 8},
)
