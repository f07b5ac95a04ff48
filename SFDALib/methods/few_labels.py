"""Fine-tuning on a few labelled images of the target domain."""

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
class FewLabelsOptions(TrainingOptions):
    """Options of fine-tuning on a few labels."""

    epochs: int = epochs_option(20)
    learning_rate: float = learning_rate_option(1e-4)
    batch: int = batch_option(4)
    patches: int = option(
        32,
        "Random windows of the labelled images in an epoch; more make it longer.",
        1,
        10000,
    )
    augment: Literal["intensity", "contrast", "geometric", "none"] = option(
        "intensity",
        "Random changes of the windows, as in training: intensity, and geometric with it; with"
        " contrast random convolutions (GIN), too.",
    )
    loss: Literal["dice-ce", "ce"] = option("dice-ce", "Cross-entropy with soft Dice, or alone.")
    bn: Literal["eval", "train"] = option(
        "eval",
        "Batch normalisation by the running statistics, or by each batch's, which high rates want.",
    )
    anchor: float = option(
        1e-3,
        "Weight of a pull towards the source's weights, half the squared distance (L2-SP); 0: off.",
        0,
        1e6,
    )


METHOD = Method(
    name="few-labels",
    title="A few labels",
    summary="Learns from segmentations that you corrected, or that another tool made.",
    paper="fine-tuning with a pull towards the source: Li, Grandvalet, Davoine. Explicit inductive"
    " bias for transfer learning with convolutional networks. ICML 2018",
    updates="all weights",
    needs=("labels",),
    cost="one training pass over random patches of the labelled images an epoch",
    options_type=FewLabelsOptions,
    entry="SFDALib.adaptation.few_labels:FewLabels",
    adapts=True,
    own_work=lambda options: training_work(options.epochs, patches=options.patches),
)
