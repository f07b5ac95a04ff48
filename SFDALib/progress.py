"""The callback by which a computation reports its progress. Standard library alone."""

from __future__ import annotations

from typing import Any, Protocol


class Progress(Protocol):
    """A callback for progress."""

    def __call__(self, stage: str, step: int, total: int, **details: Any) -> None:
        """Report that ``step`` of ``total`` steps of a stage are done.

        Args:
            details: further values to show, such as the loss.
        """


def silent(stage: str, step: int, total: int, **details: Any) -> None:
    """A ``Progress`` that does nothing."""
