"""A form for a method's options, made from what the registry says of them: name, type, default,
range and help. No option is listed anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import qt

from SFDALib.errors import RequestError
from SFDALib.method import Option

NONE = "none"


class Rows:
    """Labelled fields that are made anew as a whole.

    Args:
        layout: of the place that they have for themselves.
    """

    def __init__(self, layout: Any) -> None:
        self._layout = layout
        self._widget: Any = None
        self._form: Any = None

    def clear(self) -> None:
        """Start anew. A form of its own goes with all its rows, in every version of Qt."""
        if self._widget is not None:
            self._layout.removeWidget(self._widget)
            self._widget.hide()
            self._widget.setParent(None)
            self._widget.deleteLater()
        self._widget = qt.QWidget()
        self._form = qt.QFormLayout(self._widget)
        self._form.setContentsMargins(0, 0, 0, 0)
        self._layout.addWidget(self._widget)

    def add(self, text: str, field: Any) -> None:
        label = qt.QLabel(text)
        label.toolTip = field.toolTip
        label.setBuddy(field)
        self._form.addRow(label, field)


class OptionsForm:
    """A row for every option.

    Args:
        layout: of the place that the form has for itself.
        changed: called after the user changed something.
    """

    def __init__(self, layout: Any, changed: Callable[[], None]) -> None:
        self._rows = Rows(layout)
        self._changed = changed
        self._fields: dict[str, Any] = {}
        self._options: dict[str, Option] = {}

    def build(self, options: Sequence[Option], given: Mapping[str, Any]) -> None:
        """Make the rows anew, with the given values over the defaults."""
        self._rows.clear()
        self._options = {option.name: option for option in options}
        self._fields = {}
        for option in options:
            field = self._field(option, given.get(option.name, option.default))
            field.objectName = f"option_{option.name}"
            field.toolTip = f"{option.help} {option.expected()}; default {option.word()}."
            self._rows.add(f"{option.name.replace('_', ' ')}:", field)
            self._fields[option.name] = field

    def values(self) -> dict[str, Any]:
        """What differs from the defaults.

        Raises:
            RequestError: a text that its option does not accept.
        """
        values = {}
        for name, option in self._options.items():
            value = option.check(_read(option, self._fields[name]))
            if value != option.default:
                values[name] = value
        return values

    def fault(self) -> str | None:
        """Why the values cannot be used, None if they can."""
        try:
            self.values()
        except RequestError as error:
            return str(error)
        return None

    def _field(self, option: Option, value: Any) -> Any:
        if option.kind == "bool" and not option.optional:
            field = qt.QCheckBox()
            field.checked = bool(value)
            field.connect("toggled(bool)", self._note)
        elif option.choices and not option.optional:
            field = qt.QComboBox()
            for word in option.choices:
                field.addItem(word)
            field.currentText = str(value)
            field.connect("currentIndexChanged(int)", self._note)
        elif option.kind == "int" and not option.optional and _fits(option):
            field = qt.QSpinBox()
            field.minimum, field.maximum = int(option.low), int(option.high)
            field.value = value
            field.connect("valueChanged(int)", self._note)
        else:
            # A number as text: learning rates such as 1e-6 have no place in a spin box.
            field = qt.QLineEdit()
            field.text = NONE if value is None else f"{value}"
            field.connect("editingFinished()", self._note)
        return field

    def _note(self, *_: object) -> None:
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
    return field.text.strip()
