"""Rows of widgets that are made from data: a method's options from what the registry says of them
(name, unit, type, default, range and help), the channels of a model. Nothing is listed anywhere
else.

A widget that PythonQt made is deleted with its last reference where it has no parent, also in the
middle of its own signal. So what is replaced keeps a parent until Qt itself deletes it, once the
event is over; and a form whose options stay is not made anew: its fields take the new values.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import qt

from SFDALib.errors import RequestError
from SFDALib.methods.option import RECOMMENDED, Option


@contextlib.contextmanager
def silenced(*widgets: Any) -> Iterator[None]:
    """Write into widgets what the parameters hold, without their signals writing it back."""
    before = [widget.blockSignals(True) for widget in widgets]
    try:
        yield
    finally:
        for widget, blocked in zip(widgets, before, strict=True):
            widget.blockSignals(blocked)


def put(widget: Any, **values: Any) -> None:
    """Write properties whose value differs: a field that is being typed in keeps its text."""
    with silenced(widget):
        for name, value in values.items():
            if getattr(widget, name) != value:
                setattr(widget, name, value)


def in_order(*widgets: Any) -> None:
    """Let the Tab key go from each to the next."""
    for before, after in itertools.pairwise(widgets):
        qt.QWidget.setTabOrder(before, after)


class Rows:
    """Rows of widgets that are made anew as a whole.

    Args:
        place: a widget that the rows have for themselves; it has an empty layout.
    """

    def __init__(self, place: Any) -> None:
        self._place = place
        self._replaced = qt.QWidget(place.parent())  # holds old rows until Qt deletes them
        self._replaced.hide()
        self._widget: Any = None
        self._grid: Any = None
        self._count = 0

    def clear(self) -> None:
        """Start anew. A grid of its own goes with all its rows, in every version of Qt."""
        if self._widget is not None:
            self._place.layout().removeWidget(self._widget)
            self._widget.setParent(self._replaced)
            self._widget.deleteLater()
        self._widget = qt.QWidget(self._place)
        self._grid = qt.QGridLayout(self._widget)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setVerticalSpacing(1)
        self._grid.setColumnStretch(1, 1)
        self._count = 0
        self._place.layout().addWidget(self._widget)

    def add(self, text: str, field: Any) -> None:
        """A field under its name."""
        label = qt.QLabel(text, self._widget)
        label.toolTip = field.toolTip
        label.setBuddy(field)
        self.add_row(label, field)

    def add_row(self, *widgets: Any) -> None:
        """Up to three widgets beside each other; the second takes the room that is left."""
        for column, widget in enumerate(widgets):
            self._grid.addWidget(widget, self._count, column)
        self._count += 1

    @property
    def parent(self) -> Any:
        """For the widgets of the next rows."""
        return self._widget


class OptionsForm:
    """A row for every option.

    Args:
        place: a widget that the form has for itself; it has an empty layout.
        changed: called after the user changed something.
    """

    def __init__(self, place: Any, changed: Callable[[], None]) -> None:
        self._rows = Rows(place)
        self._changed = changed
        self._fields: dict[str, Any] = {}
        self._options: dict[str, Option] = {}
        self._preset = RECOMMENDED
        self._given: dict[str, Any] = {}  # the values over the preset's that were last shown

    def show(self, options: Sequence[Option], preset: str, given: Mapping[str, Any]) -> bool:
        """Show these options with the given values over those of a preset.

        A field whose text its option refuses keeps it until other values are given.

        Returns:
            Whether the fields are new.
        """
        new = list(self._options.values()) != list(options)
        if new:
            self._build(options)
        elif (self._preset, self._given) == (preset, given):
            return False
        self._write_all(preset, given)
        return new

    def values(self) -> dict[str, Any]:
        """What differs from the preset.

        Raises:
            RequestError: a text that its option does not accept.
        """
        values = {}
        for name, option in self._options.items():
            value = option.check(_read(option, self._fields[name]))
            if value != option.value(self._preset):
                values[name] = value
        return values

    def fault(self) -> str | None:
        """Why the values cannot be used, None if they can."""
        try:
            self.values()
        except RequestError as error:
            return str(error)
        return None

    def field(self, name: str) -> Any:
        """The widget of an option."""
        return self._fields[name]

    @property
    def fields(self) -> list[Any]:
        """The widgets of all options, in their order."""
        return list(self._fields.values())

    def reset(self, preset: str) -> None:
        """Show the values of a preset, also in place of a text that is refused."""
        self._write_all(preset, {})

    def _write_all(self, preset: str, given: Mapping[str, Any]) -> None:
        self._preset, self._given = preset, dict(given)
        for name, option in self._options.items():
            _write(option, self._fields[name], given.get(name, option.value(preset)))

    def _build(self, options: Sequence[Option]) -> None:
        self._rows.clear()
        self._options = {option.name: option for option in options}
        self._fields = {}
        for option in options:
            field = self._field(option, self._rows.parent)
            field.objectName = f"option_{option.name}"
            field.toolTip = option.in_words()
            self._rows.add(f"{option.title}:", field)
            self._fields[option.name] = field

    def _field(self, option: Option, parent: Any) -> Any:
        if option.kind == "bool" and not option.optional:
            field = qt.QCheckBox(parent)
            field.connect("toggled(bool)", self._note)
        elif option.choices and not option.optional:
            field = qt.QComboBox(parent)
            field.sizeAdjustPolicy = qt.QComboBox.AdjustToMinimumContentsLengthWithIcon
            for word in option.choices:
                field.addItem(word)
            field.connect("currentIndexChanged(int)", self._note)
        elif option.kind == "int" and not option.optional and _fits(option):
            field = qt.QSpinBox(parent)
            field.minimum, field.maximum = int(option.low), int(option.high)
            field.connect("valueChanged(int)", self._note)
        else:
            # A number as text: learning rates such as 1e-6 have no place in a spin box.
            field = qt.QLineEdit(parent)
            field.placeholderText = option.none  # an empty field means none
            field.connect("editingFinished()", self._note)
        return field

    def _note(self, *_: object) -> None:
        if self.fault() is None:
            self._given = self.values()  # the fields show them already
        self._changed()


def _fits(option: Option) -> bool:
    """Whether both bounds fit a spin box."""
    return option.low >= -(2**31) and option.high < 2**31


def _read(option: Option, field: Any) -> Any:
    if option.kind == "bool" and not option.optional:
        return field.checked
    if option.choices and not option.optional:
        return field.currentText
    if option.kind == "int" and not option.optional and _fits(option):
        return field.value
    text = field.text.strip()
    return text if text or not option.optional else None


def _write(option: Option, field: Any, value: Any) -> None:
    if option.kind == "bool" and not option.optional:
        put(field, checked=bool(value))
    elif option.choices and not option.optional:
        put(field, currentIndex=field.findText(str(value)))
    elif option.kind == "int" and not option.optional and _fits(option):
        put(field, value=value)
    else:
        put(field, text="" if value is None else f"{value}")
