"""Jobs that are carried out in the test's own process, which has imported torch once for all."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import pytest


class JobHere:
    """A ``Job`` of the panel that has ended when it is made.

    Args:
        words: the command line after ``SFDALib``.
    """

    def __init__(self, words: Sequence[str]) -> None:
        from SFDALib.__main__ import main

        said, log = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(log), _logged_to(log):
            self._status = main(list(words))
        self._events = [json.loads(line) for line in said.getvalue().splitlines()]
        self.log = log.getvalue()

    def events(self) -> list[dict[str, Any]]:
        events, self._events = self._events, []
        return events

    def status(self) -> int:
        return self._status

    def cancel(self) -> None:
        """It has ended."""

    def end(self) -> None:
        """It has ended."""


@contextlib.contextmanager
def _logged_to(stream: io.StringIO) -> Iterator[None]:
    """What a job logs goes to its standard error, not into the application's log."""
    logger, handler = logging.getLogger("SFDALib"), logging.StreamHandler(stream)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = True
        logger.removeHandler(handler)


@pytest.fixture
def jobs_here(slicer_app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The panel carries out its jobs in this process. To be named before ``panel``."""
    from SFDASegmenterLib.panel.services import Services

    import SFDASegmenter as module

    monkeypatch.setattr(module.SFDASegmenterWidget, "services", Services(job=JobHere))
