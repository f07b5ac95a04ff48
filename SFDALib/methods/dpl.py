"""DPL: pseudo-labels where dropout and prototypes agree."""

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
class DplOptions(BatchNormOptions):
    """Options of DPL."""

    epochs: int = epochs_option(2)
    learning_rate: float = learning_rate_option(2e-3)
    batch: int = batch_option(8)
    dropout_passes: int = option(10, "Passes with dropout.", 2, 1000)
    dropout: float | None = option(
        None,
        "Rate of the dropout of the features before the classifier, for networks that have no"
        " dropout of their own (the original's has, of .5). The method chooses the largest of .5,"
        " .2, .1, .05, .02 and .01 with which half of the labelled pixels of every structure are"
        " reliable.",
        0,
        0.95,
        none="chosen by the method",
    )
    confidence: float = option(0.75, "Probability above which a pixel is labelled.", 0, 1)
    uncertainty: float = option(
        0.05,
        "Pixels whose standard deviation over the dropout passes is larger are ignored.",
        0,
        1,
    )
    gamma_max: float = option(
        3.5, "Half of the images are raised to 1/g, with g from 0.5 to this.", 0.5, 10
    )
    specks: float = option(0.5, "Share of the images that get salt-and-pepper noise.", 0, 1)
    erasing: float = option(0.5, "Share of the images of which a rectangle is erased.", 0, 1)


METHOD = Method(
    name="dpl",
    title="Denoised pseudo-labels (DPL)",
    summary="Trains the model on its own predictions where they are stable and look alike.",
    paper="Chen, Liu, Jin, Dou, Heng. Source-free domain adaptive fundus image segmentation with"
    " denoised pseudo-labeling. MICCAI 2021",
    updates="all weights",
    needs=(),
    cost="one training pass over the images an epoch; before, dropout_passes passes for each of at"
    " most six rates of dropout",
    options_type=DplOptions,
    entry="SFDALib.adaptation.dpl:DenoisedPseudoLabels",
    adapts=True,
    own_work=lambda options: training_work(options.epochs, extra_passes=20),
    recommended={"learning_rate": 0.0001, "dropout_passes": 4},
)
