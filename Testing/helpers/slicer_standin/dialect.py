"""PySide6 in PythonQt's dialect, which is how Slicer's Python sees Qt.

PySide6's own classes are changed in place: Q_PROPERTYs are attributes, ``connect`` takes
signatures, exceptions in slots are printed and kept and never propagate, unknown attributes are
refused on C++ objects, what is empty is false, an object is an instance of its own class alone, and
all classes are in one module ``qt``. Nothing of Slicer is known here.
"""

from __future__ import annotations

import inspect
import re
import sys
import traceback
import types
import weakref
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets
from PySide6.QtCore import QByteArray, QMetaMethod, QObject, SignalInstance

from slicer_standin import ownership

slot_errors: list[BaseException] = []  # what slots raised; a test asserts that it stays empty

# Methods in PythonQt's eyes as well, although Qt declares a property of that name.
METHODS = {"sizeHint", "minimumSizeHint", "singleShot"}
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
    for module in (QtCore, QtGui, QtWidgets):
        for cls in vars(module).values():
            _give_truth(cls)
    type(QObject).__instancecheck__ = _is_instance
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


def guarded(
    function: Callable[..., Any],
    limit: int | None = None,
    sender: Callable[[], QObject] | None = None,
) -> Callable[..., Any]:
    """A slot that takes no more arguments than the function and swallows nothing in silence.

    Args:
        function: what is called.
        limit: how many arguments the signal gives.
        sender: finds the object whose signal this is, which has to outlive the call.
    """
    accepted = _accepted(function)
    most = accepted if limit is None else min(accepted, limit)

    def slot(*arguments: Any) -> None:
        delivery = ownership.Delivery(sender) if sender is not None else None
        try:
            function(*arguments[:most])
        except Exception as error:
            slot_errors.append(error)
            traceback.print_exc()
        lost = delivery.end() if delivery is not None else None
        if lost:
            slot_errors.append(RuntimeError(lost))
            print(lost, file=sys.stderr)

    return slot


def is_object(value: Any) -> bool:
    """Whether a value is a QObject; ``isinstance`` says so in PySide6 alone."""
    return issubclass(type(value), QObject)


# --- Truth and kind ------------------------------------------------------------------------------


def _give_truth(cls: Any) -> None:
    """What is empty (a layout, a menu) or null (an icon) is false."""
    if not isinstance(cls, type) or not cls.__module__.startswith("PySide6"):
        return
    for name, empty in (("isEmpty", True), ("isNull", True), ("isValid", False)):
        if name in vars(cls) and (name != "isValid" or cls is QtGui.QColor):
            test = vars(cls)[name]
            cls.__bool__ = lambda self, test=test, empty=empty: (
                bool(test.__get__(self, type(self))()) is not empty
            )
            return


def _is_instance(cls: type, value: Any) -> bool:
    """A push button is no instance of ``qt.QWidget``: ask ``inherits``."""
    if cls.__module__.startswith("PySide6"):
        return type(value) is cls
    return type.__instancecheck__(cls, value)


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
    try:
        written = QObject.setProperty(self, name, _coerced(value, kind))
    except (TypeError, ValueError):
        written = False
    if not written:
        raise AttributeError(f"{type(self).__name__}.{name}: {value!r} is no {kind}")


def _coerced(value: Any, kind: str) -> Any:
    """As loosely as PythonQt: 'no' is True, 5 is '5', 2.7 is 2; but no text is a number.

    Raises:
        TypeError: it is not taken for a number.
    """
    if kind == "bool":
        return bool(value)
    if kind == "QString":
        return str(value)
    if kind in NUMBERS:
        if value is None or isinstance(value, str):
            raise TypeError(f"{value!r} is no number")
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
    child = is_object(value) and QObject.property(value, "objectName") == name
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
        if name in ours:
            return types.MethodType(ours[name], self)
        try:
            value = original(self, name)
        except AttributeError:
            if name.encode() not in QObject.dynamicPropertyNames(self):
                raise
            return QObject.property(self, name)
        return _signal_of(self, name, value) if type(value) is SignalInstance else value

    return get


