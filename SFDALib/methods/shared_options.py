"""Options that several methods have: those of inference, and those of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from SFDALib.methods.option import Value, described, option


@dataclass(frozen=True, kw_only=True)
class InferenceOptions:
    """How a network is applied to an image; every method has these options."""

    overlap: float = option(0.5, "Share by which neighbouring windows overlap.", 0, 0.9)
    mirror: bool = option(False, "Average over mirrored copies (2 to the dimensions).")

    def to_dict(self) -> dict[str, Value]:
        """Every option's value by name, in the order in which options are shown."""
        return {one.name: getattr(self, one.name) for one in described(type(self))}

    def lowering_memory(self) -> dict[str, int]:
        """The options of which a smaller value needs less memory, by name."""
        names = [one.name for one in described(type(self)) if one.lowers_memory]
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(InferenceOptions):
    """Options of every method that trains weights; ``adaptation/common/loop.py`` reads them.

    A method declares ``epochs``, ``learning_rate`` and ``batch`` with defaults of its own, by
    ``epochs_option``, ``learning_rate_option`` and ``batch_option``. A ``learning_rate`` of None is
    one that depends on the network: the method's recipe overrides ``learning_rate``.
    """

    epochs: int
    learning_rate: float | None
    batch: int
    bn: str = option("train", "Mode of batch normalisation; each method names its own.")
    settle_bn: bool = option(
        True,
        "Re-estimate the statistics of batch normalisation on the target images before the first"
        " step (Schneider et al., NeurIPS 2020), so that no step uses a mixture of the source's and"
        " the target's; the original does not.",
    )
    calibrated: bool = option(
        True,
        "Divide the logits by the bundle's temperature wherever the method computes with them, as"
        " prediction does, so that thresholds and ratios mean what their paper says; false: the"
        " logits as they are, as in the originals, whose networks have no temperature.",
    )
    anchor: float = option(
        0.0,
        "Weight of a pull towards the source's weights, half the squared distance (L2-SP); 0: off.",
        0,
        1e6,
    )
    ema: float = option(
        0.0,
        "Decay per step of an exponential moving average of the weights, which is delivered"
        " instead of them; 0: off.",
        0,
        0.99999,
    )
    patience: int = option(
        0,
        "Early stopping: epochs without a better state before it stops; 0: never.",
        0,
        10000,
        unit="epochs",
    )


@dataclass(frozen=True, kw_only=True)
class BatchNormOptions(TrainingOptions):
    """Options of training by each batch's statistics, as most methods were published."""

    bn: Literal["train", "eval"] = option(
        "train",
        "Batch normalisation by each batch's statistics, as published, or by the running ones.",
    )


def epochs_option(epochs: int, help: str = "Passes over the target images.") -> Any:
    """The field of the number of epochs."""
    return option(epochs, help, 1, 10000)


def learning_rate_option(rate: float, optimiser: str = "Adam") -> Any:
    """The field of the learning rate."""
    return option(rate, f"Learning rate of {optimiser}.", 0, 1)


def batch_option(batch: int) -> Any:
    """The field of the batch size."""
    return option(
        batch,
        "How many patches (2D: slices) are used at once; all of them where there are fewer.",
        1,
        1024,
        lowers_memory=True,
        unit="patches",
    )
