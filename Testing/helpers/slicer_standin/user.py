"""What a user does: clicks, keys, choices from lists, through Qt's own events.

What a user cannot reach (hidden, folded away, greyed) raises. Nothing here keeps a widget while its
event is handled: whatever is deleted by its own event is deleted, as in the application.
"""

from __future__ import annotations

from typing import Any

import qt
from PySide6.QtCore import QPoint, QPointF
from PySide6.QtGui import QKeyEvent, QMouseEvent

from slicer_standin.window import settle

KEYS = {name: getattr(qt.Qt, f"Key_{name}") for name in ("Tab", "Space", "Up", "Down", "Escape")}


def click(widget: Any, at: Any = None) -> None:
    """Press and release the left button, in the middle where no place is given."""
    _reach(widget)
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
    """Write over what a field holds, and leave it with Tab."""
    field = _field(widget)
    _focus(field)
    field.selectAll()
    if not text:
        _post_key(field, qt.Qt.Key_Delete, "")
    for character in text:
        _post_key(field, 0, character)
    del widget
    settle()
    key(field, "Tab")


def choose(widget: Any, text: str) -> None:
    """Choose from a combo box, with the arrow keys."""
    wanted = widget.findText(text)
    if wanted < 0:
        raise ValueError(f"{widget.objectName} does not offer {text}")
    for _ in range(widget.count):
        if widget.currentIndex == wanted:
            return
        key(widget, "Down" if widget.currentIndex < wanted else "Up")
    if widget.currentIndex != wanted:
        raise ValueError(f"{widget.objectName}: {text} cannot be chosen")


def unfold(section: Any) -> None:
    """Click on the title of a folded section."""
    if section.collapsed:
        click(section.findChild(qt.QToolButton, "qt_header"))


def _reach(widget: Any) -> None:
    """Scroll to a widget, as a user does before a click."""
    settle()
    if not (widget.isVisible() and widget.isEnabled()):
        state = "hidden" if not widget.isVisible() else "greyed"
        raise ValueError(f"{widget.objectName or type(widget).__name__} is {state}")
    parent = widget.parent()
    while parent is not None:
        if parent.inherits("QScrollArea"):
            parent.ensureWidgetVisible(widget, 0, 0)
        parent = parent.parent()
    settle()


def _focus(widget: Any) -> None:
    _reach(widget)
    if not widget.hasFocus():
        widget.window().activateWindow()
        widget.setFocus()
        settle()


def _field(widget: Any) -> Any:
    """The part of a widget that takes letters."""
    if widget.inherits("QLineEdit") or widget.inherits("QAbstractSpinBox"):
        return widget
    kinds = (qt.QDoubleSpinBox, qt.QLineEdit)
    return next(part for kind in kinds if (part := widget.findChild(kind)) is not None)


def _handle(widget: Any) -> QPoint:
    """Where a widget takes a click: a check box and a radio button at their mark."""
    if widget.inherits("QCheckBox") or widget.inherits("QRadioButton"):
        return QPoint(8, widget.height // 2)
    return widget.rect.center()


def _post_key(widget: Any, code: Any, text: str) -> None:
    for kind in (qt.QEvent.KeyPress, qt.QEvent.KeyRelease):
        qt.QApplication.postEvent(widget, QKeyEvent(kind, int(code), qt.Qt.NoModifier, text))
