"""UPL-SFDA: uncertainty-aware pseudo-labels from several decoders under rotation."""

from __future__ import annotations

from dataclasses import dataclass

from SFDALib.methods.method import Method, training_work
from SFDALib.methods.option import option
from SFDALib.methods.shared_options import (
    BatchNormOptions,
    batch_option,
    epochs_option,
    learning_rate_option,
)


@dataclass(frozen=True, kw_only=True)
class UplOptions(BatchNormOptions):
    """Options of UPL-SFDA."""

    epochs: int = epochs_option(10)
    learning_rate: float = learning_rate_option(1e-5)
    batch: int = batch_option(10)  # 2D: neighbouring slices
    decoders: int = option(4, "Copies of the decoder, each with its rotation.", 1, 4)
    threshold: float = option(0.95, "Mean probability above which a pixel is labelled.", 0, 1)
    largest_component: bool = option(
        True,
        "Keep of each label the largest connected part alone: of a batch, which is a stack of"
        " neighbouring slices, or of a block.",
    )
    dropout: float = option(
        0.0,
        "Rate of the features before the classifier, in training, for networks that have no"
        " dropout of their own. The original has .5 in the deepest block of its decoder, in its"
        " first epoch alone, as its first validation leaves it off.",
        0,
        0.95,
    )


METHOD = Method(
    name="upl",
    title="UPL-SFDA",
    summary="Trains on pixels where several decoder copies, each shown a rotated image, agree.",
    paper="Wu, Wang, Gu, Lu, Chen, Zhu, Vercauteren, Ourselin, Zhang. UPL-SFDA: uncertainty-aware"
    " pseudo label guided source-free domain adaptation for medical image segmentation. IEEE TMI"
    " 2023",
    updates="all weights",
    needs=(),
    cost="one training pass over the images for each decoder an epoch, and one without gradients",
    options_type=UplOptions,
    entry="SFDALib.adaptation.upl:UPL",
    adapts=True,
    own_work=lambda options: training_work(options.epochs, views=options.decoders),
    recommended={"learning_rate": 0.0001, "epochs": 2},
)