# --- Signals -------------------------------------------------------------------------------------

_slots: dict[tuple[int, str], list[tuple[Callable[..., Any], Callable[..., Any]]]] = {}


class _SignalOfObject:
    """``w.clicked``, whose slots are watched like those of ``w.connect("clicked(bool)", f)``."""

    def __init__(self, sender: QObject, instance: SignalInstance) -> None:
        self._sender = sender
        self._instance = instance

    def __getitem__(self, types_: Any) -> _SignalOfObject:
        return _SignalOfObject(self._sender, self._instance[types_])

    def connect(self, function: Callable[..., Any], *more: Any, **named: Any) -> Any:
        if type(function) is _SignalOfObject:
            return self._instance.connect(function._instance, *more, **named)
        slot = guarded(function, sender=_finder(self._sender))
        _note(self._sender, str(self._instance), function, slot)
        return self._instance.connect(slot, *more, **named)

    def disconnect(self, function: Callable[..., Any] | None = None) -> bool:
        if function is None:
            raise ValueError("disconnect() needs the function")
        slot = _forget(self._sender, str(self._instance), function)
        return slot is not None and bool(self._instance.disconnect(slot) or True)

    def emit(self, *arguments: Any) -> None:
        self._instance.emit(*arguments)


def _signal_of(sender: QObject, name: str, instance: SignalInstance) -> _SignalOfObject:
    """In the form with the most arguments: ``clicked`` is ``clicked(bool)``."""
    meta = sender.metaObject()
    forms = [meta.method(index) for index in range(meta.methodCount())]
    forms = [form for form in forms if bytes(form.name().data()).decode() == name]
    longest = max(forms, key=lambda form: form.parameterCount(), default=None)
    if longest is not None and longest.parameterCount():
        signature = bytes(longest.methodSignature().data()).decode()
        instance = _overload(instance, signature, signature[len(name) + 1 : -1])
    return _SignalOfObject(sender, instance)


def _finder(sender: QObject) -> Callable[[], QObject]:
    """Finds an object again without keeping it alive."""
    reference, cls = weakref.ref(sender), type(sender)
    pointer = shiboken6.getCppPointer(sender)[0]

    def find() -> QObject:
        known = reference()
        return known if known is not None else shiboken6.wrapInstance(pointer, cls)

    return find


def _note(sender: QObject, signal: str, function: Any, slot: Any) -> None:
    _slots.setdefault((shiboken6.getCppPointer(sender)[0], signal), []).append((function, slot))


def _forget(sender: QObject, signal: str, function: Any) -> Any:
    kept = _slots.get((shiboken6.getCppPointer(sender)[0], signal), [])
    for index, (known, slot) in enumerate(kept):
        if known == function:
            del kept[index]
            return slot
    return None


def _connect(self: QObject, signature: str, function: Callable[..., Any]) -> bool:
    """``w.connect("clicked(bool)", f)``; an unknown signal is printed and False."""
    signal = _signal(self, signature)
    if signal is None:
        print(f"QObject::connect: {type(self).__name__} has no signal {signature}", file=sys.stderr)
        slot_errors.append(AttributeError(f"{type(self).__name__} has no signal {signature}"))
        return False
    instance, count = signal
    slot = guarded(function, count, _finder(self))
    instance.connect(slot)
    _note(self, signature, function, slot)
    return True


def _disconnect(self: QObject, signature: str = "", function: Any = None) -> bool:
    if not signature or function is None:
        raise ValueError("disconnect needs the signal and the function")
    signal = _signal(self, signature)
    slot = _forget(self, signature, function) if signal is not None else None
    if slot is None:
        return False
    signal[0].disconnect(slot)
    return True


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
            instance = getattr(self, name)._instance
            return _overload(instance, normal, types_), method.parameterCount()
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
