"""Judge a method on a cohort: one verdict for all images of one hospital.

On a single slice harm cannot be told from help, as too little is known of what is plausible. Over
many images the noise of a mean falls with the root of their number. A method is better on a cohort
if all of this holds, each for the mean over the images plus one standard error of it:

1. the sizes come nearer to the expected ones ("size less expected" is below 0),
2. the segmentations are as stable under changes of the image ("stability lost" is below
   ``STABILITY``),
3. the model is surer ("entropy rise" is below 0),

and if in at most ``VANISHED_SHARE`` of the images a structure vanished. The verdict is on the mean:
a single image may be worse. Testing/Benchmarks/trust/fit_cohort.py says what the rule is worth.
Standard library alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from SFDALib.trust.features import FEATURES
from SFDALib.trust.judge import VANISHED
from SFDALib.trust.levels import LEVELS, Decision, Delivered

if TYPE_CHECKING:
    from SFDALib.trust.signals import Signals

LEAST_IMAGES = 8  # fewer are not judged together
STABILITY = 0.01  # of Dice that may be lost
VANISHED_SHARE = 0.05  # of the images


@dataclass(frozen=True)
class Mean:
    """The mean of a feature over the images that it was measured on.

    Args:
        value: the mean.
        error: its standard error.
        images: how many.
    """

    value: float
    error: float
    images: int

    def __str__(self) -> str:
        return f"{self.value:+.3f} (standard error {self.error:.3f})"


@dataclass(frozen=True)
class CohortVerdict:
    """What to do with a method's results on all images of a cohort, and why.

    Args:
        decision: "better", "look" or "keep".
        images: how many were judged together.
        sentence: for the reader.
        reasons: a sentence each, the most important first.
        means: what the verdict is based on, by feature.
    """

    decision: Decision
    images: int
    sentence: str
    reasons: tuple[str, ...]
    means: dict[str, Mean]

    @property
    def delivered(self) -> Delivered:
        """Which segmentation is delivered for each image that cannot be judged by itself."""
        return LEVELS[self.decision].delivered

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for cohort.json."""
        return {
            "decision": self.decision,
            "images": self.images,
            "sentence": self.sentence,
            "reasons": list(self.reasons),
            "means": {
                name: {"mean": round(mean.value, 4), "standard_error": round(mean.error, 4)}
                for name, mean in self.means.items()
            },
        }


@dataclass(frozen=True)
class _Condition:
    """What must hold of a better result.

    Args:
        feature: whose mean is compared.
        bound: of the mean plus its standard error.
        good, bad: the reason if it holds, and if not.
    """

    feature: str
    bound: float
    good: str
    bad: str

    def holds(self, mean: Mean) -> bool:
        """Whether the mean plus its standard error is below the bound."""
        return mean.value + mean.error < self.bound


CONDITIONS = (
    _Condition(
        "size less expected",
        0.0,
        "the sizes are nearer to the expected ones",
        "the sizes are not surely nearer to the expected ones",
    ),
    _Condition(
        "stability lost",
        STABILITY,
        "the segmentations are as stable when the image is flipped or lower in contrast",
        "the segmentations are less stable when the image is flipped or lower in contrast",
    ),
    _Condition(
        "entropy rise",
        0.0,
        "the model is surer",
        "the model is not surer",
    ),
)


def judge_cohort(signals: Sequence[Signals]) -> CohortVerdict:
    """The verdict on a method's results on all images of a cohort.

    Args:
        signals: of each image.
    """
    count = len(signals)
    if all(one.agreement == 1 for one in signals):
        same = "the results are the source model's own segmentations"
        return CohortVerdict("keep", count, _sentence("keep", count), (same,), {})
    means = {
        one.feature: mean for one in CONDITIONS if (mean := _mean(one.feature, signals)) is not None
    }
    if count < LEAST_IMAGES:
        few = f"found {count} image(s), expected at least {LEAST_IMAGES} to judge them together"
        return CohortVerdict("look", count, _sentence("look", count), (few,), means)
    missing = [one.feature for one in CONDITIONS if one.feature not in means]
    if missing:
        why = f"not measured on at least {LEAST_IMAGES} images: {', '.join(missing)}"
        return CohortVerdict("look", count, _sentence("look", count), (why,), means)
    failed = [one for one in CONDITIONS if not one.holds(means[one.feature])]
    vanished = sum(one.shrinkage > VANISHED for one in signals)
    reasons = [f"{one.bad}: {means[one.feature]}" for one in failed]
    if vanished > VANISHED_SHARE * count:
        reasons.insert(0, f"in {vanished} of {count} images a structure vanished")
    decision: Decision = "keep" if reasons else "better"
    reasons += [f"{one.good}: {means[one.feature]}" for one in CONDITIONS if one not in failed]
    return CohortVerdict(decision, count, _sentence(decision, count), tuple(reasons), means)


def _mean(feature: str, signals: Sequence[Signals]) -> Mean | None:
    """The mean of a feature; None if too few images have it."""
    values = [value for one in signals if (value := FEATURES[feature].value(one)) is not None]
    if len(values) < min(LEAST_IMAGES, len(signals)):
        return None
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return Mean(fmean(values), error, len(values))


def _sentence(decision: Decision, count: int) -> str:
    """The verdict for the reader."""
    return {
        "better": (
            f"On average over these {count} images the results are better than the source"
            " model's; a single one may be worse."
        ),
        "look": (
            f"It is unclear whether the results on these {count} image(s) are better than the"
            " source model's: compare both."
        ),
        "keep": (
            f"On average over these {count} images the results are no better than the source"
            " model's."
        ),
    }[decision]
