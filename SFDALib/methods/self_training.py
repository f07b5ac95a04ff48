"""Self-training on the most confident pixels, whatever their class."""

from __future__ import annotations

from SFDALib.methods.method import Method, training_work
from SFDALib.methods.pseudo_labels import PseudoLabelOptions

METHOD = Method(
    name="self-training",
    title="Self-training (ST)",
    summary="Trains the model on its own most confident predictions.",
    paper="Zou, Yu, Kumar, Wang. Unsupervised domain adaptation for semantic segmentation via"
    " class-balanced self-training. ECCV 2018; without the source images that it mixes in",
    updates="all weights",
    needs=(),
    cost="one training pass over the images an epoch, two more passes a round",
    options_type=PseudoLabelOptions,
    entry="SFDALib.adaptation.self_training:SelfTraining",
    adapts=True,
    own_work=lambda options: training_work(options.epochs * options.rounds),
    recommended={"learning_rate": 0.001, "epochs": 1, "rounds": 2, "batch": 8},
)
