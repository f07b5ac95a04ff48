"""Reads a .ui file as Slicer does, and raises where Slicer would only print a warning."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
from PySide6.QtCore import QBuffer, QByteArray
from PySide6.QtUiTools import QUiLoader

CUSTOM = re.compile(r"(ctk|qMRML|qSlicer)\w+")
BY_LOADER = {("QLabel", "buddy")}  # what the loader itself understands: class, property
_kept: list[Any] = []  # PySide6 forgets the Python half of widgets that nobody holds


class Loader(QUiLoader):
    """Makes the custom widgets by their names."""

    def __init__(self) -> None:
        super().__init__()
        self._errors: list[Exception] = []  # Qt, which calls, can pass on none: it would crash

    def createWidget(self, name: str, parent: Any = None, object_name: str = "") -> Any:
        try:
            widget = self._create(name, parent, object_name)
        except Exception as error:
            self._errors.append(error)
            widget = qt.QWidget(parent)
        _kept.append(widget)
        return widget

    def _create(self, name: str, parent: Any, object_name: str) -> Any:
        if CUSTOM.fullmatch(name):
            module = ctk if name.startswith("ctk") else slicer
            widget = getattr(module, name)(parent)  # AttributeError: not in the stand-in
            widget.setObjectName(object_name)
        else:
            widget = super().createWidget(name, parent, object_name)
            if widget is None:
                raise ValueError(f"{object_name}: Qt knows no widget {name}")
        return widget


def load_ui(path: str | Path) -> Any:
    """The top widget of a .ui file, with its connections made.

    Raises:
        ValueError: a class, property, signal or slot that does not exist.
    """
    tree = ElementTree.parse(path)
    widget = _load(tree)
    for element in tree.iter("widget"):
        made = _named(widget, element.get("name"))
        _check_properties(element, made)
    for connection in tree.iter("connection"):
        _connect(widget, *(connection.findtext(tag) for tag in ("sender", "signal")), connection)
    return widget


def _load(tree: ElementTree.ElementTree) -> Any:
    """Without what Qt cannot know: connections and flags of custom classes, done here instead."""
    copy = ElementTree.fromstring(ElementTree.tostring(tree.getroot()))
    for connections in copy.findall("connections"):
        copy.remove(connections)
    for customs in copy.findall("customwidgets"):
        copy.remove(customs)
    for element in copy.iter("widget"):
        for declared in element.findall("property"):
            flags = declared.findtext("set") or declared.findtext("enum") or ""
            if CUSTOM.match(flags):
                element.remove(declared)
    buffer = QBuffer()
    buffer.setData(QByteArray(ElementTree.tostring(copy)))
    buffer.open(QBuffer.OpenModeFlag.ReadOnly)
    loader = Loader()
    widget = loader.load(buffer)
    if loader._errors:
        raise loader._errors[0]
    if widget is None:
        raise ValueError(loader.errorString())
    _kept.append(widget)
    return widget


def _check_properties(element: ElementTree.Element, widget: Any) -> None:
    """Qt passes over a property that the class does not have; a typo in it must not."""
    known = {widget.metaObject().property(i).name() for i in range(_property_count(widget))}
    for declared in element.findall("property"):
        name = declared.get("name")
        by_loader = (element.get("class"), name) in BY_LOADER
        if name in known or by_loader or declared.get("stdset") == "0":
            continue
        raise ValueError(f"{element.get('name')}: {element.get('class')} has no property {name}")


def _property_count(widget: Any) -> int:
    return widget.metaObject().propertyCount()


def _connect(widget: Any, sender: str, signal: str, connection: ElementTree.Element) -> None:
    receiver = _named(widget, connection.findtext("receiver"))
    slot = connection.findtext("slot").partition("(")[0]
    function = getattr(receiver, slot, None)
    if not callable(function):
        raise ValueError(f"{receiver.objectName} has no slot {slot}")
    if not _named(widget, sender).connect(signal, function):
        raise ValueError(f"{sender} has no signal {signal}")


def _named(widget: Any, name: str) -> Any:
    if widget.objectName == name:
        return widget
    found = widget.findChild(qt.QWidget, name)
    if found is None:
        raise ValueError(f"the .ui file has no widget {name}")
    return found
