"""What a method says of itself: to the registry, the command line, the panel and the documentation.

Standard library alone. A method's file holds one ``METHOD`` and the function that it names.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from SFDALib.errors import RequestError
from SFDALib.methods.needs import REMEDIES

Value = float | int | bool | str | None


@dataclass(frozen=True)
class Option:
    """One option of a method.

    Args:
        name: as typed on the command line.
        default: its value when it is not given; its type is the option's type. With ``optional`` it
            may be None, and ``kind`` tells the type.
        help: one sentence with units.
        low, high: inclusive bounds of a number.
        choices: the words that a text option accepts; empty for free text.
        kind: "float", "int", "bool" or "text".
        optional: whether "none" is a value.
    """

    name: str
    default: Value
    help: str
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    kind: Literal["float", "int", "bool", "text"] = "float"
    optional: bool = False

    def check(self, value: object) -> Value:
        """The value in the option's type, from a word of the command line or a value of JSON.

        Raises:
            RequestError: not of the type, out of range, or not among the choices.
        """
        if self.optional and (value is None or value == "none"):
            return None
        parsed = self._parse(value)
        if parsed is None or (
            self.kind in ("float", "int") and not self.low <= float(parsed) <= self.high
        ):
            raise RequestError(
                f'option {self.name}: found "{str(value)[:60]}", expected {self.expected()};'
                f" the default is {self.word()}"
            )
        return parsed

    def word(self) -> str:
        """The default as it is typed."""
        words = {None: "none", True: "true", False: "false"}
        by_word = self.default is None or isinstance(self.default, bool)
        return words[self.default] if by_word else str(self.default)

    def expected(self) -> str:
        """The values that it accepts, in words."""
        words = {"float": "a number", "int": "a whole number", "bool": "true or false"}
        text = " or ".join(self.choices) if self.choices else words.get(self.kind, "text")
        if self.low > -math.inf:
            text += f" from {self.low:g}"
        if self.high < math.inf:
            text += f" to {self.high:g}"
        return text + (" or none" if self.optional else "")

    def _parse(self, value: object) -> Value:
        if self.kind == "bool":
            words = {"true": True, "false": False, "on": True, "off": False}
            return value if isinstance(value, bool) else words.get(str(value).lower())
        if isinstance(value, bool):
            return None
        if self.kind == "text":
            good = isinstance(value, str) and (not self.choices or value in self.choices)
            return value if good else None
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            return None
        if not math.isfinite(number) or (self.kind == "int" and number != int(number)):
            return None
        return int(number) if self.kind == "int" else number


def choice(name: str, choices: tuple[str, ...], help: str) -> Option:
    """A text option whose first choice is the default."""
    return Option(name, choices[0], help, choices=choices, kind="text")


JUDGED = 2  # passes of a network that judging its result takes


@dataclass(frozen=True)
class Work:
    """What a method computes for one image, in passes of a network over it.

    Args:
        passes: without gradients.
        epochs: with gradients, for updates of weights.
        draws: evaluations of the diffusion network.
        patches: windows of any image with gradients, instead of all of this one in epochs.
        views: forward passes of each patch with gradients, all of which are held at once.
        sliding: whether the windows of an epoch overlap as those of inference do.
    """

    passes: int
    epochs: int
    draws: int
    patches: int = 0
    views: int = 1
    sliding: bool = False


@dataclass(frozen=True)
class Method:
    """One method. Some options mean the same in every method that has them: ``rounds`` and
    ``ensemble``, repetitions of the whole, one after the other and each from the source;
    ``stages``, its parts one after the other; ``epochs``, passes over the images with updates in
    each; ``patches``, random windows that an epoch has in the place of the images; ``batch``,
    patches at once; ``decoders``, copies that see each patch; ``samples`` and ``steps``, diffusion
    samples and evaluations a sample; ``blends``, predictions that are averaged.

    Args:
        name: as typed; lower case with hyphens.
        title: as shown.
        summary: one sentence for clinicians.
        paper: authors, title, where, year.
        updates: which weights change; "nothing" where none do.
        needs: what a bundle must hold: names of ``needs``.
        cost: what it takes, in words.
        options: its options.
        entry: "module:function". A method that updates weights offers
            ``adapt(model, images, options, seed, progress) -> Adapted``, one that does not
            ``segment(model, target, options, seed, progress) -> Segmented``.
        adapts: whether it updates weights.
        judged: whether its result is another than the source model's own.
        views: forward passes of a patch in a training step.
        looks: further passes over the image without gradients, such as for pseudo-labels.
        sliding: as of ``Work``.
    """

    name: str
    title: str
    summary: str
    paper: str
    updates: str
    needs: tuple[str, ...]
    cost: str
    options: tuple[Option, ...]
    entry: str
    adapts: bool
    judged: bool = True
    views: int = 1
    looks: int = 0
    sliding: bool = False

    def values(self, given: Mapping[str, object]) -> dict[str, Value]:
        """Every option's value: those given, checked, and the defaults of the rest.

        Raises:
            RequestError: an unknown option or a value that it does not accept.
        """
        known = {option.name: option for option in self.options}
        unknown = [name for name in given if name not in known]
        if unknown:
            raise RequestError(
                f'method {self.name}: found the option "{unknown[0][:60]}", expected one of'
                f" {', '.join(known) or 'none, as it has no options'}"
            )
        return {
            name: option.check(given[name]) if name in given else option.default
            for name, option in known.items()
        }

    def work(self, values: Mapping[str, Value]) -> Work:
        """What these values of the options ask for, see ``Work``; for estimates of time."""

        def of(name: str, otherwise: int = 1) -> int:
            return int(values.get(name, otherwise))

        epochs = of("epochs", 0) * of("rounds") * of("stages") * of("ensemble")
        patches = of("patches", 0)
        passes = 1  # of the source model
        if self.judged:
            # the result, the judge's two further looks through each model, and one at each sample
            models = of("ensemble") if self.adapts else 0
            passes += models or of("blends")
            passes += JUDGED * (1 + models) + of("samples", 0)
        return Work(
            passes=passes + epochs + self.looks,  # there is a look at the state after each epoch
            epochs=0 if patches else epochs,
            draws=of("samples", 0) * of("steps", 0),
            patches=patches * epochs,
            views=self.views * of("decoders"),
            sliding=self.sliding,
        )

    def lacks(self, holds: Collection[str]) -> str | None:
        """Why a bundle cannot serve this method; None if it can.

        Args:
            holds: what the bundle has of the names in ``needs``.
        """
        missing = [REMEDIES[need] for need in self.needs if need not in holds]
        return f"needs {' and '.join(missing)}" if missing else None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for ``methods --json`` and the panel."""
        return {
            "name": self.name,
            "title": self.title,
            "summary": self.summary,
            "paper": self.paper,
            "updates": self.updates,
            "needs": list(self.needs),
            "cost": self.cost,
            "adapts": self.adapts,
            "options": [
                {
                    "name": option.name,
                    "kind": option.kind,
                    "default": option.default,
                    "low": option.low if math.isfinite(option.low) else None,
                    "high": option.high if math.isfinite(option.high) else None,
                    "choices": list(option.choices),
                    "optional": option.optional,
                    "help": option.help,
                }
                for option in self.options
            ],
        }


