"""PySide6 in PythonQt's dialect, which is how Slicer's Python sees Qt.

PySide6's own classes are changed in place: Q_PROPERTYs are attributes, ``connect`` takes
signatures, exceptions in slots are printed and kept and never propagate, unknown attributes are
refused on C++ objects, and all classes are in one module ``qt``. Nothing of Slicer is known here.
"""

from __future__ import annotations

import inspect
import re
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets
from PySide6.QtCore import QByteArray, QMetaMethod, QObject

slot_errors: list[BaseException] = []  # what slots raised; a test asserts that it stays empty

# Methods in PythonQt's eyes as well, although Qt declares a property of that name.
METHODS = {"sizeHint", "minimumSizeHint"}
_set_plainly = shiboken6.Shiboken.Object.__setattr__  # of the class beneath all that are changed
NUMBERS = {"int": int, "uint": int, "double": float, "float": float, "qlonglong": int}


def install() -> types.ModuleType:
    """Make the module ``qt``; once."""
    if "qt" in sys.modules:
        return sys.modules["qt"]
    qt = types.ModuleType("qt", "Qt as PythonQt shows it")
    for module in (QtCore, QtGui, QtWidgets):
        for name in dir(module):
            if name.startswith(("Q", "Signal", "Slot")):
                setattr(qt, name, getattr(module, name))
    for cls in _classes(QObject):
        translate(cls)
    _translate_statics()
    sys.modules["qt"] = qt
    return qt


def translate(cls: type) -> None:
    """Give a QObject class PythonQt's ways; also for classes made in Python, after their own."""
    meta = cls.staticMetaObject
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        declared = meta.property(index)
        # A Property that was made in Python is an attribute already, and Qt finds it by that.
        if declared.name() not in METHODS and not isinstance(
            vars(cls).get(declared.name()), QtCore.Property
        ):
            setattr(cls, declared.name(), _attribute(declared))
    cls.__setattr__ = _set_known
    if "__getattribute__" in vars(cls) or cls is QObject:
        cls.__getattribute__ = _with_signatures(cls.__getattribute__)
    if cls is QObject:
        cls.name = property(
            lambda self: QObject.property(self, "objectName"),
            lambda self, name: QObject.setProperty(self, "objectName", str(name)),
        )


def guarded(function: Callable[..., Any], limit: int | None = None) -> Callable[..., Any]:
    """A slot that takes no more arguments than the function and swallows nothing in silence."""
    accepted = _accepted(function)
    most = accepted if limit is None else min(accepted, limit)

    def slot(*arguments: Any) -> None:
        try:
            function(*arguments[:most])
        except Exception as error:
            slot_errors.append(error)
            traceback.print_exc()

    return slot


# --- Properties ----------------------------------------------------------------------------------


def _attribute(declared: QtCore.QMetaProperty) -> property:
    name = declared.name()

    def read(self: QObject) -> Any:
        value = QObject.property(self, name)
        return tuple(value) if isinstance(value, list) else value

    return property(read, lambda self, value: _write(self, declared, value))


def _write(self: QObject, declared: QtCore.QMetaProperty, value: Any) -> None:
    name, kind = declared.name(), declared.typeName()
    if not declared.isWritable():
        raise AttributeError(f"{type(self).__name__}.{name} cannot be written")
    if not QObject.setProperty(self, name, _coerced(value, kind)):
        raise TypeError(f"{type(self).__name__}.{name}: {value!r} is no {kind}")


def _coerced(value: Any, kind: str) -> Any:
    """As loosely as PythonQt: 'no' is True, 5 is '5', 2.7 is 2; a double is strict."""
    if kind == "bool":
        return bool(value)
    if kind == "QString":
        return str(value)
    if kind in ("double", "float") and (value is None or isinstance(value, str)):
        raise TypeError(f"{value!r} is no number")
    if kind in NUMBERS:
        return NUMBERS[kind](value)
    return list(value) if isinstance(value, tuple) and kind == "QStringList" else value


