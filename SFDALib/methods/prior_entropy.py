"""The options that AdaMI and AdaEnt share: entropy under a class-ratio prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from SFDALib.methods.option import option
from SFDALib.methods.shared_options import BatchNormOptions, batch_option, epochs_option


def usual_rate(with_bn: bool) -> float:
    """The learning rate where none is given, for networks with or without batch normalisation."""
    return 1e-4 if with_bn else 3e-4


@dataclass(frozen=True, kw_only=True)
class PriorEntropyOptions(BatchNormOptions):
    """Options of entropy minimisation under a class-ratio prior."""

    epochs: int = epochs_option(100)
    learning_rate: float | None = option(
        1e-6,
        "Learning rate of Adam.",
        0,
        1,
        none=f"{usual_rate(True)} for networks with batch normalisation, {usual_rate(False)} for"
        " others",
    )
    batch: int = batch_option(24)
    weight_decay: float = option(1e-4, "L2 penalty in Adam.", 0, 1)
    lr_decay: float = option(0.9, "Factor of the learning rate every lr_decay_epochs.", 0, 1)
    lr_decay_epochs: int = option(
        20,
        "Interval between two decays of the learning rate.",
        1,
        10000,
        unit="epochs",
    )
    entropy_weight: float = option(1.0, "Weight of the entropy term.", 0, 1000)
    prior_weight: float = option(1.0, "Weight of the class-ratio term.", 0, 1000)
    class_weights: str = option(
        "auto",
        'Weights of the classes in the entropy, background first, such as "0.1,0.9"; auto takes'
        " the inverse of the prior ratios.",
    )
    prior: str = option(
        "bundle",
        "Size of each class: bundle, or one value a class separated by commas, in ml or as a ratio"
        ' of the image, such as "1400 ml" or "0.2". The true size, typed, is the papers\' oracle,'
        " for study alone.",
    )
    presence: Literal["volume", "select", "notag", "tags", "all"] = option(
        "volume",
        "How the slices that show a class are determined. volume: they are not, as the prior is"
        " that of the whole volume, for which slices outside the batch keep the ratio predicted"
        " last (a single slice is assumed to show every class); select uses the source model's"
        " clear predictions; notag leaves out classes that are hardly predicted; tags are typed;"
        " all assumes every class in every slice.",
    )
    presence_threshold: float = option(
        0.02, "Share of an image above which a prediction counts as clear (select, notag).", 0, 1
    )
    tags: str | None = option(
        None,
        "Presence per slice, such as 0011, for presence=tags.",
        none="no tags are given",
    )
    ratio: Literal["maxnorm", "mean"] = option(
        "maxnorm", "Predicted class ratio: the code's, or the paper's mean."
    )
