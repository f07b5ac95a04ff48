"""The qMRML widgets of the panel: they show the scene's nodes and follow what becomes of them."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator
from typing import Any

import qt
import vtk
from PySide6.QtCore import Property, Signal

from slicer_standin import dialect


def install(slicer: types.ModuleType) -> None:
    """Add the classes to the module ``slicer``."""
    for cls in (qMRMLWidget, qMRMLNodeComboBox, qMRMLCheckableNodeComboBox):
        dialect.translate(cls)
        setattr(slicer, cls.__name__, cls)


class qMRMLWidget(qt.QWidget):
    """Gives its scene to whatever is connected to it."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


class _NodeBox(qt.QComboBox):
    """A combo box of the scene's nodes of some types, in the order of the scene."""

    nodeAdded = Signal(object)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._observations: list[tuple[Any, int]] = []
        self.destroyed.connect(functools.partial(_release, self._observations))
        self._types: tuple[str, ...] = ()
        self._attributes: list[tuple[str, str, str | None]] = []
        self._hidden_shown = False
        self._children_shown = True
        self._listed: list[Any] = []

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        _release(self._observations)
        self._scene = scene
        if scene is not None:
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndImportEvent)
            for event in (*events, scene.EndCloseEvent, scene.EndBatchProcessEvent):
                self._observe(scene, event, lambda *_: self._refresh())
            self._observe(scene, scene.NodeAddedEvent, self._follow)
            for node in list(_nodes_of(scene)):
                self._watch_name(node)
        self._refresh()

    def addAttribute(self, kind: str, name: str, value: str | None = None) -> None:
        """List only nodes of a type that have an attribute, with that value if one is given."""
        self._attributes.append((kind, name, value))
        self._refresh()

    def nodeCount(self) -> int:
        return len(self._listed)

    def nodeFromIndex(self, index: int) -> Any:
        return self._listed[index]

    def _observe(self, subject: Any, event: Any, function: Any) -> None:
        slot = dialect.guarded(function)
        if hasattr(function, "CallDataType"):  # VTK asks the function that it calls
            slot.CallDataType = function.CallDataType
        self._observations.append((subject, subject.AddObserver(event, slot)))

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _follow(self, _caller: Any, _event: Any, node: Any) -> None:
        self._watch_name(node)

    def _watch_name(self, node: Any) -> None:
        if any(node.IsA(kind) for kind in self._types):
            self._observe(node, vtk.vtkCommand.ModifiedEvent, lambda *_: self._rename())

    def _fits(self, node: Any) -> bool:
        exact = node.GetClassName() in self._types
        if not exact and not (self._children_shown and any(node.IsA(t) for t in self._types)):
            return False
        if node.GetHideFromEditors() and not self._hidden_shown:
            return False
        for kind, name, value in self._attributes:
            if node.IsA(kind):
                found = node.GetAttribute(name)
                if found is None or (value is not None and found != value):
                    return False
        return True

    def _wanted(self) -> list[Any]:
        if self._scene is None or self._scene.IsClosing():
            return []
        return [node for node in _nodes_of(self._scene) if self._fits(node)]

    def _rename(self) -> None:
        """A node was modified: its name, or an attribute by which it is listed."""
        if self._wanted() != self._listed:
            self._refresh()
            return
        for place in range(self.count):
            node = self.itemData(place)
            node = self._node(node) if node else None
            if node is not None and self.itemText(place) != node.GetName():
                self.setItemText(place, node.GetName())

    def _node(self, identity: str) -> Any:
        return self._scene.GetNodeByID(identity) if self._scene is not None else None

    def _refresh(self) -> None:
        raise NotImplementedError

    def _set_types(self, names: Any) -> None:
        self._types = tuple(names)
        self._refresh()

    def _set_hidden_shown(self, shown: bool) -> None:
        self._hidden_shown = shown
        self._refresh()

    def _set_children_shown(self, shown: bool) -> None:
        self._children_shown = shown
        self._refresh()

    nodeTypes = Property("QStringList", lambda self: list(self._types), _set_types)
    showHidden = Property(bool, lambda self: self._hidden_shown, _set_hidden_shown)
    showChildNodeTypes = Property(bool, lambda self: self._children_shown, _set_children_shown)


