"""AdaMI: entropy minimisation under KL(prediction || prior)."""

from __future__ import annotations

from SFDALib.methods.method import Method, training_work
from SFDALib.methods.prior_entropy import PriorEntropyOptions

METHOD = Method(
    name="adami",
    title="AdaMI",
    summary="Makes the model confident on the new images while each structure keeps the size that"
    " anatomy expects.",
    paper="Bateson, Kervadec, Dolz, Lombaert, Ben Ayed. Source-free domain adaptation for image"
    " segmentation. Medical Image Analysis 2022",
    updates="all weights",
    needs=(),
    cost="one training pass over the images an epoch",
    options_type=PriorEntropyOptions,
    entry="SFDALib.adaptation.adami:AdaMI",
    adapts=True,
    own_work=lambda options: training_work(options.epochs),
    recommended={"learning_rate": None, "epochs": 6},
)
