"""Typed access to the fields of a JSON object. Standard library alone."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from SFDALib.errors import RequestError, shown
from SFDALib.json_file import as_object

SMALLEST, LARGEST = 1e-6, 1e6  # of the positive numbers in a description: mm, ml, voxels
LARGEST_REAL = 1e30  # magnitude of any other number
LONGEST = 1000  # characters of a text


class Fields:
    """Typed access to the fields of one JSON object, with errors that name file and field.

    In every method ``key`` is the field's name and ``default`` the value where the object has no
    such field; without a default the field is required. Every method raises ``RequestError`` for a
    field that is missing or of another type or range than expected.

    Args:
        values: the JSON object.
        where: file and place in it, for errors.

    Raises:
        RequestError: ``values`` is no object.
    """

    def __init__(self, values: object, where: str) -> None:
        self.values, self.where = as_object(values, where), where

    def get(self, key: str, kind: type | tuple[type, ...], default: Any = ...) -> Any:
        """A value of the Python type or types ``kind``; a text is one line without control codes.

        A Boolean is no number.
        """
        value = self.values.get(key, default)
        if value is default and default is not ...:
            return value
        if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
            found = "nothing" if value is ... else f"{value!r:.80}"
            raise RequestError(
                f'{self.where}, field "{key}": found {found}, expected {_names(kind)}; correct it'
            )
        if isinstance(value, str) and (shown(value) != value or len(value) > LONGEST):
            raise RequestError(
                f'{self.where}, field "{key}": found {value!r:.80}, expected one line of at most'
                f" {LONGEST} characters, without control characters; correct it"
            )
        return value

    def number(self, key: str, default: Any = ...) -> Any:
        """A positive number, from 1e-6 to below 1e6."""
        value = self.get(key, (int, float), default)
        if value is not default and not SMALLEST <= value < LARGEST:
            raise RequestError(
                f'{self.where}, field "{key}": found {value!r:.80}, expected a positive number;'
                " correct it"
            )
        return value

    def real(self, key: str, default: Any = ...) -> Any:
        """A finite number of any sign, below 1e30 in magnitude."""
        value = self.get(key, (int, float), default)
        if not abs(value) < LARGEST_REAL:
            raise RequestError(
                f'{self.where}, field "{key}": found {value!r:.80}, expected a finite number;'
                " correct it"
            )
        return value

    def numbers(self, key: str, count: int, default: Any = ..., missing: bool = False) -> Any:
        """A list of ``count`` positive numbers, as a tuple.

        Args:
            missing: allow null among them.
        """
        value = self.get(key, list, default)
        if value is default:
            return value
        good = len(value) == count and all(
            (item is None and missing)
            or (type(item) in (int, float) and SMALLEST <= item < LARGEST)
            for item in value
        )
        if not good:
            raise RequestError(
                f'{self.where}, field "{key}": found {value!r:.80}, expected {count} positive'
                f" numbers{' or null' if missing else ''}; correct it"
            )
        return tuple(value)

    def choice(self, key: str, choices: Collection[str], default: str | None) -> Any:
        """One of the texts in ``choices``."""
        value = self.get(key, str, default)
        if value is not default and value not in choices:
            raise RequestError(
                f'{self.where}, field "{key}": found {value!r:.60}, expected one of'
                f" {', '.join(choices)}; correct it"
            )
        return value

    def axes(self, key: str, known: tuple[int, ...], whole: bool) -> Any:
        """A list of different axes, as a tuple; None for null.

        Args:
            known: the axes that there are.
            whole: the list must name all of them, and is ``known`` where there is none.
        """
        value = self.get(key, list, list(known) if whole else None)
        if value is None:
            return None
        good = all(type(axis) is int for axis in value) and len(value) == len(set(value))
        if not good or not set(value) <= set(known) or (whole and len(value) != len(known)):
            raise RequestError(
                f'{self.where}, field "{key}": found {value!r:.60}, expected different numbers'
                f" among {', '.join(map(str, known))}; correct it"
            )
        return tuple(value)


def _names(kind: type | tuple[type, ...]) -> str:
    words = {
        str: "text",
        int: "a whole number",
        float: "a number",
        list: "a list",
        dict: "an object",
        bool: "true or false",
    }
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(words.get(one, one.__name__) for one in kinds)
