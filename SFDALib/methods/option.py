"""One option of a method: declared as a typed field of a dataclass, described for forms and texts.

A method's options are a frozen dataclass whose fields are made by ``option``. The annotation of a
field gives the option's kind, its choices (``Literal``) and whether "none" is a value
(``float | None``); the field's metadata gives the help, the range, the unit and what none means.
``described`` turns the class into a list of ``Option``, which the command line, the panel and
``methods --json`` read.

>>> from dataclasses import dataclass
>>> @dataclass(frozen=True, kw_only=True)
... class Options:
...     epochs: int = option(2, "Passes over the target images.", 1, 100)
>>> described(Options)[0].check("7")
7
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import Field, dataclass, field, fields
from functools import cache
from inspect import get_annotations
from types import NoneType
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from SFDALib.errors import RequestError

Value = float | int | bool | str | None
Kind = Literal["float", "int", "bool", "text"]
PRESETS = RECOMMENDED, PUBLISHED = "recommended", "published"
ACRONYMS = {"bn", "ema", "hd", "kld", "lr", "nig"}  # in names of options
DIGITS = 10  # of a bound: a million is 1000000, not 1e+06
KINDS: Mapping[type, Kind] = {float: "float", int: "int", bool: "bool", str: "text"}


def option(
    default: Any,
    help: str,
    low: float = -math.inf,
    high: float = math.inf,
    lowers_memory: bool = False,
    unit: str = "",
    none: str = "",
) -> Any:
    """A field of a dataclass of options; the arguments are those of ``Option``.

    Args:
        default: the published value.
    """
    about = {"help": help, "low": low, "high": high, "lowers_memory": lowers_memory}
    return field(default=default, metadata={**about, "unit": unit, "none": none})


@dataclass(frozen=True)
class Option:
    """The description of one option.

    Args:
        name: as typed on the command line.
        published: its value in the method's paper or released code.
        recommended: its value when it is not given.
        help: one sentence for users; the unit is told beside it.
        low, high: inclusive bounds of a number.
        choices: the words that a text option accepts; empty for free text.
        kind: "float", "int", "bool" or "text".
        optional: whether "none" is a value.
        lowers_memory: whether a smaller value needs less memory.
        unit: of a number, such as "s" or "voxels"; empty where it has none.
        none: what the value none means, such as "chosen by the method"; of an optional one.
    """

    name: str
    published: Value
    recommended: Value
    help: str
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    kind: Kind = "float"
    optional: bool = False
    lowers_memory: bool = False
    unit: str = ""
    none: str = ""

    @property
    def title(self) -> str:
        """The name as a form shows it, with the unit: "Time limit (s)"."""
        words = [part.upper() if part in ACRONYMS else part for part in self.name.split("_")]
        text = " ".join(words)
        unit = f" ({self.unit})" if self.unit else ""
        return f"{text[:1].upper()}{text[1:]}{unit}"

    def in_words(self) -> str:
        """The help, the values that the option accepts, and its default."""
        values = self.expected()
        return f"{self.help} {values[:1].upper()}{values[1:]}; default {self.usual()}."

    def check(self, value: object) -> Value:
        """The value in the option's type, from a word of the command line or a value of JSON.

        Raises:
            RequestError: the value has another type, is out of range, or is no choice.
        """
        if self.optional and (value is None or value == "none"):
            return None
        parsed = self._parse(value)
        if parsed is None or (
            self.kind in ("float", "int") and not self.low <= float(parsed) <= self.high
        ):
            raise RequestError(
                f'option {self.name}: found "{str(value)[:60]}", expected {self.expected()};'
                f" the default is {self.usual()}"
            )
        return parsed

    def value(self, preset: str) -> Value:
        """The value in one of ``PRESETS``."""
        return self.published if preset == PUBLISHED else self.recommended

    def usual(self) -> str:
        """The recommended value as it is typed, and the published one where it differs."""
        text = word(self.recommended)
        if self.published != self.recommended:
            text += f", published {word(self.published)}"
        return text

    def expected(self) -> str:
        """The values that the option accepts, in words."""
        words = {"float": "a number", "int": "a whole number", "bool": "true or false"}
        text = " or ".join(self.choices) if self.choices else words.get(self.kind, "text")
        if self.low > -math.inf:
            text += f" from {self.low:.{DIGITS}g}"
        if self.high < math.inf:
            text += f" to {self.high:.{DIGITS}g}"
        if self.unit:
            text += f" {self.unit}"
        return text + (f" or none: {self.none}" if self.optional else "")

    def to_dict(self) -> dict[str, Any]:
        """Plain data; an infinite bound is None."""
        return {
            "name": self.name,
            "kind": self.kind,
            "recommended": self.recommended,
            "published": self.published,
            "low": self.low if math.isfinite(self.low) else None,
            "high": self.high if math.isfinite(self.high) else None,
            "choices": list(self.choices),
            "optional": self.optional,
            "unit": self.unit,
            "none": self.none,
            "help": self.help,
        }

    def _parse(self, value: object) -> float | int | bool | str | None:
        """The value in the option's type; None if it is of another one."""
        if self.kind == "bool":
            words = {"true": True, "false": False, "on": True, "off": False}
            return value if isinstance(value, bool) else words.get(str(value).lower())
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            return None
        if self.kind == "text":
            good = isinstance(value, str) and (not self.choices or value in self.choices)
            return value if good else None
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return None
        if not math.isfinite(number) or (self.kind == "int" and number != int(number)):
            return None
        return int(number) if self.kind == "int" else number


def word(value: Value) -> str:
    """An option's value as it is typed."""
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def described(options: type[Any]) -> tuple[Option, ...]:
    """The options of a dataclass: those that a method declares first, then those of its bases.

    A field that a subclass declares again, such as one with another default, keeps its place.
    """
    return _described_once(cast(Hashable, options))


@cache
def _described_once(options: Any) -> tuple[Option, ...]:
    declared: dict[str, type] = {}
    for kind in reversed(options.__mro__):
        for one in getattr(kind, "__dataclass_fields__", {}).values():
            if one.metadata:
                declared.setdefault(one.name, kind)
    hints, found = get_type_hints(options), {one.name: one for one in fields(options)}
    return tuple(
        _described(name, hints[name], found[name])
        for kind in options.__mro__
        for name in get_annotations(kind)
        if declared.get(name) is kind
    )


def _described(name: str, hint: Any, declared: Field[Any]) -> Option:
    about = declared.metadata
    default: Any = declared.default
    inner = [part for part in get_args(hint) if part is not NoneType]
    optional = NoneType in get_args(hint)
    kind = inner[0] if optional else hint
    if get_origin(kind) is Literal:
        return Option(name, default, default, choices=get_args(kind), kind="text", **about)
    return Option(name, default, default, kind=KINDS[kind], optional=optional, **about)
