"""One process that runs SFDALib's job command: its events, and its end whatever happens.

Standard library alone: no Qt, no MRML. Whoever owns a worker asks it for news, from one thread.
The process gets a pipe as its standard input and stops when that closes, so that it ends with this
application even when this application crashes. What is slow to stop is killed with all that it
started: Slicer's Python is itself started by a launcher, and killing only the launcher would leave
the computation and its GPU memory behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from SFDASegmenterLib import library

GRACE = 1.5  # seconds between the wish to stop and the kill
CANCELLED = 130
KEPT_LINES = 2000  # of standard error
NO_WINDOW = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # Windows alone has it


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Args:
        stage: in words.
        step, total: of that stage; total is 0 if it is unknown.
        seconds_left: of that stage; None if unknown.
        image: the image of a cohort, e.g. "head (2 of 3)".
    """

    stage: str
    step: int = 0
    total: int = 0
    seconds_left: float | None = None
    image: str = ""

    @staticmethod
    def of(event: Mapping[str, Any]) -> Progress:
        """From an event of that name."""
        return Progress(
            stage=event["stage"],
            step=event["step"],
            total=event["total"],
            seconds_left=event.get("seconds_left"),
            image=event.get("image") or "",
        )


def python() -> str:
    """Slicer's own Python, or the interpreter that runs this where there is no Slicer."""
    return shutil.which("PythonSlicer") or sys.executable


class Worker:
    """``python -m SFDALib WORDS``, started at once.

    Args:
        words: the command line after ``SFDALib``.
        stops_with_input: whether the command knows ``--stop-with-stdin``; the others are short and
            are killed.
    """

    def __init__(self, words: Sequence[str], stops_with_input: bool = True) -> None:
        words = [*words, "--stop-with-stdin"] if stops_with_input else list(words)
        self._process = subprocess.Popen(
            [python(), "-m", "SFDALib", *words],
            cwd=library.root(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
            start_new_session=os.name != "nt",
            creationflags=NO_WINDOW,
        )
        self._gentle = stops_with_input
        self._kill_at: float | None = None
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._log: deque[str] = deque(maxlen=KEPT_LINES)
        self._readers = [
            threading.Thread(target=_forward, args=(stream, take), daemon=True)
            for stream, take in (
                (self._process.stdout, self._said.put),
                (self._process.stderr, self._log.append),
            )
        ]
        for reader in self._readers:
            reader.start()

    @property
    def log(self) -> str:
        """What it wrote to standard error."""
        return "\n".join(list(self._log))

    def lines(self) -> list[str]:
        """What it wrote to standard output since the last call."""
        lines = []
        while True:
            try:
                lines.append(self._said.get_nowait())
            except queue.Empty:
                return lines

    def close_input(self) -> None:
        """Close its standard input, as the system does when this application dies: a command that
        knows ``--stop-with-stdin`` stops.
        """
        if self._process.stdin is not None:
            self._process.stdin.close()

    def events(self) -> list[dict[str, Any]]:
        """The events since the last call; other lines are added to the log."""
        events = []
        for line in self.lines():
            try:
                event = json.loads(line)
            except ValueError:
                event = None
            if isinstance(event, dict) and "event" in event:
                events.append(event)
            else:
                self._log.append(line)
        return events

    def status(self) -> int | None:
        """The exit status, once all of its output has been read; None while it runs.

        After ``cancel`` this also kills what does not stop by itself.
        """
        if self._kill_at is not None and time.monotonic() > self._kill_at:
            self._kill_tree()
            self._kill_at = None
        if any(reader.is_alive() for reader in self._readers):
            return None
        return self._process.poll()

    def cancel(self) -> None:
        """Ask it to stop; ``status`` says when it has."""
        if self._kill_at is None and self._process.poll() is None:
            self.close_input()
            self._kill_at = time.monotonic() + (GRACE if self._gentle else 0.0)

    def end(self) -> None:
        """Kill it with all that it started, and return when they are gone."""
        self.close_input()
        self._kill_tree()
        self._process.wait()
        for reader in self._readers:
            reader.join()

    def _kill_tree(self) -> None:
        if not any(reader.is_alive() for reader in self._readers):
            return  # its pipes are closed: all of its processes have ended
        if os.name == "nt":
            subprocess.run(
                ["taskkill", "/F", "/T", "/PID", str(self._process.pid)],
                check=False,  # it may end on its own in this moment
                capture_output=True,
                creationflags=NO_WINDOW,
            )
            return
        with contextlib.suppress(ProcessLookupError):  # it may end on its own in this moment
            os.killpg(self._process.pid, signal.SIGKILL)  # the session, which outlives the launcher


def _forward(stream: IO[str], take: Any) -> None:
    with stream:
        for line in stream:
            take(line.rstrip("\n"))


class Query:
    """A short command whose answer is JSON, such as ``devices --json``."""

    def __init__(self, words: Sequence[str]) -> None:
        self._worker = Worker([*words, "--json"], stops_with_input=False)
        self._text: list[str] = []

    def answer(self) -> Any | None:
        """The answer once it is there; None before, and for good if the command fails."""
        self._text += self._worker.lines()
        if self._worker.status() != 0:
            return None
        self._text += self._worker.lines()
        return json.loads("\n".join(self._text))

    @property
    def ended(self) -> bool:
        """Whether the command has ended, well or not."""
        return self._worker.status() is not None

    @property
    def log(self) -> str:
        """What it wrote to standard error."""
        return self._worker.log

    def end(self) -> None:
        """Kill the command."""
        self._worker.end()
