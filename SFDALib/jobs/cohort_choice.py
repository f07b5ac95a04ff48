"""The automatic choice for a cohort: adapt by several methods to all images, and take the best.

1. Every method that updates weights is adapted once to all images, in the order in which ``auto``
   tries them, until the time limit, which is that of an image times their number.
2. Its results on up to ``MOST`` of the images, evenly over the cohort, are judged together.
3. Of the methods with the best verdict the one is taken for which the sum of the means of "entropy
   rise" and "size less expected", both logarithms, is lowest. On the benchmark's ten data sets with
   a better method, on which this was chosen, it is at most 0.6 Dice points behind the best of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from SFDALib.jobs.engine import Engine
from SFDALib.jobs.events import Reporter
from SFDALib.jobs.failures import Failures
from SFDALib.jobs.image_run import ImageRun, adapt
from SFDALib.jobs.judgement import signals_of
from SFDALib.jobs.stages import Stages
from SFDALib.jobs.time_limit import Deadline
from SFDALib.methods import registry
from SFDALib.methods.outcome import Adapted
from SFDALib.trust.cohort import CohortVerdict, judge_cohort
from SFDALib.trust.levels import LEVELS
from SFDALib.volume.conform import Conformed
from SFDALib.volume.reading import Reading

STAGE = "auto"  # names the method that is tried
MOST = 16  # images that the methods are judged on


@dataclass(frozen=True)
class Images:
    """The images of a cohort that can be read.

    Args:
        files: of each image.
        conformed: each on the model's grid.
        reading: what the user states about the files.
    """

    files: Sequence[tuple[Path, ...]]
    conformed: Sequence[Conformed]
    reading: Reading

    @property
    def sample(self) -> Sequence[tuple[Path, ...]]:
        """The files of up to ``MOST`` images, evenly over all."""
        step = max(1, math.ceil(len(self.files) / MOST))
        return self.files[::step]


@dataclass(frozen=True)
class Attempt:
    """A method that was adapted to all images.

    Args:
        engine: the method.
        adapted: its weights.
        verdict: on its results on the sample.
        seconds: of adaptation and judging.
    """

    engine: Engine
    adapted: Adapted
    verdict: CohortVerdict
    seconds: float

    @property
    def rank(self) -> tuple[int, float]:
        """Lower is better: the level, then the sum of two means."""
        means = [self.verdict.means.get(name) for name in ("entropy rise", "size less expected")]
        total = sum(math.inf if mean is None else mean.value for mean in means)
        return list(LEVELS).index(self.verdict.decision), total

    def row(self) -> dict[str, Any]:
        """What cohort.json says of it."""
        return {
            "method": self.engine.method.name,
            "title": self.engine.method.title,
            "options": self.engine.options.to_dict(),
            "trust": self.verdict.to_dict(None),
            "seconds": round(self.seconds, 3),
            "error": None,
        }


def choose(
    engine: Engine, images: Images, reporter: Reporter
) -> tuple[Attempt | None, dict[str, Any]]:
    """Try the methods that update weights, and take the best.

    Args:
        engine: of a method that chooses.
        images: at least one.
        reporter: of progress and events.

    Returns:
        The best attempt, None if no method worked within the time limit; and the field "auto" of
        cohort.json.
    """
    limit = engine.time_limit * len(images.files)
    deadline = Deadline(reporter, limit, limit)
    failures = Failures(Reporter())  # a method that cannot be used is no failure of the run
    engines = [one for one in engine.tries() if one.method.adapts]
    best: Attempt | None = None
    rows: list[dict[str, Any]] = []
    for index, one in enumerate(engines):
        name, title = one.method.name, one.method.title
        if deadline.left:
            reporter(STAGE, index, len(engines), method=name)
            with failures.recorded(name):
                attempt = _attempt(one, images, deadline)
                rows.append(attempt.row())
                if best is None or attempt.rank < best.rank:
                    best = attempt
        else:
            failures.messages[name] = f"no time was left of {limit:g} s; raise time_limit"
        if name in failures.messages:
            rows.append({"method": name, "title": title, "error": failures.messages[name]})
    reporter(STAGE, len(engines), len(engines))
    if best is None:
        chosen = registry.REFERENCE
        why = f"the source model is used as it is: no method worked on all images; {failures.first}"
    else:
        chosen = best.engine.method.name
        why = (
            f"{best.engine.method.title} is used: of {len(rows)} method(s) it is the best on"
            f" {len(images.sample)} of the images"
        )
    return best, {"chosen": chosen, "why": why, "time_limit": limit, "tried": rows}


def _attempt(engine: Engine, images: Images, deadline: Deadline) -> Attempt:
    """Adapt by one method, and judge it on the sample."""
    start = monotonic()
    adapted = adapt(engine, images.conformed, Stages(), deadline)
    signals = []
    for files in images.sample:
        image = ImageRun.read(engine, files, images.reading, deadline)
        signals.append(signals_of(image, image.segment(adapted), adapted))
    return Attempt(engine, adapted, judge_cohort(signals), monotonic() - start)
