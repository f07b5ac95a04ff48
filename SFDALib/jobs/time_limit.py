"""The time limit of ``auto``: which methods fit into it, and the end of one that takes longer."""

from __future__ import annotations

from time import monotonic
from typing import Any

from SFDALib.errors import SFDAError
from SFDALib.jobs import trial
from SFDALib.jobs.engine import Engine
from SFDALib.jobs.events import Reporter
from SFDALib.jobs.image_run import ImageRun
from SFDALib.jobs.write_result import WRITING
from SFDALib.methods.method import Work


class TimeUp(SFDAError):
    """A method had not finished at the time limit."""


class Deadline(Reporter):
    """Passes progress on, and ends the computation at the time limit.

    What is finished may still be written.

    Args:
        reporter: what progress and events are passed on to.
        limit: the time limit in seconds, for the error.
        left: seconds of it that are left now.
    """

    def __init__(self, reporter: Reporter, limit: float, left: float) -> None:
        self.reporter = reporter
        self.limit = limit
        self._end = monotonic() + left

    @property
    def left(self) -> float:
        """The seconds that are left, 0 or more."""
        return max(0.0, self._end - monotonic())

    def __call__(self, stage: str, step: int, total: int, **details: Any) -> None:
        """Pass progress on.

        Raises:
            TimeUp: no time is left.
        """
        if stage != WRITING and not self.left:
            raise TimeUp(f"not finished at the time limit of {self.limit:g} s; raise time_limit")
        self.reporter(stage, step, total, **details)

    def event(self, name: str, **fields: Any) -> None:
        """Pass an event on."""
        self.reporter.event(name, **fields)


class Forecast:
    """The seconds that methods will take on an image.

    ``pace * (passes * t_pass + draws * t_draw)``: the work of the method as in ``estimate``, the
    measured time of a pass of the source model over the image, that of a draw by a trial, and as
    the pace the ratio of what the methods so far took to what was expected of them.

    Args:
        image: segmented by the source model.
    """

    def __init__(self, image: ImageRun) -> None:
        self._model = image.engine.model
        self._shape = image.target.conformed.array.shape[1:]
        self._pass = image.stages.seconds["source segmentation"]
        if self._model.device.type != "cpu":  # where the first pass also sets things up
            self._pass = min(self._pass, trial.seconds_of_pass(image.engine, self._shape))
        self._draw: trial.Draw | None = None
        self._expected = self._took = 0.0

    def seconds(self, engine: Engine) -> float:
        """What a method will take beyond the source model's segmentation."""
        pace = self._took / self._expected if self._expected else 1.0
        return pace * self._expect(engine)

    def learn(self, engine: Engine, seconds: float) -> None:
        """Note what a method took."""
        self._expected += self._expect(engine)
        self._took += seconds

    def _expect(self, engine: Engine) -> float:
        work = engine.method.work(engine.options)
        once, whole = (
            trial.patches(self._model, each, engine.options, self._shape)
            for each in (Work(passes=1), work)
        )
        draws = 0.0
        if work.draws:
            self._draw = self._draw or trial.draw(self._model, self._shape)
            draws = work.draws * self._draw.parts * self._draw.seconds
        return self._pass * (whole - once) / once + draws
