"""How a job tells its progress: a bar for people, JSON lines for programs, or not at all."""

from __future__ import annotations

import json
import sys
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

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
        self._stage: str | None = None
        self._since = self._last = 0.0

    def __call__(self, stage: str, step: int, total: int, **details: Any) -> None:
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._since, self._last = stage, now, 0.0
        if step < total and now - self._last < MIN_INTERVAL:
            return
        self._last = now
        left = (now - self._since) / step * (total - step) if step else None
        fields = {"stage": stage, "step": step, "total": total, **details}
        self.event("progress", **fields, seconds_left=None if left is None else round(left, 1))

    def event(self, name: str, **fields: Any) -> None:
        sys.stdout.write(json.dumps({"event": name, **fields}, allow_nan=False) + "\n")
        sys.stdout.flush()


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
            TextColumn("{task.fields[details]}"),
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
        text = " ".join(f"{key} {value:.4g}" for key, value in details.items())
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total, details=text)
        self._progress.update(self._tasks[stage], completed=step, total=total, details=text)


def reporter(mode: str) -> Reporter:
    """The reporter of a mode; "auto" is a bar in a terminal and nothing elsewhere."""
    if mode == "auto":
        mode = "bar" if sys.stderr.isatty() else "none"
    return {"bar": BarReporter, "json": JsonReporter, "none": Reporter}[mode]()
