"""UDAS: self-training of early features, of which the deep network is the teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from SFDALib.methods.method import Method, training_work
from SFDALib.methods.option import option
from SFDALib.methods.shared_options import (
    TrainingOptions,
    batch_option,
    epochs_option,
    learning_rate_option,
)


@dataclass(frozen=True, kw_only=True)
class EarlyFeaturesOptions(TrainingOptions):
    """Options of the self-training of early features."""

    epochs: int = epochs_option(50)
    learning_rate: float = learning_rate_option(1e-3)
    batch: int = batch_option(20)
    layers: Literal["all", "last"] = option(
        "all",
        "Every layer before the head, or those of its level alone: with a head of level 1 on a"
        " bundle that was adapted at level 0, the paper's L1 then L2.",
    )
    weights: Literal["all", "batch-norm"] = option(
        "all", "All weights of these layers, or scale and shift of batch normalisation (L1-BN)."
    )
    detach_teacher: bool = option(
        True, "Gradients stop at the teacher, as in the paper; the original code lets them through."
    )
    bn: Literal["train_all", "train_updated", "eval"] = option(
        "train_all",
        "Batch normalisation that uses and learns the target's statistics: everywhere (as the"
        " original code), in the trained layers alone, or nowhere.",
    )
    stop_change: float = option(
        0.005,
        "Stops when the Dice between early and final prediction changes by less; 0: never.",
        0,
        1,
    )
    stop_images: Literal["all", "batches"] = option(
        "all",
        "The stop rule's Dice over all images, or the original's mean over shuffled batches.",
    )


METHOD = Method(
    name="early-features",
    title="Early features (UDAS)",
    summary="Lets the deep part of the model teach its first layers what the new images look like.",
    paper="Sheikh, Schultz. Unsupervised domain adaptation for medical image segmentation via"
    " self-training of early features. MIDL 2022",
    updates="the layers before the first down-sampling (14,160 weights in the paper's network)",
    needs=("early-head",),
    cost="a few passes over the images; only the first layers are trained",
    options_type=EarlyFeaturesOptions,
    entry="SFDALib.adaptation.early_features:EarlyFeatures",
    adapts=True,
    own_work=lambda options: training_work(options.epochs),
    recommended={"learning_rate": 0.003, "epochs": 4},
)