INFERENCE_OPTIONS = (
    Option("overlap", 0.5, "Share by which neighbouring windows overlap.", 0, 0.9),
    Option("mirror", False, "Average over mirrored copies (2 to the dimensions).", kind="bool"),
)

# Of every method that trains weights; adaptation/common/loop.py reads them.
LOOP_OPTIONS = (
    Option(
        "calibrated",
        True,
        "Divide the logits by the bundle's temperature wherever the method computes with them, as"
        " prediction does, so that thresholds and ratios mean what their paper says; false: the"
        " logits as they are, as in the originals, whose networks have no temperature.",
        kind="bool",
    ),
    Option(
        "anchor",
        0.0,
        "Weight of a pull towards the source's weights, half the squared distance (L2-SP); 0: off.",
        0,
        1e6,
    ),
    Option(
        "ema",
        0.0,
        "Decay, a step, of a moving average of the weights, which is delivered in their place; 0:"
        " off.",
        0,
        0.99999,
    ),
    Option(
        "patience",
        0,
        "Epochs without a better state before it stops; 0: never.",
        0,
        10000,
        kind="int",
    ),
)

BN_MODE = choice(
    "bn",
    ("train", "eval"),
    "Batch normalisation by each batch's statistics, as published, or by the running ones.",
)

SETTLE_BN = Option(
    "settle_bn",
    True,
    "Before the first step, replace the statistics of batch normalisation by those of the target"
    " images (Schneider et al., NeurIPS 2020), so that no step sees a mixture of both; the original"
    " does not.",
    kind="bool",
)

# The last options of a method that trains with either statistics.
COMMON_OPTIONS = (BN_MODE, SETTLE_BN, *LOOP_OPTIONS, *INFERENCE_OPTIONS)


def batch_option(batch: int) -> Option:
    return Option(
        "batch",
        batch,
        "Patches (2D: slices) that are used at once; all of them where there are fewer.",
        1,
        1024,
        kind="int",
    )


def training_options(
    epochs: int, learning_rate: float, batch: int, optimiser: str = "Adam"
) -> tuple[Option, ...]:
    """The options of every training, with a method's own defaults."""
    return (
        Option("epochs", epochs, "Passes over the target images.", 1, 10000, kind="int"),
        Option("learning_rate", learning_rate, f"Of {optimiser}.", 0, 1),
        batch_option(batch),
    )
