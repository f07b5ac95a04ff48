"""slicer.parameterNodeWrapper: typed fields kept in a node, bound to widgets in both directions.

As in Slicer, a value of a wrong type or out of range is refused, an unknown attribute is stored in
silence, and a changed widget writes its field at once.
"""

from __future__ import annotations

import json
import sys
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import slicer
import vtk

from slicer_standin import dialect


@dataclass(frozen=True)
class WithinRange:
    """Inclusive bounds of a number."""

    minimum: float
    maximum: float

    def check(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not within {self.minimum} to {self.maximum}")


@dataclass(frozen=True)
class Choice:
    """The values that are allowed."""

    choices: list[Any]

    def check(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"{value!r} is none of {self.choices}")


def install() -> None:
    """Make the Python module."""
    module = types.ModuleType("slicer.parameterNodeWrapper")
    module.parameterNodeWrapper = parameterNodeWrapper
    module.WithinRange = WithinRange
    module.Choice = Choice
    sys.modules["slicer.parameterNodeWrapper"] = slicer.parameterNodeWrapper = module


# --- Fields --------------------------------------------------------------------------------------


class _Field:
    """One typed field: a parameter of the node, or references from it."""

    def __init__(self, name: str, annotation: Any, default: Any) -> None:
        self.name = name
        self.checks: tuple[Any, ...] = ()
        if typing.get_origin(annotation) is Annotated:
            annotation, *checks = typing.get_args(annotation)
            self.checks = tuple(checks)
        self.several = typing.get_origin(annotation) is list
        self.type = typing.get_args(annotation)[0] if self.several else annotation
        self.is_node = issubclass(self.type, slicer.vtkMRMLNode)
        if self.several and not self.is_node:
            raise TypeError(f"{name}: the stand-in keeps no lists but of nodes")
        self.default = default

    def read(self, node: Any) -> Any:
        if self.several:
            count = node.GetNumberOfNodeReferences(self.name)
            return [node.GetNthNodeReference(self.name, index) for index in range(count)]
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        return json.loads(text) if text else self.default

    def write(self, node: Any, value: Any) -> None:
        if self.is_node:
            self._write_nodes(node, value)
            return
        if self.type is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, self.type):
            raise TypeError(f"{self.name}: {value!r} is no {self.type.__name__}")
        for check in self.checks:
            check.check(value)
        node.SetParameter(self.name, json.dumps(value))

    def _write_nodes(self, node: Any, value: Any) -> None:
        nodes = list(value) if self.several else [value]
        for one in nodes:
            if one is not None and not isinstance(one, self.type):
                raise TypeError(f"{self.name}: {one!r} is no {self.type.__name__}")
        before = self.read(node)
        if (before if self.several else [before]) == nodes:
            return
        was = node.StartModify()
        node.RemoveNodeReferenceIDs(self.name)
        for index, one in enumerate(nodes):
            if one is not None:
                node.SetNthNodeReferenceID(self.name, index, one.GetID())
        node.Modified()
        node.EndModify(was)


def parameterNodeWrapper(cls: type) -> type:
    """The class decorator."""
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {
        name: _Field(name, annotation, getattr(cls, name, None))
        for name, annotation in hints.items()
    }
    for name, field in fields.items():
        setattr(cls, name, _property(field))
    cls._fields = fields
    for name, method in vars(_Wrapper).items():
        if not name.startswith("__") or name == "__init__":
            setattr(cls, name, method)
    return cls


def _property(field: _Field) -> property:
    return property(
        lambda self: field.read(self.parameterNode),
        lambda self, value: field.write(self.parameterNode, value),
    )


