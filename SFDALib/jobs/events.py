"""Reports of a job's progress: a bar for people, JSON lines for programs, or none."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from SFDALib.json_file import plain

MODES = ("auto", "bar", "json", "none")
MIN_INTERVAL = 0.1  # seconds between two JSON lines of one stage


class Reporter(AbstractContextManager["Reporter"]):
    """A ``Progress`` that shows nothing; the base of the others."""

    def __call__(self, stage: str, step: int, total: int, **details: Any) -> None:
        """Report that ``step`` of ``total`` steps of a stage are done."""

    def event(self, name: str, **fields: Any) -> None:
        """Report an event other than progress, such as started, result or error."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None


class JsonReporter(Reporter):
    """One JSON object on each line of standard output, flushed after each line."""

    def __init__(self) -> None:
        self._paces: dict[str, _Pace] = {}

    def __call__(self, stage: str, step: int, total: int, **details: Any) -> None:
        """Write a line, at most one in ``MIN_INTERVAL`` seconds; the first and last always."""
        now = time.monotonic()
        pace = self._paces.get(stage)
        if pace is None or step < pace.last_step:  # a stage starts or restarts
            pace = self._paces[stage] = _Pace(step, now, step, now)
        elif step < total and now - pace.last_time < MIN_INTERVAL:
            return
        pace.last_step, pace.last_time = step, now
        fields = {"stage": stage, "step": step, "total": total, **details}
        self.event("progress", **fields, seconds_left=pace.seconds_left(total, now))

    def event(self, name: str, **fields: Any) -> None:
        """Write one line: the event's name and its fields."""
        line = json.dumps(plain({"event": name, **fields}), allow_nan=False)
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


@dataclass
class _Pace:
    """The first and the last report of a stage; times in seconds."""

    first_step: int
    first_time: float
    last_step: int
    last_time: float

    def seconds_left(self, total: int, now: float) -> float | None:
        """Seconds left, from the mean time of a step since the first report, or None."""
        if self.last_step >= total:
            return 0.0
        done = self.last_step - self.first_step
        return round((now - self.first_time) / done * (total - self.last_step), 1) if done else None


class BarReporter(Reporter):
    """A progress bar for each stage on standard error, with the time left."""

    def __init__(self) -> None:
        # Rich may be absent: the panel imports this module before the packages are installed.
        from rich.console import Console  # noqa: PLC0415
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description:<24}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[details]}", markup=False),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> BarReporter:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def __call__(self, stage: str, step: int, total: int, **details: Any) -> None:
        """Move the bar of the stage."""
        text = " ".join(
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in details.items()
        )
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total, details=text)
        self._progress.update(self._tasks[stage], completed=step, total=total, details=text)


def reporter(mode: str) -> Reporter:
    """The reporter of a mode; "auto" is a bar in a terminal and nothing elsewhere.

    Under torchrun only the process with rank 0 reports.
    """
    if os.environ.get("RANK", "0") != "0":
        return Reporter()
    if mode == "auto":
        mode = "bar" if sys.stderr.isatty() else "none"
    return {"bar": BarReporter, "json": JsonReporter, "none": Reporter}[mode]()
