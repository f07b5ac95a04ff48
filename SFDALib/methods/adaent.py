"""AdaEnt: entropy minimisation under KL(prior || prediction)."""

from __future__ import annotations

from SFDALib.methods.method import Method, training_work
from SFDALib.methods.prior_entropy import PriorEntropyOptions

METHOD = Method(
    name="adaent",
    title="AdaEnt",
    summary="As AdaMI with the prior the other way round: milder on structures that are absent, so"
    " that a wrong presence does less harm.",
    paper="Bateson, Kervadec, Dolz, Lombaert, Ben Ayed. Source-relaxed domain adaptation for image"
    " segmentation. MICCAI 2020",
    updates="all weights",
    needs=(),
    cost="one training pass over the images an epoch",
    options_type=PriorEntropyOptions,
    entry="SFDALib.adaptation.adaent:AdaEnt",
    adapts=True,
    own_work=lambda options: training_work(options.epochs),
    recommended={"learning_rate": None, "epochs": 6},
)
