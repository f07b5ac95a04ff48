"""Fields of requests that describe themselves (standard library alone).

A request is a frozen dataclass. The metadata of each of its fields, made by ``described``, holds
the field's help and its ``Kind``. The arguments of the command line, the fields of a job file and
the checks of both are derived from them, so that a new option of a request is one new field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any

from SFDALib import json_file
from SFDALib.errors import RequestError

Keywords = dict[str, Any]  # of ``argparse.ArgumentParser.add_argument``


class Kind:
    """How the values of a field are typed on the command line and stored in a job file.

    Args:
        expected: what a job file holds, for the error where it holds something else.
        inferred: whether the command line finds a value where none is typed, though the field has
            no default.
    """

    expected = "text"
    inferred = False

    def arguments(self, name: str, help: str) -> dict[str, Keywords]:
        """The arguments of the command line, by name (underscores, no leading dashes)."""
        return {name: {"help": help}}

    def parse(self, typed: Mapping[str, Any], stated: Mapping[str, Any]) -> Any:
        """The value from the command line.

        Args:
            typed: what ``argparse`` found for those of ``arguments`` that were typed.
            stated: the values of the request's earlier fields, where typed.

        Raises:
            RequestError: it is malformed.
        """
        (value,) = typed.values()
        return value

    def read(self, value: object, where: str) -> Any:
        """The value from JSON.

        Args:
            where: file and field, for the error.

        Raises:
            RequestError: it is of another type.
        """
        if not isinstance(value, str):
            raise self.refusal(value, where)
        return value

    def plain(self, value: Any) -> Any:
        """The value as it is stored in JSON."""
        return value

    def check(self, name: str, value: Any) -> None:
        """Check a value of the right type.

        Raises:
            RequestError: the field cannot have it.
        """

    def refusal(self, value: object, where: str) -> RequestError:
        """The error for a value of another type."""
        return RequestError(f"{where}: found {value!r:.60}, expected {self.expected}")


@dataclass(frozen=True)
class Choice(Kind):
    """One of several words.

    Args:
        choices: the words.
    """

    choices: tuple[str, ...]

    def arguments(self, name: str, help: str) -> dict[str, Keywords]:
        """The argument, with the words it may have."""
        return {name: {"help": help, "choices": self.choices}}

    def check(self, name: str, value: str) -> None:
        """Check that the value is one of the words."""
        if value not in self.choices:
            raise RequestError(
                f'{name}: found "{value[:40]}", expected {" or ".join(self.choices)}'
            )


@dataclass(frozen=True)
class Whole(Kind):
    """A whole number.

    Args:
        low, high: inclusive bounds.
    """

    low: int
    high: int

    expected = "a whole number"

    def arguments(self, name: str, help: str) -> dict[str, Keywords]:
        """The argument, an integer."""
        return {name: {"help": help, "type": int}}

    def read(self, value: object, where: str) -> int:
        """The integer from JSON; true and false are refused."""
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.refusal(value, where)
        return value

    def check(self, name: str, value: int) -> None:
        """Check that the value is within the bounds."""
        if not self.low <= value <= self.high:
            raise RequestError(f"{name}: found {value}, expected {self.low} to {self.high}")


class Flag(Kind):
    """True where it is typed."""

    expected = "true or false"

    def arguments(self, name: str, help: str) -> dict[str, Keywords]:
        """The argument, which takes no value."""
        return {name: {"help": help, "action": "store_true"}}

    def read(self, value: object, where: str) -> bool:
        """True or false from JSON."""
        if not isinstance(value, bool):
            raise self.refusal(value, where)
        return value


class FileName(Kind):
    """A file or a folder."""

    def check(self, name: str, value: str) -> None:
        """Check that the name is not empty and has no NUL character."""
        if not value or "\0" in value:
            raise RequestError(f"{name}: found {value!r:.60}, expected the name of a file")


class FileNames(Kind):
    """One file or folder, or several."""

    expected = "text or a list"

    def arguments(self, name: str, help: str) -> dict[str, Keywords]:
        """The argument, which takes one name or more."""
        return {name: {"help": help, "nargs": "+", "metavar": "FILE"}}

    def parse(self, typed: Mapping[str, Any], stated: Mapping[str, Any]) -> tuple[str, ...]:
        """The names that were typed."""
        (names,) = typed.values()
        return tuple(names)

    def read(self, value: object, where: str) -> tuple[str, ...]:
        """The names from JSON, where one may stand without a list."""
        if not isinstance(value, str | list):
            raise self.refusal(value, where)
        names = [value] if isinstance(value, str) else value
        if not all(isinstance(name, str) for name in names):
            raise RequestError(f"{where}: found {names!r:.60}, expected file names")
        return tuple(names)

    def plain(self, value: tuple[str, ...]) -> list[str]:
        """The list of the names."""
        return list(value)

    def check(self, name: str, value: tuple[str, ...]) -> None:
        """Check that there is a name, and each of them as ``FileName`` does."""
        if not value:
            raise RequestError(f"{name}: found no file, expected at least one")
        for one in value:
            FileName().check(name, one)


def described(kind: Kind, help: str) -> dict[str, Any]:
    """The metadata of a field: its kind, and one sentence for ``--help``."""
    return {"kind": kind, "help": help}


def described_fields(form: type) -> Iterator[tuple[Field[Any], Kind, str]]:
    """Each field of a request's class with its kind and its help."""
    for one in fields(form):
        yield one, one.metadata["kind"], one.metadata["help"]


def is_required(one: Field[Any]) -> bool:
    """Whether the field has no default."""
    return one.default is MISSING and one.default_factory is MISSING


def read_fields(form: type, path: Path) -> dict[str, Any]:
    """The fields of a request from a JSON file, each of its type.

    Args:
        form: the request's class.

    Raises:
        RequestError: naming the field, what was found and what was expected.
    """
    values = json_file.read(path)
    if not isinstance(values, dict):
        raise RequestError(f"{path}: found {type(values).__name__}, expected an object")
    known = {one.name: (one, kind) for one, kind, _ in described_fields(form)}
    required = [name for name, (one, _) in known.items() if is_required(one)]
    for name in required:
        if name not in values:
            raise RequestError(f'{path}: found no field "{name}", expected {", ".join(required)}')
    for name in values:
        if name not in known:
            raise RequestError(
                f'{path}: found the field "{name[:60]}", expected only {", ".join(known)}'
            )
    return {
        name: known[name][1].read(value, f'{path}, field "{name}"')
        for name, value in values.items()
    }
