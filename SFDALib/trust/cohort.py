"""Judge a method on a cohort: one verdict for all images of one hospital.

On a single slice harm cannot be told from help, as too little is known of what is plausible. Over
many images the noise of a mean falls with the root of their number. With the upper limit of a
feature being its mean over the images plus one standard error of that mean, a method is better on a
cohort if

1. nothing gets worse: the limit of "size less expected" is below ``SIZE``, that of "stability lost"
   below ``STABILITY``, and that of "entropy rise" below 0;
2. something beside the entropy, which many methods minimise, gets better: the limit of the first or
   of the second is below 0;
3. in at most ``VANISHED_SHARE`` of the images a structure vanished.

The verdict is on the mean: a single image may be worse. Testing/Benchmarks/trust/fit_cohort.py says
what the rule is worth. Standard library alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from SFDALib.trust.features import LEAST_BITS, excess, log_ratio
from SFDALib.trust.judge import VANISHED
from SFDALib.trust.levels import Decision, Delivered

if TYPE_CHECKING:
    from SFDALib.trust.signals import Signals

LEAST_IMAGES = 8  # fewer are not judged together
SIZE = 0.05  # of the mean |log(size / expected size)| that may be added
STABILITY = 0.01  # of Dice that may be lost
VANISHED_SHARE = 0.05  # of the images
_EACH = "every image has a verdict of its own"
ADVICE: dict[tuple[Decision, Delivered | None], str] = {
    ("better", "result"): "use them, but look at each, as a single one may be worse",
    ("better", None): _EACH,
    ("look", "source"): "compare both; the source model's are delivered until you decide",
    ("look", "result"): "compare them with the source model's before you use them",
    ("look", None): _EACH,
    ("keep", "source"): "the source model's segmentations are kept",
    ("keep", "result"): "use the source model's segmentations instead",
    ("keep", None): _EACH,
}
"""What the reader is to do, by the decision and by what is delivered of every image."""


@dataclass(frozen=True)
class Mean:
    """The mean of a feature over the images that it was measured on.

    Args:
        value: the mean.
        error: its standard error.
        images: how many.
        better: on how many of them it is below 0.
    """

    value: float
    error: float
    images: int
    better: int = 0

    @property
    def limit(self) -> float:
        """The mean plus its standard error."""
        return self.value + self.error

    def __str__(self) -> str:
        return (
            f"better in {self.better} of {self.images} images; mean change {self.value:+.3f},"
            f" standard error {self.error:.3f}"
        )


@dataclass(frozen=True)
class CohortVerdict:
    """What to do with a method's results on all images of a cohort, and why.

    Args:
        decision: "better", "look" or "keep".
        images: how many were judged together.
        reasons: a sentence each.
        means: what the verdict is based on, by feature.
    """

    decision: Decision
    images: int
    reasons: tuple[str, ...]
    means: dict[str, Mean] = field(default_factory=dict)

    def sentence(self, delivered: Delivered | None) -> str:
        """The verdict in one sentence, with what to do.

        Args:
            delivered: of every image; None where each has a verdict of its own.
        """
        found = {
            "better": f"On average over {self.images} images the results are better",
            "look": f"It is unclear whether the results on {self.images} image(s) are better",
            "keep": f"On average over {self.images} images the results are no better",
        }[self.decision]
        return f"{found} than the source model's: {ADVICE[self.decision, delivered]}."

    def to_dict(self, delivered: Delivered | None) -> dict[str, Any]:
        """The field "trust" of cohort.json."""
        return {
            "decision": self.decision,
            "delivered": delivered,
            "sentence": self.sentence(delivered),
            "images": self.images,
            "reasons": list(self.reasons),
            "means": {
                name: {"mean": round(mean.value, 4), "standard_error": round(mean.error, 4)}
                for name, mean in self.means.items()
            },
        }


@dataclass(frozen=True)
class Condition:
    """What must not get worse.

    Args:
        feature: its name, as of a similar feature of ``features``.
        value: of the signals; None where they were not measured.
        bound: of its upper limit.
        shows_gain: whether its getting better tells that the results do.
        subject: the beginning of a reason.
        better, same, worse: the rest of it.
    """

    feature: str
    value: Callable[[Signals], float | None]
    bound: float
    shows_gain: bool
    subject: str
    better: str
    same: str
    worse: str

    def holds(self, mean: Mean) -> bool:
        """Whether it gets no worse."""
        return mean.limit < self.bound

    def gains(self, mean: Mean) -> bool:
        """Whether it gets better and that tells that the results do."""
        return self.shows_gain and mean.limit < 0

    def reason(self, mean: Mean) -> str:
        """A sentence with the number."""
        found = self.better if mean.limit < 0 else self.same if self.holds(mean) else self.worse
        return f"{self.subject} {found} ({mean})"


CONDITIONS = (
    Condition(
        "size less expected",
        lambda s: excess(s.size_error_result, s.size_error_source),
        SIZE,
        True,
        "the sizes are",
        "nearer to the expected ones",
        "about as near to the expected ones",
        "not surely as near to the expected ones",
    ),
    Condition(
        "stability lost",
        lambda s: excess(s.stability_source, s.stability_result),
        STABILITY,
        True,
        "with the images flipped or lower in contrast the segmentations are",
        "more stable",
        "about as stable",
        "not surely as stable",
    ),
    Condition(
        "entropy rise",
        lambda s: log_ratio(s.entropy_result, s.entropy_source, LEAST_BITS),
        0.0,
        False,
        "the model is",
        "surer",
        "as sure",
        "not surely as sure",
    ),
)


def judge_cohort(signals: Sequence[Signals]) -> CohortVerdict:
    """The verdict on a method's results on all images of a cohort.

    Args:
        signals: of each image.
    """
    count = len(signals)
    if all(one.unchanged for one in signals):
        same = "the results are the source model's own segmentations"
        return CohortVerdict("keep", count, (same,))
    means = means_of(signals)
    if count < LEAST_IMAGES:
        few = f"found {count} image(s), expected at least {LEAST_IMAGES} to judge them together"
        return CohortVerdict("look", count, (few,), means)
    missing = [one.feature for one in CONDITIONS if one.feature not in means]
    if missing:
        why = f"not measured on at least {LEAST_IMAGES} images: {', '.join(missing)}"
        return CohortVerdict("look", count, (why,), means)
    reasons = [one.reason(means[one.feature]) for one in CONDITIONS]
    vanished = sum(one.shrinkage > VANISHED for one in signals)
    if vanished > VANISHED_SHARE * count:
        reasons.insert(0, f"in {vanished} of {count} images a structure vanished")
    better = (
        vanished <= VANISHED_SHARE * count
        and all(one.holds(means[one.feature]) for one in CONDITIONS)
        and any(one.gains(means[one.feature]) for one in CONDITIONS)
    )
    decision: Decision = "better" if better else "keep"
    return CohortVerdict(decision, count, tuple(reasons), means)


def means_of(signals: Sequence[Signals]) -> dict[str, Mean]:
    """The mean of each condition's feature; without those that too few of the images have."""
    return {
        one.feature: mean for one in CONDITIONS if (mean := _mean(one.value, signals)) is not None
    }


def _mean(value_of: Callable[[Signals], float | None], signals: Sequence[Signals]) -> Mean | None:
    """The mean of a value; None if too few images have it."""
    values = [value for one in signals if (value := value_of(one)) is not None]
    if len(values) < min(LEAST_IMAGES, len(signals)):
        return None
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return Mean(fmean(values), error, len(values), sum(value < 0 for value in values))