def _set_known(self: QObject, name: str, value: Any) -> None:
    """Refuse what the class does not have, as a typo would otherwise pass.

    Classes that are made of Qt's in Python may, as in PythonQt; those that stand in for C++ ones
    keep their own under names with an underscore.
    """
    cls = type(self)
    if isinstance(inspect.getattr_static(cls, name, None), QtCore.Property):
        meta = self.metaObject()
        _write(self, meta.property(meta.indexOfProperty(name)), value)
        return
    foreign = cls.__module__.startswith(("PySide6", "slicer_standin"))
    # The loader of .ui files names children so; PythonQt, too, finds a child by its name.
    child = isinstance(value, QObject) and QObject.property(value, "objectName") == name
    if foreign and not child and not hasattr(cls, name) and not name.startswith("_"):
        if name.encode() not in self.dynamicPropertyNames():
            raise AttributeError(f"{cls.__name__} has no attribute {name}")
        self.setProperty(name, value)
        return
    _set_plainly(self, name, value)


def _with_signatures(original: Callable[[QObject, str], Any]) -> Callable[[QObject, str], Any]:
    """PySide6 looks its own ``connect`` and ``disconnect`` up before a class's dictionary."""
    ours = {"connect": _connect, "disconnect": _disconnect}

    def get(self: QObject, name: str) -> Any:
        return types.MethodType(ours[name], self) if name in ours else original(self, name)

    return get


# --- Signals -------------------------------------------------------------------------------------

_slots: dict[tuple[int, str], list[tuple[Callable[..., Any], Callable[..., Any]]]] = {}


def _connect(self: QObject, signature: str, function: Callable[..., Any]) -> bool:
    """``w.connect("clicked(bool)", f)``; an unknown signal is printed and False."""
    signal = _signal(self, signature)
    if signal is None:
        print(f"QObject::connect: {type(self).__name__} has no signal {signature}", file=sys.stderr)
        slot_errors.append(AttributeError(f"{type(self).__name__} has no signal {signature}"))
        return False
    instance, count = signal
    slot = guarded(function, count)
    instance.connect(slot)
    key = (shiboken6.getCppPointer(self)[0], signature)
    _slots.setdefault(key, []).append((function, slot))
    return True


def _disconnect(self: QObject, signature: str, function: Callable[..., Any]) -> bool:
    signal = _signal(self, signature)
    kept = _slots.get((shiboken6.getCppPointer(self)[0], signature), [])
    for index, (known, slot) in enumerate(kept):
        if known == function and signal is not None:
            signal[0].disconnect(slot)
            del kept[index]
            return True
    return False


def _signal(self: QObject, signature: str) -> tuple[Any, int] | None:
    """The signal's instance of that overload and how many arguments it gives."""
    wanted = re.sub(r"vtk\w+\s*\*", "PyObject", signature)
    normal = bytes(QtCore.QMetaObject.normalizedSignature(wanted).data()).decode()
    meta = self.metaObject()
    for index in range(meta.methodCount()):
        method = meta.method(index)
        if method.methodType() != QMetaMethod.MethodType.Signal:
            continue
        if bytes(method.methodSignature().data()).decode() == normal:
            name = bytes(method.name().data()).decode()
            types_ = normal[len(name) + 1 : -1]
            return _overload(getattr(self, name), normal, types_), method.parameterCount()
    return None


def _overload(instance: Any, signature: str, types_: str) -> Any:
    """A signal of several signatures by its types; str() of an instance names its own."""
    if signature in str(instance):
        return instance
    try:
        return instance[types_] if types_ else instance
    except (IndexError, KeyError, TypeError):
        return instance


def _accepted(function: Callable[..., Any]) -> int:
    """How many positional arguments a callable takes; those with a default are filled, too."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 99
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return 99
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


# --- Functions that return more in PySide6 -------------------------------------------------------


def _translate_statics() -> None:
    """File dialogs return the name alone; none may open by itself and wait for ever."""
    for name in ("getOpenFileName", "getSaveFileName", "getExistingDirectory", "getOpenFileNames"):
        setattr(QtWidgets.QFileDialog, name, staticmethod(_refuse_dialog(name)))


def _refuse_dialog(name: str) -> Callable[..., str]:
    def refuse(*_arguments: Any, **_keywords: Any) -> str:
        raise RuntimeError(f"QFileDialog.{name} would wait for a user: a test must replace it")

    return refuse


def _classes(base: type) -> list[type]:
    """The class and all of PySide6's that derive from it, bases first."""
    found, waiting = [], [base]
    while waiting:
        cls = waiting.pop(0)
        if cls not in found:
            found.append(cls)
            waiting += [sub for sub in cls.__subclasses__() if sub.__module__.startswith("PySide6")]
    return found


__all__ = ["QByteArray", "QtUiTools", "guarded", "install", "slot_errors", "translate"]
