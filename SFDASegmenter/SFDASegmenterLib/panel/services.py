"""What the panel needs beside its widgets: a logic that runs, short commands, and packages. All are
given to it, so that a test gives its own and starts no process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from SFDASegmenterLib import dependencies
from SFDASegmenterLib.parameters import Parameters
from SFDASegmenterLib.request import Request
from SFDASegmenterLib.runs import Run
from SFDASegmenterLib.worker import Query, Worker


class Logic(Protocol):
    """Owns the parameter node and the run; see ``SFDASegmenterLogic``."""

    run: Run | None
    running: bool

    def getParameterNode(self) -> Parameters: ...

    def start(self, request: Request) -> Run: ...

    def abandon(self) -> None: ...


class Question(Protocol):
    """A short command whose answer is JSON; see ``Query``."""

    ended: bool

    def answer(self) -> Any | None: ...

    def end(self) -> None: ...


class Process(Protocol):
    """A short command; see ``Worker``."""

    log: str

    def status(self) -> int | None: ...

    def end(self) -> None: ...


class Packages(Protocol):
    """What Python packages are there, and installing them; see ``dependencies``."""

    def missing(self) -> dependencies.Missing: ...

    def ensure(self) -> None: ...

    def install_from(self, wheels: Path) -> None: ...


def short_command(words: Sequence[str]) -> Worker:
    return Worker(words, stops_with_input=False)


@dataclass(frozen=True)
class Services:
    """What the panel uses unless it is given something else.

    Args:
        ask: starts a short command whose answer is JSON, given its words.
        start: starts a short command, given its words.
        packages: what is installed.
    """

    ask: Callable[[Sequence[str]], Question] = Query
    start: Callable[[Sequence[str]], Process] = short_command
    packages: Packages = dependencies
