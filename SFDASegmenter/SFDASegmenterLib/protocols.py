"""What runs and panel need of processes and packages. Tests give them their own, which start and
install nothing.

``Worker`` is the ``Process`` and ``Job`` of the application, ``Query`` its ``Question``, the module
``dependencies`` its ``Installer``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from SFDASegmenterLib.dependencies import Missing


class Process(Protocol):
    """A short command."""

    @property
    def log(self) -> str:
        """What it wrote to standard error."""

    def status(self) -> int | None:
        """The exit status; None while it runs."""

    def end(self) -> None:
        """Kill it with all that it started; return when they are gone."""


class Job(Process, Protocol):
    """A command that reports events and can be asked to stop."""

    def events(self) -> list[dict[str, Any]]:
        """The events since the last call."""

    def cancel(self) -> None:
        """Ask it to stop; ``status`` says when it has."""


class Question(Protocol):
    """A short command whose answer is JSON."""

    @property
    def ended(self) -> bool:
        """Whether it has ended, well or not."""

    def answer(self) -> Any | None:
        """The answer; None while it runs, and if it failed."""

    def end(self) -> None:
        """Kill it."""


class Installer(Protocol):
    """Finds and installs Python packages."""

    def missing(self) -> Missing:
        """What is not installed, or too old."""

    def ensure(self) -> None:
        """Install what is missing, with the user's consent.

        Raises:
            DependencyError: something is still missing.
        """

    def install_from(self, wheels: Path) -> None:
        """Install what is missing from a folder of wheels.

        Raises:
            DependencyError: something is still missing.
        """
