"""A verdict as data and as a sentence. Standard library alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from SFDALib.trust.findings import Finding
from SFDALib.trust.levels import LEVELS, SAME, Decision, Delivered

if TYPE_CHECKING:
    from SFDALib.trust.quality import Quality
    from SFDALib.trust.signals import Signals


@dataclass(frozen=True)
class Looks:
    """How one of the two segmentations looks by itself.

    Args:
        findings: what is to be looked at.
        quality: the predicted Dice; None where there is no expected size to compare with.
        outside, shape: of the signals; 0 where they were not measured.
    """

    findings: tuple[Finding, ...] = ()
    quality: Quality | None = None
    outside: float = 0.0
    shape: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """What to do with a result, and why.

    Args:
        decision: the level, see ``levels.LEVELS``.
        harm: the estimated probability that the result is worse than the source's.
        cause: what decided, as the beginning of the sentence.
        reasons: clauses with the numbers, the most important first.
        source, result: how both segmentations look.
        adopted: the result is delivered though something is to be looked at in it.
        unchanged: both segmentations are the same.
    """

    decision: Decision
    harm: float
    cause: str
    reasons: tuple[str, ...] = ()
    source: Looks = Looks()
    result: Looks = Looks()
    adopted: bool = False
    unchanged: bool = False

    @property
    def delivered(self) -> Delivered:
        """Which of the two is delivered."""
        return "result" if self.adopted else LEVELS[self.decision].delivered

    def sentence(self, delivered: Delivered) -> str:
        """One sentence for the reader: what was found, and what to do.

        Args:
            delivered: what is delivered; without the gate not what the verdict says.
        """
        same = self.unchanged and self.decision == "look"
        return f"{self.cause}: {SAME if same else LEVELS[self.decision].advice[delivered]}."

    def to_dict(self, signals: Signals, delivered: Delivered) -> dict[str, Any]:
        """The verdict and its signals as plain data, for report.json."""
        return {
            "decision": self.decision,
            "harm": round(self.harm, 4),
            "adopted": self.delivered == "result",
            "delivered": delivered,
            "sentence": self.sentence(delivered),
            "findings": [asdict(finding) for finding in self.result.findings],
            "source_findings": [asdict(finding) for finding in self.source.findings],
            "quality": {
                "source": self.source.quality and self.source.quality.to_dict(),
                "result": self.result.quality and self.result.quality.to_dict(),
            },
            "reasons": list(self.reasons),
            "signals": asdict(signals),
        }
