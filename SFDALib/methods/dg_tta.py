"""DG-TTA: consistency of the predictions for two random deformations of the same patch."""

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
class DgTtaOptions(BatchNormOptions):
    """Options of DG-TTA."""

    epochs: int = epochs_option(11, "Steps, each by the mean gradient of patches.")
    patches: int = option(
        16,
        "Random windows of an epoch; more make a step slower and its gradient steadier.",
        1,
        10000,
    )
    ensemble: int = option(
        3,
        "Independent adaptations whose results are averaged; each takes the time of one, and"
        " its weights are all in the adapted bundle.",
        1,
        10,
    )
    learning_rate: float = learning_rate_option(1e-5, "AdamW")
    batch: int = batch_option(1)
    weight_decay: float = option(0.01, "Decay of the weights in AdamW.", 0, 1)
    strength: float = option(
        0.05,
        "Standard deviation of the entries of the affine maps, 1 being half a patch; 0: no"
        " deformation. Larger ones ask for agreement under coarser deformations.",
        0,
        0.5,
    )
    contrast: Literal["none", "gin"] = option(
        "none",
        "Change the contrast of both copies by random convolutions (GIN), or not; for models"
        " that were trained with --augment contrast.",
    )
    layers: int = option(4, "Convolutions of GIN's random networks.", 1, 10)
    parameters: Literal["all", "norms", "encoder"] = option(
        "all",
        "What is trained: all weights, scale and shift of the normalisation, or the encoder.",
    )
    valid: Literal["inside", "logits"] = option(
        "inside",
        "Voxels that count: those that both copies show, or, as in the released code, those"
        " where the logits of both add up to more than 0.",
    )


METHOD = Method(
    name="dg-tta",
    title="DG-TTA (consistency)",
    summary="Teaches the model to segment the new images alike however they are deformed.",
    paper="Weihsbach, Kruse, Bigalke, Heinrich. DG-TTA: out-of-domain medical image segmentation"
    " through augmentation, descriptor-driven domain generalization and test-time adaptation."
    " Sensors 2025, 25(17):5603, arXiv 2312.06275; GIN: Ouyang et al., IEEE TMI 2023",
    updates="all weights, or what the option parameters names",
    needs=(),
    cost="two training passes over random patches an epoch, for each member of the ensemble",
    options_type=DgTtaOptions,
    entry="SFDALib.adaptation.dg_tta:DgTta",
    adapts=True,
    own_work=lambda options: training_work(
        options.epochs, networks=options.ensemble, patches=options.patches, views=2
    ),
    recommended={"learning_rate": 0.0001, "epochs": 4, "ensemble": 1, "patches": 4},
)
