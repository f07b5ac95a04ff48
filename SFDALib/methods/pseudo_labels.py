"""The options that self-training and class-balanced self-training share."""

from __future__ import annotations

from dataclasses import dataclass

from SFDALib.methods.option import option
from SFDALib.methods.shared_options import (
    BatchNormOptions,
    batch_option,
    epochs_option,
    learning_rate_option,
)


@dataclass(frozen=True, kw_only=True)
class PseudoLabelOptions(BatchNormOptions):
    """Options of self-training in rounds."""

    rounds: int = option(4, "Times that the pseudo-labels are made anew.", 1, 1000)
    epochs: int = epochs_option(2, "Passes over the target images in a round.")
    learning_rate: float = learning_rate_option(5e-5, "SGD")
    batch: int = batch_option(2)
    head_rate: float = option(10.0, "Factor of the classifier's learning rate.", 0, 1000)
    momentum: float = option(0.9, "Momentum of SGD.", 0, 0.999)
    weight_decay: float = option(5e-4, "L2 penalty in SGD.", 0, 1)
    portion: float = option(0.2, "Share of the pixels that the first round labels.", 0, 1)
    portion_step: float = option(0.05, "Growth of that share a round.", 0, 1)
    portion_max: float = option(0.5, "Largest share.", 0, 1)
    stride: int = option(
        4,
        "Distance between the pixels that are used to find the thresholds.",
        1,
        1000,
        unit="pixels",
    )
    flips: float = option(
        0.5,
        "Share of the patches that are mirrored left to right in training, with their labels; none"
        " where the bundle says that its model may not be mirrored so.",
        0,
        1,
    )
    kld_weight: float = option(
        0.0,
        "Weight of a pull of the labelled pixels towards equal probabilities (MRKLD of CRST, there"
        " 0.1); 0: off.",
        0,
        100,
    )
    entropy_weight: float = option(
        0.0,
        "Softens the labels, the more the larger it is (LRENT of CRST, there 0.25); 0: off.",
        0,
        100,
    )
