"""ProtoContra: prototype-anchored feature alignment, and contrastive learning after it."""

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
class ProtoContraOptions(BatchNormOptions):
    """Options of ProtoContra."""

    epochs: int = epochs_option(5)
    learning_rate: float = learning_rate_option(1e-4)
    batch: int = batch_option(16)
    weight_decay: float = option(5e-4, "L2 penalty in Adam.", 0, 1)
    lr_decay: float = option(
        0.8,
        "Factor of the learning rate an epoch of the alignment; of the contrast it is .95 every"
        " second one.",
        0,
        1,
    )
    temperature: float = option(
        0.1,
        "Divides the similarities of the assignments, and the cosines of the contrast.",
        1e-3,
        100,
    )
    similarity: Literal["logits", "product"] = option(
        "logits",
        "Of a pixel with each prototype: its logits, or the product of its features with the"
        " prototype, as coded. They differ by the classifier's bias, of which the original's"
        " network has none; where there is one, without it a class may be nowhere.",
    )
    augment: bool = option(
        False,
        "Weak augmentation in training, as published, each change of a quarter of the images:"
        " crops of 90 % of the area, shifts of 6 %, scales of 5 %, rotations of 15 degrees,"
        " brightness and contrast by 20 %, gamma from .6 to 1.4. Off, as on one volume the"
        " changed images enter the batch statistics.",
    )
    proportion_momentum: float = option(
        0.001, "Share of a step in the running mean of the class proportions.", 0, 1
    )
    stages: int = option(
        1,
        "1: alignment; 2: as published, as many epochs of contrastive learning after it, which"
        " needs a model of two or more structures.",
        1,
        2,
    )
    pseudo_weight: float = option(
        0.0,
        "Weight, in the contrast, of a cross-entropy with the aligned model's labels, without"
        " the fifth of each class that it is least sure of; 0: off, as published.",
        0,
        100,
    )


METHOD = Method(
    name="protocontra",
    title="ProtoContra",
    summary="Draws the features of the new images to what the model takes for typical of each"
    " structure.",
    paper="Yu, Xi, Yuan, Zhou, Dang, Ding. Source-free domain adaptation for medical image"
    " segmentation via prototype-anchored feature alignment and contrastive learning. MICCAI"
    " 2023",
    updates="all weights but the classifier's",
    needs=(),
    cost="one training pass over the images an epoch",
    options_type=ProtoContraOptions,
    entry="SFDALib.adaptation.protocontra:ProtoContra",
    adapts=True,
    own_work=lambda options: training_work(options.epochs * options.stages),
    recommended={"learning_rate": 0.0003},
)
