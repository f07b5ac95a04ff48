"""What is to be looked at in a segmentation. Standard library alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["too large", "too small", "missing", "unusual shape", "in pieces", "unsure"]
UNUSUAL = 1.0  # deviation of a shape; the benchmark's references have up to 0.4 on average
OUTSIDE = ("too large", "too small", "missing")  # a volume outside its plausible range


@dataclass(frozen=True)
class Finding:
    """One thing to look at.

    Args:
        kind: of what it is.
        structure: the name of the structure it is found in.
        text: a clause with its numbers, to stand within a sentence.
    """

    kind: Kind
    structure: str
    text: str

    @property
    def in_short(self) -> str:
        """A clause without numbers."""
        if self.kind == "unsure":
            return f"the model is unsure in {self.structure}"
        if self.kind == "unusual shape":
            return f"{self.structure} has an unusual shape"
        return f"{self.structure} is {self.kind}"