class _Wrapper:
    """The methods that the decorator adds."""

    def __init__(self, parameterNode: Any) -> None:
        self.parameterNode = parameterNode
        self._bound: dict[int, list[_Binding]] = {}
        self._observed: dict[int, int] = {}  # the node's observer by the tag of its bindings
        self._updating = False
        for field in self._fields.values():
            if not field.is_node and not parameterNode.GetParameter(field.name):
                field.write(parameterNode, field.default)

    def getValue(self, name: str) -> Any:
        return self._fields[name].read(self.parameterNode)

    def setValue(self, name: str, value: Any) -> None:
        self._fields[name].write(self.parameterNode, value)

    def Modified(self) -> None:
        self.parameterNode.Modified()

    def connectParametersToGui(self, mapping: Mapping[str, Any]) -> int:
        """Bind fields to widgets; returns a tag for ``disconnectGui``."""
        bindings = [_Binding(self, self._fields[name], w) for name, w in mapping.items()]
        tag = len(self._bound)
        self._bound[tag] = bindings
        for binding in bindings:
            binding.show()
            binding.listen()
        self._observed[tag] = self.parameterNode.AddObserver(
            vtk.vtkCommand.ModifiedEvent, dialect.guarded(lambda *_: self._show())
        )
        return tag

    def disconnectGui(self, tag: int) -> None:
        for binding in self._bound.pop(tag, []):
            binding.forget()
        # The node outlives the wrapper; a function that Python has collected crashes when called.
        if tag in self._observed:
            self.parameterNode.RemoveObserver(self._observed.pop(tag))

    def _show(self) -> None:
        if self._updating:
            return
        self._updating = True
        was = self.parameterNode.StartModify()
        try:
            for bindings in list(self._bound.values()):
                for binding in bindings:
                    binding.show()
            self.parameterNode.EndModify(was)
        finally:
            self._updating = False


# --- Widgets -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Access:
    """How a widget's value is read, written and heard of."""

    read: Callable[[Any], Any]
    write: Callable[[Any, Any], None]
    signal: str


def _attribute(name: str, signal: str) -> _Access:
    return _Access(
        lambda widget: getattr(widget, name), lambda w, value: setattr(w, name, value), signal
    )


# By the class of the widget, and of no other that derives from it.
ACCESS = {
    "qMRMLNodeComboBox": _Access(
        lambda box: box.currentNode(),
        lambda box, node: box.setCurrentNode(node),
        "currentNodeChanged(vtkMRMLNode*)",
    ),
    "QCheckBox": _attribute("checked", "stateChanged(int)"),
    "QPushButton": _attribute("checked", "toggled(bool)"),
    "QSlider": _attribute("value", "valueChanged(int)"),
    "QSpinBox": _attribute("value", "valueChanged(int)"),
    "QDoubleSpinBox": _attribute("value", "valueChanged(double)"),
    "ctkSliderWidget": _attribute("value", "valueChanged(double)"),
    "QLineEdit": _attribute("text", "textChanged(QString)"),
}
NUMBERS = ("QSlider", "QSpinBox", "QDoubleSpinBox", "ctkSliderWidget")


class _Binding:
    """A field and the widget that shows it, which takes the field's range."""

    def __init__(self, wrapper: Any, field: _Field, widget: Any) -> None:
        kind = type(widget).__name__
        if kind not in ACCESS:
            raise TypeError(f"the stand-in binds no {kind} to {field.name}")
        self._wrapper, self._field, self._widget = wrapper, field, widget
        self._access = ACCESS[kind]
        ranges = [check for check in field.checks if isinstance(check, WithinRange)]
        if kind in NUMBERS and ranges:
            widget.minimum, widget.maximum = ranges[0].minimum, ranges[0].maximum

    def listen(self) -> None:
        self._widget.connect(self._access.signal, self._changed)

    def forget(self) -> None:
        self._widget.disconnect(self._access.signal, self._changed)

    def show(self) -> None:
        self._access.write(self._widget, self._field.read(self._wrapper.parameterNode))

    def _changed(self) -> None:
        """Also where a new range, not the user, has changed the value."""
        node = self._wrapper.parameterNode
        was = node.StartModify()
        try:
            if not self._wrapper._updating:
                self._field.write(node, self._access.read(self._widget))
        finally:
            node.EndModify(was)
