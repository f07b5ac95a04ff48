"""What can be done to a model's results at the end, each step by one word (standard library alone).

A bundle of ours names the steps that suit it in its field "postprocessing". A MONAI bundle has
transforms of its own in "cleaning". The user may have other steps instead of both, or none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from SFDALib.bundle.description import Description
from SFDALib.errors import RequestError
from SFDALib.volume.cleaning import (
    KEEP_PLAUSIBLE,
    PROBABILITIES,
    SMOOTH_SLICES,
    Cleaning,
    Plausible,
)

BUNDLE, OFF = "bundle", "off"  # in place of steps: those of the bundle, or none
KEEP_LARGEST = "KeepLargestConnectedComponent"
SIGMA_MM = 3.0  # of the smoothing: half of a neighbour's weight at 3.5 mm, a hundredth at 9 mm


TITLES: Mapping[str, str] = {
    SMOOTH_SLICES: "average a 2D model's probabilities over neighbouring slices",
    KEEP_PLAUSIBLE: "drop pieces of implausible size or place",
    KEEP_LARGEST: "keep the largest piece of each structure",
    "RemoveSmallObjects": "remove small pieces",
    "FillHoles": "fill holes",
    "LabelFilter": "keep some structures alone",
}
"""What each transform does, in words for people; a piece is a connected component."""


@dataclass(frozen=True)
class Step:
    """A step of post-processing.

    Args:
        transform: that carries it out.
        lack: why a model cannot have it, as "found X, expected Y; do Z"; None if it can.
        cleaning: that transform with its arguments for a model.
    """

    transform: str
    lack: Callable[[Description], str | None]
    cleaning: Callable[[Description], Cleaning]


def _lack_of_slices(description: Description) -> str | None:
    if description.input_spec.is_2d:
        return None
    return "found a 3D model, expected a 2D one, which sees the slices one by one; leave it out"


def _lack_of_sizes(description: Description) -> str | None:
    if description.input_spec.regions:
        return "found a model of overlapping regions, expected one of separate labels; leave it out"
    if any(label.size_ml for label in description.labels):
        return None
    return (
        "found no plausible volume of any structure in the model's description, expected size_ml;"
        " type it with --volumes, measure it with import-model --labels, or leave the step out"
    )


def _smooth(_description: Description) -> Cleaning:
    return Cleaning(SMOOTH_SLICES, {"sigma_mm": SIGMA_MM}, PROBABILITIES)


def _plausible(description: Description) -> Cleaning:
    structures = tuple(
        Plausible(label.value, label.size_ml, label.piece_ml or 0.0, label.radius_mm)
        for label in description.labels
        if label.size_ml
    )
    return Cleaning(KEEP_PLAUSIBLE, {"structures": structures})


def _largest(description: Description) -> Cleaning:
    """Of regions each output channel, the background's own not among them, else each label."""
    regions = description.input_spec.regions
    labels = [r.channel for r in regions] or [label.value for label in description.labels]
    arguments = {"applied_labels": labels, "is_onehot": bool(regions), "connectivity": 1}
    return Cleaning(KEEP_LARGEST, arguments)


STEPS: Mapping[str, Step] = {
    "smooth": Step(SMOOTH_SLICES, _lack_of_slices, _smooth),
    "plausible": Step(KEEP_PLAUSIBLE, _lack_of_sizes, _plausible),
    "largest": Step(KEEP_LARGEST, lambda _: None, _largest),
}
"""The steps by their words, in the order in which they are carried out."""


def in_words() -> str:
    """Every step with what it does."""
    return ", ".join(f"{word} ({TITLES[step.transform]})" for word, step in STEPS.items())


def words(asked: str) -> tuple[str, ...]:
    """The words of a request's ``postprocess``, in the order of ``STEPS``.

        >>> words("largest, smooth")
        ('smooth', 'largest')

    Raises:
        RequestError: an unknown word, or "bundle" or "off" beside another.
    """
    given = [word.strip() for word in asked.split(",")]
    if given in ([BUNDLE], [OFF]):
        return (given[0],)
    return ordered(given, "postprocess", f"{BUNDLE}, {OFF}, or ")


def ordered(given: Iterable[str], where: str, others: str = "") -> tuple[str, ...]:
    """Words of steps, each once, in the order of ``STEPS``.

    Args:
        given: the words.
        where: the field, for the error.
        others: what else may stand there, for the error.

    Raises:
        RequestError: an unknown word.
    """
    given = list(given)
    for word in given:
        if word not in STEPS:
            raise RequestError(
                f'{where}: found "{word:.40}", expected {others}some of {", ".join(STEPS)}'
            )
    return tuple(word for word in STEPS if word in given)


def cleaning(asked: str, description: Description) -> tuple[Cleaning, ...]:
    """The transforms that carry out what is asked for a model.

    Args:
        asked: "bundle" for what the model's description says, "off", or words of ``STEPS``.
        description: of the model.

    Raises:
        RequestError: a step that the model cannot have.
    """
    given = words(asked)
    if given == (OFF,):
        return ()
    if given == (BUNDLE,):
        own = _cleanings(description.postprocessing, description)
        return (*description.input_spec.cleaning, *own)
    return _cleanings(given, description)


def _cleanings(given: Iterable[str], description: Description) -> tuple[Cleaning, ...]:
    for word in given:
        lack = STEPS[word].lack(description)
        if lack:
            raise RequestError(f"postprocess, {word}: {lack}")
    return tuple(STEPS[word].cleaning(description) for word in given)
