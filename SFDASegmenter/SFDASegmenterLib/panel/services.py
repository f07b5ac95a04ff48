"""What the panel uses beside its widgets. Tests give it their own and start no process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from SFDASegmenterLib import dependencies
from SFDASegmenterLib.parameters import Parameters
from SFDASegmenterLib.protocols import Installer, Job, Process, Question
from SFDASegmenterLib.request import Request
from SFDASegmenterLib.runs import Run
from SFDASegmenterLib.worker import Query, Worker


class Logic(Protocol):
    """Owns the parameter node and the run; see ``SFDASegmenterLogic``."""

    run: Run | None

    @property
    def running(self) -> bool:
        """Whether a run has not ended yet."""

    def getParameterNode(self) -> Parameters:
        """The panel's state."""

    def start(self, request: Request) -> Run:
        """Start a run."""

    def abandon(self) -> None:
        """End the run at once and remove all files."""


def short_command(words: Sequence[str]) -> Worker:
    """A process of a command that does not know ``--stop-with-stdin``."""
    return Worker(words, stops_with_input=False)


@dataclass(frozen=True)
class Services:
    """What starts processes, each given the words of its command line; and what installs.

    Args:
        job: starts a run.
        ask: starts a short command whose answer is JSON.
        start: starts another short command.
        installer: finds and installs Python packages.
    """

    job: Callable[[Sequence[str]], Job] = Worker
    ask: Callable[[Sequence[str]], Question] = Query
    start: Callable[[Sequence[str]], Process] = short_command
    installer: Installer = dependencies
