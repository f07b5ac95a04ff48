"""What a user does: clicks, keys, choices from lists, through Qt's own events.

Nothing here keeps a widget while its event is handled: whatever is deleted by its own event is
deleted, as in the application.
"""

from __future__ import annotations

from typing import Any

import qt
from PySide6.QtCore import QPoint, QPointF
from PySide6.QtGui import QKeyEvent, QMouseEvent

from slicer_standin.window import settle

KEYS = {name: getattr(qt.Qt, f"Key_{name}") for name in ("Tab", "Return", "Up", "Down", "Escape")}


def click(widget: Any, at: Any = None) -> None:
    """Press and release the left button, in the middle where no place is given."""
    place = QPointF(at if at is not None else _handle(widget))
    for kind, held in (
        (qt.QEvent.MouseButtonPress, qt.Qt.LeftButton),
        (qt.QEvent.MouseButtonRelease, qt.Qt.NoButton),
    ):
        event = QMouseEvent(
            kind,
            place,
            QPointF(widget.mapToGlobal(place.toPoint())),
            qt.Qt.LeftButton,
            held,
            qt.Qt.NoModifier,
        )
        qt.QApplication.postEvent(widget, event)
    del widget
    settle()


def key(widget: Any, name: str) -> None:
    """Press and release a key by its name, such as Tab."""
    _focus(widget)
    _post_key(widget, KEYS[name], "\t" if name == "Tab" else "")
    del widget
    settle()


def write(widget: Any, text: str) -> None:
    """Write over what a line edit or a spin box holds, and leave it with Tab."""
    _focus(widget)
    widget.selectAll()
    for character in text:
        _post_key(widget, 0, character)
    settle()
    key(widget, "Tab")


def choose(widget: Any, text: str) -> None:
    """Choose from a combo box, with the arrow keys."""
    wanted = widget.findText(text)
    if wanted < 0:
        raise ValueError(f"{widget.objectName} does not offer {text}")
    while widget.currentIndex != wanted:
        key(widget, "Down" if widget.currentIndex < wanted else "Up")


def _focus(widget: Any) -> None:
    if not widget.hasFocus():
        widget.window().activateWindow()
        widget.setFocus()
        settle()


def _handle(widget: Any) -> QPoint:
    """Where a widget takes a click: a check box and a radio button at their mark."""
    if widget.inherits("QCheckBox") or widget.inherits("QRadioButton"):
        return QPoint(8, widget.height // 2)
    return widget.rect.center()


def _post_key(widget: Any, code: Any, text: str) -> None:
    for kind in (qt.QEvent.KeyPress, qt.QEvent.KeyRelease):
        qt.QApplication.postEvent(widget, QKeyEvent(kind, int(code), qt.Qt.NoModifier, text))
