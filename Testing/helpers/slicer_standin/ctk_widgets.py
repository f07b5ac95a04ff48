"""The CTK widgets of the panel, made of Qt's: module ``ctk``. Plausible looks, CTK's properties."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import qt
from PySide6.QtCore import Property, Signal

from slicer_standin import dialect

UNLIMITED = 16777215  # Qt's largest height


def install() -> types.ModuleType:
    """Make the module ``ctk``; once."""
    if "ctk" not in sys.modules:
        ctk = types.ModuleType("ctk", "CTK as far as the panel uses it")
        for cls in (ctkCollapsibleButton, ctkPathLineEdit, ctkSliderWidget):
            dialect.translate(cls)
            setattr(ctk, cls.__name__, cls)
        sys.modules["ctk"] = ctk
    return sys.modules["ctk"]


class ctkCollapsibleButton(qt.QWidget):
    """A titled section that folds."""

    contentsCollapsed = Signal(bool)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._collapsed = False
        self._collapsed_height = 14  # of an empty frame under the title of a folded section
        self._folded: list[Any] = []  # the children that folding hid
        self._header = qt.QToolButton(self)
        self._header.objectName = "qt_header"
        self._header.setToolButtonStyle(qt.Qt.ToolButtonTextBesideIcon)
        self._header.setStyleSheet(
            "QToolButton { font-weight: bold; padding: 3px; border: 1px solid #b9bec4;"
            " background: #e3e6ea; border-radius: 2px; text-align: left; }"
        )
        self._header.connect("clicked()", lambda: self._set_collapsed(not self._collapsed))
        self._header.setArrowType(qt.Qt.DownArrow)

    def _set_collapsed(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        self._fold()
        self._header.setArrowType(qt.Qt.RightArrow if collapsed else qt.Qt.DownArrow)
        self.contentsCollapsed.emit(collapsed)

    def _fold(self) -> None:
        if self._collapsed:
            own = [child for child in qt.QObject.children(self) if child.isWidgetType()]
            hidden = [c for c in own if c is not self._header and not c.isHidden()]
            self._folded += hidden
            for child in hidden:
                child.setVisible(False)
        else:
            for child in self._folded:
                child.setVisible(True)
            self._folded = []
        self._place_header()

    def _set_collapsed_height(self, height: int) -> None:
        self._collapsed_height = height
        self._place_header()

    def _place_header(self) -> None:
        height = self._header.sizeHint().height()
        self.setContentsMargins(0, height, 0, 0)
        self._header.setGeometry(0, 0, self.width, height)
        folded = height + self._collapsed_height
        self.setMinimumHeight(folded if self._collapsed else 0)
        self.setMaximumHeight(folded if self._collapsed else UNLIMITED)

    def event(self, event: Any) -> bool:
        if event.type() == qt.QEvent.Polish:
            if self._collapsed:  # as the .ui says, before the children were there
                self._fold()
            self._place_header()
        return super().event(event)

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._header.setGeometry(0, 0, self.width, self._header.sizeHint().height())

    text = Property(
        str, lambda self: self._header.text, lambda self, text: setattr(self._header, "text", text)
    )
    collapsed = Property(bool, lambda self: self._collapsed, _set_collapsed)
    collapsedHeight = Property(
        int, lambda self: self._collapsed_height, lambda self, h: self._set_collapsed_height(h)
    )


class ctkPathLineEdit(qt.QWidget):
    """A field for a path, with a button to browse."""

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._path = ""
        self._filters = ""
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._edit = qt.QLineEdit()
        self._button = qt.QToolButton()
        self._button.text = "..."
        layout.addWidget(self._edit)
        layout.addWidget(self._button)
        self.setFocusProxy(self._edit)
        self._edit.connect("editingFinished()", lambda: self._set_path(self._edit.text))

    def _set_path(self, path: str) -> None:
        if path == self._path:
            return
        self._path = path
        self._edit.text = path
        self.validInputChanged.emit(Path(path).exists())
        self.currentPathChanged.emit(path)

    currentPath = Property(str, lambda self: self._path, _set_path, notify=currentPathChanged)
    filters = Property(
        str, lambda self: self._filters, lambda self, text: setattr(self, "_filters", text)
    )
    showBrowseButton = Property(
        bool,
        lambda self: not self._button.isHidden(),
        lambda self, shown: self._button.setVisible(shown),
    )


class ctkSliderWidget(qt.QWidget):
    """A slider with a spin box for the same number, which stays in its range."""

    valueChanged = Signal(float)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._slider = qt.QSlider(qt.Qt.Horizontal)
        self._box = qt.QDoubleSpinBox()
        self._box.setRange(0.0, 99.0)
        layout.addWidget(self._slider)
        layout.addWidget(self._box)
        self.setFocusProxy(self._slider)
        self._slider.setRange(0, 1000)
        self._slider.connect("sliderMoved(int)", self._slide)
        self._box.connect("valueChanged(double)", self._note)

    def _slide(self, place: int) -> None:
        span = self._box.maximum - self._box.minimum
        self._box.setValue(self._box.minimum + span * place / 1000)

    def _note(self, value: float) -> None:
        self._move()
        self.valueChanged.emit(value)

    def _move(self) -> None:
        span = self._box.maximum - self._box.minimum
        share = (self._box.value - self._box.minimum) / span if span else 0.0
        self._slider.setValue(round(1000 * share))

    def _set_minimum(self, value: float) -> None:
        self._box.setMinimum(value)
        self._move()

    def _set_maximum(self, value: float) -> None:
        self._box.setMaximum(value)
        self._move()

    value = Property(
        float,
        lambda self: self._box.value,
        lambda self, value: self._box.setValue(value),
        notify=valueChanged,
    )
    minimum = Property(float, lambda self: self._box.minimum, _set_minimum)
    maximum = Property(float, lambda self: self._box.maximum, _set_maximum)
    singleStep = Property(
        float, lambda self: self._box.singleStep, lambda self, v: self._box.setSingleStep(v)
    )
    decimals = Property(
        int, lambda self: self._box.decimals, lambda self, v: self._box.setDecimals(v)
    )
    suffix = Property(
        str, lambda self: self._box.suffix, lambda self, text: self._box.setSuffix(text)
    )
