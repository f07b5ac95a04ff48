"""The arguments that several commands have in common."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import Field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from SFDALib.errors import RequestError
from SFDALib.jobs import events
from SFDALib.jobs.fields import Kind, described_fields, is_required
from SFDALib.jobs.request import Request

AnyRequest = TypeVar("AnyRequest", bound=Request)


class Parser(argparse.ArgumentParser):
    """Reports a wrong argument as a ``RequestError`` of one line."""

    def error(self, message: str) -> NoReturn:
        """Raise the ``RequestError`` in place of printing the usage and exiting."""
        raise RequestError(f"{self.prog}: {message}; see {self.prog} --help")


def add_computing(command: argparse.ArgumentParser) -> None:
    """Add the device and the seed, of commands that have no request."""
    command.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps")
    command.add_argument(
        "--seed", type=int, default=0, help="seed of all random numbers (default 0)"
    )


def add_process(command: argparse.ArgumentParser) -> None:
    """Add how the process communicates with the program that started it."""
    command.add_argument(
        "--progress", choices=events.MODES, default="auto", help="how progress is shown"
    )
    command.add_argument(
        "--stop-with-stdin",
        action="store_true",
        help="cancel when standard input ends, as it does when the program that started this ends",
    )


def add_request(command: argparse.ArgumentParser, form: type[Request]) -> None:
    """Add an argument for every field of a form of request, and ``--job``."""
    for one, kind, help in described_fields(form):
        for name, keywords in kind.arguments(one.name, help).items():
            command.add_argument(_typed(name), default=None, **keywords)
    command.add_argument("--job", help="a JSON file that describes all of this instead")


def request_of(form: type[AnyRequest], arguments: argparse.Namespace) -> AnyRequest:
    """The request that the arguments ask for, checked.

    Args:
        form: as for ``add_request``.

    Raises:
        RequestError: an argument is missing, has a value that it cannot have, or stands beside
            ``--job``.
    """
    typed = {}
    for one, kind, help in described_fields(form):
        given = {name: getattr(arguments, name) for name in kind.arguments(one.name, help)}
        typed[one.name] = {name: value for name, value in given.items() if value is not None}
    if arguments.job is not None:
        _refuse_beside_job([name for given in typed.values() for name in given], arguments.job)
        return form.from_file(Path(arguments.job)).checked()
    needed = [one.name for one, kind, _ in described_fields(form) if _is_needed(one, kind)]
    _require([name for name, given in typed.items() if given], needed)
    stated: dict[str, Any] = {}
    for one, kind, _ in described_fields(form):
        if typed[one.name] or kind.inferred:
            stated[one.name] = kind.parse(typed[one.name], stated)
    return form(**stated).checked()


def _is_needed(one: Field[Any], kind: Kind) -> bool:
    return is_required(one) and not kind.inferred


def _typed(name: str) -> str:
    """An argument as it is typed."""
    return f"--{name.replace('_', '-')}"


def _require(given: Iterable[str], needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in given]
    if missing:
        *some, last = map(_typed, needed)
        raise RequestError(
            f"found no {_typed(missing[0])}, expected {', '.join(some)} and {last}; add it"
        )


def _refuse_beside_job(given: Sequence[str], path: str) -> None:
    if given:
        raise RequestError(
            f"found {', '.join(map(_typed, given))} beside --job, expected all of it in {path};"
            " change the file or leave --job out"
        )
