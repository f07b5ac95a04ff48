"""Plausible volumes that a user types, in place of those that a model has or lacks.

As text "Liver=900-2500, Tumour=1-10-300": of each structure the smallest and the largest plausible
volume in ml, perhaps with the usual one between them. Standard library alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from SFDALib.bundle.labels import Label
from SFDALib.errors import RequestError
from SFDALib.json_fields import LARGEST, SMALLEST

NUMBER = r"\s*(\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*"
ENTRY = re.compile(rf"([^=]+)={NUMBER}-{NUMBER}(?:-{NUMBER})?(?:,|$)", re.IGNORECASE)
FORM = (
    "NAME=SMALLEST-LARGEST or NAME=SMALLEST-USUAL-LARGEST in ml, such as Liver=900-2500, with"
    " commas between structures"
)
SLICE_NOTE = (
    "The plausible volumes that were typed are not used: the image is a single slice, of which"
    " volumes say nothing."
)


@dataclass(frozen=True)
class TypedVolume:
    """The plausible volumes of one structure, in ml.

    Args:
        structure: its name, in upper or lower case, or the number of its label.
        smallest, largest: positive.
        usual: between them; None if it was not typed.

    Raises:
        RequestError: they are not in this order, or not within the bounds of a bundle's numbers.
    """

    structure: str
    smallest: float
    largest: float
    usual: float | None = None

    def __post_init__(self) -> None:
        ordered = all(a <= b for a, b in zip(self.numbers, self.numbers[1:], strict=False))
        if not (ordered and self.smallest >= SMALLEST and self.largest < LARGEST):
            raise RequestError(
                f"volumes: found {self.word()[:80]}, expected smallest <= usual <= largest, from"
                f" {SMALLEST:g} to below {LARGEST:,.0f} ml; correct it"
            )

    @classmethod
    def of(cls, structure: str, numbers: Sequence[float]) -> TypedVolume:
        """From smallest and largest, or smallest, usual and largest."""
        usual = numbers[1] if len(numbers) == 3 else None
        return cls(structure, numbers[0], numbers[-1], usual)

    @property
    def numbers(self) -> list[float]:
        """Smallest and largest, or smallest, usual and largest."""
        return [n for n in (self.smallest, self.usual, self.largest) if n is not None]

    def word(self) -> str:
        """The text that stands for it."""
        return f"{self.structure}={'-'.join(f'{n:.15g}' for n in self.numbers)}"

    def mean_ml(self, known: float | None) -> float:
        """The usual volume: as typed, else the model's own if it is plausible, else the geometric
        mean of the range.
        """
        if self.usual is not None:
            return self.usual
        if known is not None and self.smallest <= known <= self.largest:
            return known
        return math.sqrt(self.smallest * self.largest)


def parse(text: str) -> tuple[TypedVolume, ...]:
    """Plausible volumes from text; none from an empty one.

        >>> parse("Liver=900-2500")
        (TypedVolume(structure='Liver', smallest=900.0, largest=2500.0, usual=None),)

    Raises:
        RequestError: the text has another form, or numbers in another order.
    """
    found, rest = [], text.strip()
    while rest:
        entry = ENTRY.match(rest)
        if entry is None or not entry[1].strip():
            raise RequestError(f'volumes: found "{rest[:60]}", expected {FORM}; correct it')
        name, *numbers = entry.groups()
        found.append(TypedVolume.of(name.strip(), [float(n) for n in numbers if n is not None]))
        rest = rest[entry.end() :].strip()
    return tuple(found)


def text_of(typed: Iterable[TypedVolume]) -> str:
    """The text from which ``parse`` makes them."""
    return ",".join(one.word() for one in typed)


def to_json(typed: Iterable[TypedVolume]) -> dict[str, list[float]]:
    """The numbers of each structure, as a job file has them."""
    return {one.structure: one.numbers for one in typed}


def matched(typed: Sequence[TypedVolume], names: Sequence[str]) -> dict[int, TypedVolume]:
    """By the value of each label what was typed of it.

    Args:
        typed: each structure by its name as it is, by its name in another case, or by its number.
        names: of the labels 1, 2, 3, ... of a model.

    Raises:
        RequestError: not exactly one label of that name, or one that was typed twice.
    """
    found: dict[int, TypedVolume] = {}
    for one in typed:
        value = _value(one.structure, names)
        if value in found:
            raise RequestError(
                f'volumes: found "{found[value].structure[:60]}" and "{one.structure[:60]}",'
                " expected each structure once; leave one out"
            )
        found[value] = one
    return found


def _value(structure: str, names: Sequence[str]) -> int:
    """The value of the label that is meant."""
    numbered = dict(enumerate(names, start=1))
    for is_meant in (
        lambda value, name: name == structure,
        lambda value, name: name.casefold() == structure.casefold(),
        lambda value, name: str(value) == structure,
    ):
        meant = [value for value, name in numbered.items() if is_meant(value, name)]
        if len(meant) == 1:
            return meant[0]
    known = ", ".join(f"{name} ({value})" for value, name in numbered.items())
    raise RequestError(
        f'volumes: found "{structure[:60]}", expected the name or the number of one of the model\'s'
        f" structures: {known}; correct it"
    )


def sized(labels: Sequence[Label], typed: Sequence[TypedVolume]) -> tuple[Label, ...]:
    """The labels with what was typed in place of their own ``size_ml`` and ``mean_ml``.

    Raises:
        RequestError: see ``matched``.
    """
    found = matched(typed, [label.name for label in labels])
    return tuple(
        replace(label, size_ml=(one.smallest, one.largest), mean_ml=one.mean_ml(label.mean_ml))
        if (one := found.get(label.value))
        else label
        for label in labels
    )


def notes(
    typed: Sequence[TypedVolume], labels: Sequence[Label], single_slice: bool
) -> tuple[str, ...]:
    """What a report says of them; nothing if nothing was typed.

    Args:
        labels: of the model.
        single_slice: whether the image is one.
    """
    if not typed:
        return ()
    if single_slice:
        return (SLICE_NOTE,)
    found = matched(typed, [label.name for label in labels])
    ranges = [
        f"{label.name} {_in_words(found[label.value])}" for label in labels if label.value in found
    ]
    return (f"Plausible volumes as typed: {', '.join(ranges)}.",)


def _in_words(one: TypedVolume) -> str:
    usual = "" if one.usual is None else f" (usually {one.usual:g} ml)"
    return f"{one.smallest:g} to {one.largest:g} ml{usual}"
