"""MuVi: self-training of a 3D network with three views of one volume."""

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
class MuviOptions(TrainingOptions):
    """Options of MuVi."""

    epochs: int = epochs_option(1)
    learning_rate: float = learning_rate_option(1e-3, "SGD")
    batch: int = batch_option(1)
    momentum: float = option(0.99, "Nesterov momentum of SGD.", 0, 0.9999)
    weight_decay: float = option(3e-5, "L2 penalty in SGD.", 0, 1)
    clip: float = option(12.0, "Largest norm of a step's gradient.", 1e-6, 1e6)
    threshold: float = option(
        0.4,
        "Entropy up to which the first view labels a voxel; higher labels more, and"
        " more that is wrong.",
        0,
        10,
        unit="nats",
    )
    threshold_other: float = option(0.2, "The same of the two other views.", 0, 10, unit="nats")
    feature_weight: float = option(
        1.0,
        "Weight of the distance between the views' deepest features; 0: off, in effect as in"
        " the released code.",
        0,
        1000,
    )
    consistency_weight: float = option(
        1.0, "Weight of the loss of the other views to the first one's labels; 0: off.", 0, 1000
    )
    bn: Literal["eval", "train"] = option(
        "eval", "Batch normalisation by the running statistics, as published, or by each batch's."
    )


METHOD = Method(
    name="muvi",
    title="MuVi",
    summary="Learns from what the model is sure of when it looks at the volume from three sides.",
    paper="Joshi et al. Single image test-time adaptation via multi-view co-training. MICCAI 2025,"
    " arXiv 2506.23705",
    updates="all weights",
    needs=("3d",),
    cost="three predictions, and three training passes over the overlapping windows an epoch",
    options_type=MuviOptions,
    entry="SFDALib.adaptation.muvi:MuVi",
    adapts=True,
    own_work=lambda options: training_work(options.epochs, views=3, extra_passes=6, sliding=True),
)
