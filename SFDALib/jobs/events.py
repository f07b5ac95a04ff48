"""How a job tells its progress: a bar for people, JSON lines for programs, or not at all."""

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
        """Note that ``step`` of ``total`` steps of a stage are done."""

    def event(self, name: str, **fields: Any) -> None:
        """Tell something that is no progress: started, result, error."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None


class JsonReporter(Reporter):
    """One JSON object a line on standard output, each flushed."""

    def __init__(self) -> None:
        self._paces: dict[str, _Pace] = {}

    def __call__(self, stage: str, step: int, total: int, **details: Any) -> None:
        now = time.monotonic()
        pace = self._paces.get(stage)
        if pace is None or step < pace.last_step:  # a stage begins, or begins anew
            pace = self._paces[stage] = _Pace(step, now, step, now)
        elif step < total and now - pace.last_time < MIN_INTERVAL:
            return
        pace.last_step, pace.last_time = step, now
        fields = {"stage": stage, "step": step, "total": total, **details}
        self.event("progress", **fields, seconds_left=pace.seconds_left(total, now))

    def event(self, name: str, **fields: Any) -> None:
        line = json.dumps(plain({"event": name, **fields}), allow_nan=False)
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


@dataclass
class _Pace:
    """When a stage was first heard of, and when last told."""

    first_step: int
    first_time: float
    last_step: int
    last_time: float

    def seconds_left(self, total: int, now: float) -> float | None:
        """By the steps since the first, of which nobody knows how long it took."""
        if self.last_step >= total:
            return 0.0
        done = self.last_step - self.first_step
        return round((now - self.first_time) / done * (total - self.last_step), 1) if done else None


class BarReporter(Reporter):
    """A rich progress bar a stage on standard error, with the time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
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
        text = " ".join(
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in details.items()
        )
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total, details=text)
        self._progress.update(self._tasks[stage], completed=step, total=total, details=text)


def reporter(mode: str) -> Reporter:
    """The reporter of a mode; "auto" is a bar in a terminal and nothing elsewhere.

    Of the processes of a torchrun only the first speaks.
    """
    if os.environ.get("RANK", "0") != "0":
        return Reporter()
    if mode == "auto":
        mode = "bar" if sys.stderr.isatty() else "none"
    return {"bar": BarReporter, "json": JsonReporter, "none": Reporter}[mode]()