class qMRMLNodeComboBox(_NodeBox):
    """Chooses one node. Without ``noneEnabled`` the first that fits is chosen by itself."""

    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._flags = {
            "noneEnabled": False,
            "addEnabled": True,
            "removeEnabled": True,
            "renameEnabled": False,
            "editEnabled": False,
        }
        self._none_display = "None"
        self._current: str | None = None  # ID
        self._refreshing = False
        self.connect("currentIndexChanged(int)", self._choose)

    def currentNode(self) -> Any:
        return self._node(self._current) if self._current else None

    def setCurrentNode(self, node: Any) -> None:
        self._select(node.GetID() if node is not None and node in self._wanted() else None)

    def setCurrentNodeID(self, identity: str) -> None:
        self.setCurrentNode(self._node(identity) if identity else None)

    def _choose(self, index: int) -> None:
        if not self._refreshing:
            self._select(self.itemData(index) or None)

    def _select(self, identity: str | None) -> None:
        if identity is None and not self._flags["noneEnabled"] and self._listed:
            identity = self._listed[0].GetID()
        changed = identity != self._current
        self._current = identity
        self._refreshing = True
        try:
            self.setCurrentIndex(max(self.findData(identity or ""), 0) if self.count else -1)
        finally:
            self._refreshing = False
        if changed:
            self.currentNodeChanged.emit(self.currentNode())
            self.currentNodeIDChanged.emit(identity or "")

    def _refresh(self) -> None:
        self._refreshing = True
        try:
            self._listed = self._wanted()
            self.clear()
            if self._flags["noneEnabled"]:
                self.addItem(self._none_display, "")
            for node in self._listed:
                self.addItem(node.GetName(), node.GetID())
        finally:
            self._refreshing = False
        there = any(node.GetID() == self._current for node in self._listed)
        self._select(self._current if there else None)

    def _set_none_display(self, text: str) -> None:
        self._none_display = text
        self._refresh()

    noneDisplay = Property(str, lambda self: self._none_display, _set_none_display)
    currentNodeID = Property(str, lambda self: self._current or "", setCurrentNodeID)
    noneEnabled, addEnabled, removeEnabled, renameEnabled, editEnabled = (
        Property(
            bool,
            lambda self, name=name: self._flags[name],
            lambda self, on, name=name: (self._flags.__setitem__(name, on), self._refresh())[0],
        )
        for name in ("noneEnabled", "addEnabled", "removeEnabled", "renameEnabled", "editEnabled")
    )


class qMRMLCheckableNodeComboBox(_NodeBox):
    """Ticks several nodes."""

    checkedNodesChanged = Signal()

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._checked: set[str] = set()

    def checkedNodes(self) -> tuple[Any, ...]:
        return tuple(node for node in self._listed if node.GetID() in self._checked)

    def setCheckState(self, node: Any, state: Any) -> None:
        before = set(self._checked)
        if int(state) == int(qt.Qt.Checked):
            self._checked.add(node.GetID())
        else:
            self._checked.discard(node.GetID())
        if before != self._checked:
            self._refresh()
            self.checkedNodesChanged.emit()

    def _refresh(self) -> None:
        self._listed = self._wanted()
        there = {node.GetID() for node in self._listed}
        lost = self._checked - there
        self._checked &= there
        self.clear()
        for node in self._listed:
            self.addItem(node.GetName(), node.GetID())
            state = qt.Qt.Checked if node.GetID() in self._checked else qt.Qt.Unchecked
            self.setItemData(self.count - 1, state, qt.Qt.CheckStateRole)
        names = ", ".join(node.GetName() for node in self.checkedNodes())
        self.setPlaceholderText(names or "None")
        self.setCurrentIndex(-1)
        if lost:
            self.checkedNodesChanged.emit()


def _release(observations: list[tuple[Any, int]], *_: Any) -> None:
    """Stop observing, as the box goes or gets another scene."""
    for subject, tag in observations:
        subject.RemoveObserver(tag)
    observations.clear()


def _nodes_of(scene: Any) -> Iterator[Any]:
    for index in range(scene.GetNumberOfNodes()):
        yield scene.GetNthNode(index)
