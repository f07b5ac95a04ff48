"""The main window: the module panel at the left, the views of the layout at the right.

At 1280 x 800 pixels a module has 412 x 435 of them, above the data probe, and a slice view needs
some width for its controls; both were measured in the application. The window grows, as the
application's does, where these do not fit.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from typing import Any

import ctk
import qt

from slicer_standin import dialect

SIZE = (1280, 800)
PANEL = (412, 435)  # width, and height of what is seen of the module
VIEW_WIDTH = 330  # of a slice view's controls, at least
CONTROLLER = 22  # height of a view's bar
LABEL = 3  # characters of a view's label that can be read; the others are cut


class View(qt.QWidget):
    """A place for one view; its size reaches the view's node when Qt has laid it out."""

    def __init__(self, node: Any, resized: Callable[[Any, int, int], None]) -> None:
        super().__init__()
        self._node = node
        self._resized = resized
        self.setMinimumSize(VIEW_WIDTH if node.IsA("vtkMRMLSliceNode") else 80, 60)
        self.setSizePolicy(qt.QSizePolicy.Expanding, qt.QSizePolicy.Expanding)

    node = property(lambda self: self._node)

    def resizeEvent(self, event: Any) -> None:
        super().resizeEvent(event)
        self._resized(self._node, self.width, self.height - CONTROLLER)


class _Content(qt.QWidget):
    """What is scrolled; says when it needs another size."""

    def __init__(self, changed: Callable[[], None]) -> None:
        super().__init__()
        self._changed = changed

    def event(self, event: Any) -> bool:
        if event.type() == qt.QEvent.LayoutRequest:
            self._changed()
        return super().event(event)


class ModulePanel(qt.QScrollArea):
    """Scrolls a module from top to bottom, and is as wide as the module insists on."""

    def __init__(self) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(qt.Qt.ScrollBarAlwaysOff)
        content = _Content(self.updateGeometry)
        self._layout = qt.QVBoxLayout(content)
        self._layout.setContentsMargins(0, 0, 0, 0)
        help_ = ctk.ctkCollapsibleButton()
        help_.text = "Help & Acknowledgement"
        help_.collapsed = True
        self._layout.addWidget(help_)
        self._layout.addStretch(0)
        self.setWidget(content)
        self._module: Any = None

    def set_module(self, module: Any) -> None:
        """Show this module in the place of the one before; None shows none."""
        if self._module is not None:
            self.remove(self._module)
        if module is not None:
            if module.layout() is not None:
                module.layout().setContentsMargins(0, 0, 0, 0)
            self._layout.insertWidget(1, module, 1)
            module.setVisible(True)
        self._module = module

    def remove(self, module: Any) -> None:
        """Show it no longer, if it is the one that is shown."""
        if module is self._module:
            self._layout.removeWidget(module)
            module.setVisible(False)
            module.setParent(None)
            self._module = None

    def minimumSizeHint(self) -> Any:
        bar = self.verticalScrollBar().sizeHint().width()
        wanted = self.widget().minimumSizeHint().width() + bar + 4
        return qt.QSize(max(wanted, PANEL[0]), 100)

    def sizeHint(self) -> Any:
        return self.minimumSizeHint()


class Window:
    """What the application shows.

    Args:
        resized: called with a view's node, its width and height, when Qt has laid it out.
    """

    def __init__(self, resized: Callable[[Any, int, int], None]) -> None:
        self._resized = resized
        self.window = qt.QMainWindow()
        self.window.resize(*SIZE)
        self.panel = ModulePanel()
        left = qt.QWidget()
        column = qt.QVBoxLayout(left)
        column.setContentsMargins(0, 0, 0, 0)
        self.panel.setFixedHeight(PANEL[1])
        column.addWidget(self.panel)
        column.addStretch(1)  # above and below are the module selector and the data probe
        both = qt.QWidget()
        self._row = qt.QHBoxLayout(both)
        self._row.setContentsMargins(0, 0, 0, 0)
        self._row.addWidget(left)
        self._row.addWidget(qt.QWidget(), 1)
        self.window.setCentralWidget(both)
        self._views: dict[str, View] = {}
        self.window.show()

    def set_layout(self, description: str, find: Callable[[str, str], Any]) -> list[Any]:
        """Lay the views of a description out.

        Args:
            description: the layout as XML.
            find: the node of a view by its class and name.

        Returns:
            The nodes of the views that were not there before: they have no size yet.
        """
        before, self._views = self._views, {}
        central = qt.QWidget()
        box = qt.QVBoxLayout(central)
        box.setContentsMargins(0, 0, 0, 0)
        self._fill(box, ElementTree.fromstring(description), find, before)
        old = self._row.takeAt(1).widget()
        old.setParent(None)
        self._row.addWidget(central, 1)
        return [view._node for name, view in self._views.items() if name not in before]

    def _fill(self, box: Any, element: ElementTree.Element, find: Any, before: Any) -> None:
        if element.tag == "view":
            node = find(element.get("class"), element.get("singletontag"))
            if node is not None:
                name = node.GetID()
                self._views[name] = before.get(name) or View(node, self._resized)
                box.addWidget(self._views[name])
                self._views[name].setVisible(True)
            return
        row = qt.QHBoxLayout() if element.get("type") == "horizontal" else qt.QVBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        box.addLayout(row)
        for item in element.findall("item"):
            for child in item:
                self._fill(row, child, find, before)


def settle() -> None:
    """Let Qt lay everything out; one layout asks for the next."""
    for _ in range(8):
        qt.QApplication.processEvents()


# --- What a user sees of it ----------------------------------------------------------------------


def in_sight(widget: Any) -> bool:
    """Whether a widget is shown, and none of it scrolled or cut away."""
    return widget.isVisible() and widget.visibleRegion().boundingRect() == widget.rect


def cut_texts(widget: Any) -> list[str]:
    """The texts in a widget, itself included, that have no room to be read as a whole."""
    return [text for one in (widget, *_inside(widget)) for text in _cut(one)]


def _inside(widget: Any) -> Iterator[Any]:
    yield from widget.findChildren(qt.QWidget)


def _cut(widget: Any) -> Iterator[str]:
    if not widget.isVisible():
        return
    if widget.inherits("QLabel") and widget.wordWrap and widget.text:
        if widget.height < widget.heightForWidth(widget.width):
            yield widget.text
    elif widget.inherits("QLabel") or widget.inherits("QAbstractButton"):
        if widget.text and widget.width < widget.minimumSizeHint().width():
            yield widget.text
    elif widget.inherits("QComboBox") and widget.count and widget.currentIndex >= 0:
        needed = widget.fontMetrics().horizontalAdvance(widget.currentText)
        if needed > widget.width - 24:  # its arrow
            yield widget.currentText


for _cls in (View, _Content, ModulePanel):
    dialect.translate(_cls)
