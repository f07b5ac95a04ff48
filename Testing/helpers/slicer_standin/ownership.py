"""Who keeps an object alive while one of its signals is delivered.

PythonQt deletes an object without a parent at once when the last Python reference to it goes. If
that happens inside a slot of the object, or of a widget in it, the application crashes when the
slot returns. Here the object is kept, so that the tests can go on, and the loss is told.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

import shiboken6
from PySide6.QtCore import QObject

_deliveries: list[Delivery] = []  # those under way, the outermost first
_lost: list[QObject] = []  # what the application would have deleted


class Delivery:
    """One call of one slot.

    Args:
        sender: finds the object whose signal is delivered.
    """

    def __init__(self, sender: Callable[[], QObject]) -> None:
        one = sender()
        # It says by ``destroyed`` that it is gone already, as it should.
        self.held = _with_ancestors(one) if shiboken6.isValid(one) else []
        self._word = _word(one) if self.held else ""
        _deliveries.append(self)

    def end(self) -> str | None:
        """What went wrong, None if nothing did."""
        lost = self._lost()
        _deliveries.remove(self)
        if lost is None:
            return None
        place = "".join(traceback.format_stack(limit=12)[:-2])
        return (
            f"{self._word} was deleted inside a slot of its own, {lost}: the application crashes."
            f" The slot was called from:\n{place}"
        )

    def _lost(self) -> str | None:
        if not self.held:
            return None
        if not shiboken6.isValid(self.held[0]):
            return "by Qt"
        top = _with_ancestors(self.held[0])[-1]
        if any(top is one for one in _lost) or not shiboken6.createdByPython(top):
            return None  # told already, or C++'s own
        ours = sum(one is top for delivery in _deliveries for one in delivery.held)
        # Two more are the variable here and the argument; ``deleteLater`` keeps another one.
        kept_by_qt = 0 if shiboken6.ownedByPython(top) else 1
        if sys.getrefcount(top) > ours + 2 + kept_by_qt:
            return None
        _lost.append(top)
        return f"as the last reference to {_word(top)} went"


def _with_ancestors(one: QObject) -> list[QObject]:
    """The object, its parent, and so on to the topmost."""
    found = [one]
    while (parent := QObject.parent(found[-1])) is not None:
        found.append(parent)
    return found


def _word(one: QObject) -> str:
    name = QObject.property(one, "objectName")
    return f"{type(one).__name__} {name}".strip()


def forget() -> None:
    """Let go of what the application would have deleted."""
    _lost.clear()
