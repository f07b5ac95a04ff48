"""How a computation says how far it is, without knowing who listens."""

from __future__ import annotations

from typing import Any, Protocol


class Progress(Protocol):
    """Called with a stage's name, the steps done and their number, and anything worth showing."""

    def __call__(self, stage: str, step: int, total: int, **details: Any) -> None: ...


def silent(stage: str, step: int, total: int, **details: Any) -> None:
    """For callers to whom progress does not matter."""
