"""The method and its options."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import qt
from slicer.i18n import tr as _

from SFDALib.methods import needs, registry
from SFDALib.methods.method import CUSTOM
from SFDASegmenterLib import words
from SFDASegmenterLib.panel.forms import OptionsForm, in_order, put
from SFDASegmenterLib.panel.more import More
from SFDASegmenterLib.panel.section import Section, Shared
from SFDASegmenterLib.parameters import Parameters, options_of, set_options

FLAGS = qt.Qt.UserRole - 1  # the role under which a combo box keeps whether an item can be chosen
SELECTABLE = 33  # enabled and selectable
FROM_LABELS = _(
    "Learns from segmentations that you bring. Not in this panel yet: use the command line, with"
    " --labels."
)


class MethodSection(Section):
    """The method and its options."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        ui = self.ui
        self._form = OptionsForm(ui.optionsWidget, self._keep_options)
        for method in registry.METHODS.values():
            ui.methodComboBox.addItem(method.title, method.name)
        ui.methodComboBox.connect("currentIndexChanged(int)", self._choose)
        for name, title in words.PRESETS.items():
            ui.presetComboBox.addItem(title, name)
        ui.presetComboBox.setItemData(ui.presetComboBox.findData(CUSTOM), 0, FLAGS)
        ui.presetComboBox.connect("currentIndexChanged(int)", self._choose_preset)
        self._more = More(ui.methodFactsLabel)
        ui.resetOptionsButton.connect("clicked()", self._reset)

    def show(self, parameters: Parameters, facts: Mapping[str, Any] | None) -> None:
        """Bring the widgets in line with the parameters and the bundle's facts."""
        combo = self.ui.methodComboBox
        unavailable = facts["unavailable"] if facts else {}
        for index, method in enumerate(registry.METHODS.values()):
            reason = unavailable.get(method.name)
            tip = _("This source model {reason}.").format(reason=reason) if reason else None
            if needs.LABELS in method.needs:
                tip = FROM_LABELS
            combo.setItemData(index, 0 if tip else SELECTABLE, FLAGS)
            combo.setItemData(index, tip or method.summary, qt.Qt.ToolTipRole)
        if parameters.method not in registry.METHODS:  # a scene of another version
            parameters.method = registry.AUTO
        put(combo, currentIndex=combo.findData(parameters.method))
        method = registry.METHODS[parameters.method]
        self._more.show(html.escape(method.summary), words.method_details(method))
        given = options_of(parameters, method.name)
        presets = self.ui.presetComboBox
        if self._form.show(method.options, parameters.preset, given):
            in_order(presets, *self._form.fields)
        shown = CUSTOM if given or self.fault else parameters.preset
        put(presets, currentIndex=presets.findData(shown))

    def field(self, name: str) -> Any:
        """The widget of an option of the method."""
        return self._form.field(name)

    @property
    def fault(self) -> str | None:
        """Why the options cannot be used."""
        return self._form.fault()

    def _choose(self, index: int) -> None:
        self.write(method=self.ui.methodComboBox.itemData(index))

    def _keep_options(self) -> None:
        parameters = self.parameters
        if parameters is None:
            return
        if self._form.fault() is None:
            set_options(parameters, parameters.method, self._form.values())
        parameters.Modified()

    def _choose_preset(self, index: int) -> None:
        """Take a preset for every method, and drop what the user set of this one."""
        parameters = self.parameters
        if parameters is None:
            return
        parameters.preset = self.ui.presetComboBox.itemData(index)
        self._drop_options(parameters)

    def _reset(self) -> None:
        parameters = self.parameters
        if parameters is None:
            return
        parameters.seed = 0
        self._drop_options(parameters)

    def _drop_options(self, parameters: Parameters) -> None:
        self._form.reset(parameters.preset)
        set_options(parameters, parameters.method, {})
        parameters.Modified()
