"""A row for each map of the shown run, made from results/layout.py; and the diffusion samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import ctk
import qt
from slicer.i18n import tr as _

from SFDALib.results import layout
from SFDASegmenterLib.panel.forms import Rows, in_order, put
from SFDASegmenterLib.panel.section import Section, Shared
from SFDASegmenterLib.parameters import (
    MapDisplay,
    Parameters,
    map_display,
    set_map_display,
)
from SFDASegmenterLib.scene.results import SAMPLE, Results


@dataclass(frozen=True)
class MapRow:
    """The widgets of one map.

    Args:
        box: shows it.
        opacity: of it.
        button: unfolds the threshold; None where it has none.
        threshold: values up to here are hidden.
    """

    box: Any
    opacity: Any
    button: Any | None = None
    threshold: Any | None = None


class MapsSection(Section):
    """The maps of the run that is shown."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._rows = Rows(self.ui.mapsWidget)
        self._made_for: dict[str, float] | None = None  # largest value of each map that has a row
        self.rows: dict[str, MapRow] = {}
        self.ui.sampleSlider.connect("valueChanged(int)", self._choose_sample)

    def show(self, parameters: Parameters, results: Results | None) -> None:
        """Bring the rows in line with the run and the parameters."""
        nodes = results.maps if results is not None else {}
        limits = {role: _largest(role, node) for role, node in nodes.items()}
        if limits != self._made_for:
            self._made_for = limits
            self._make(limits)
        for role, row in self.rows.items():
            self._show_row(parameters, role, row)
        self._show_sample(parameters, results)

    def display(self, parameters: Parameters, role: str) -> MapDisplay:
        """How a map is shown: a sample hides the image that it is compared with."""
        default = MapDisplay(opacity=1.0) if role == SAMPLE else MapDisplay()
        return map_display(parameters, role, default)

    def _make(self, limits: Mapping[str, float]) -> None:
        self._rows.clear()
        self.rows = {role: self._row(role, largest) for role, largest in limits.items()}
        self.ui.mapsWidget.visible = bool(limits)
        in_order(
            self.ui.surfaceCheckBox,
            *(
                widget
                for row in self.rows.values()
                for widget in (row.box, row.opacity, row.button, row.threshold)
                if widget is not None
            ),
        )

    def _row(self, role: str, largest: float) -> MapRow:
        parent = self._rows.parent
        file = layout.maps().get(role)  # none for the diffusion sample
        box = qt.QCheckBox(file.title if file is not None else _("Sample"), parent)
        box.objectName = f"map_{role}"
        box.toolTip = file.help if file is not None else _("The chosen diffusion sample (HEAL).")
        box.connect("toggled(bool)", lambda on: self._choose(role, on))
        opacity = _slider(parent, 1.0, _("Opacity: 0 is invisible, 1 hides the image."))
        opacity.objectName = f"map_{role}_opacity"
        opacity.connect("valueChanged(double)", lambda value: self._set(role, opacity=value))
        if file is None:
            self._rows.add_row(box, opacity)
            return MapRow(box, opacity)
        button = qt.QToolButton(parent)
        button.objectName = f"map_{role}_button"
        button.text = "\u2265"
        button.checkable = True
        button.toolTip = _("Show the slider of the threshold above which the map is shown.")
        threshold = _slider(parent, largest, _("Only values above this are shown."))
        threshold.objectName = f"map_{role}_threshold"
        threshold.connect("valueChanged(double)", lambda value: self._set(role, threshold=value))
        label = qt.QLabel(_("above"), parent)
        label.alignment = int(qt.Qt.AlignRight) | int(qt.Qt.AlignVCenter)
        for widget in (label, threshold):
            button.connect("toggled(bool)", widget.setVisible)
            widget.visible = False
        self._rows.add_row(box, opacity, button)
        self._rows.add_row(label, threshold)
        return MapRow(box, opacity, button, threshold)

    def _show_row(self, parameters: Parameters, role: str, row: MapRow) -> None:
        display = self.display(parameters, role)
        put(row.box, checked=parameters.overlay == role)
        put(row.opacity, value=display.opacity)
        if row.threshold is not None:
            put(row.threshold, value=display.threshold)

    def _show_sample(self, parameters: Parameters, results: Results | None) -> None:
        ui = self.ui
        browser = results.get("browser") if results is not None else None
        scores = results.report.get("details", {}).get("samples") if results is not None else None
        ui.samplesWidget.visible = browser is not None and bool(scores)
        if results is None or browser is None or not scores:
            return
        index = min(parameters.sample, len(scores) - 1)
        put(ui.sampleSlider, maximum=len(scores) - 1, value=index)
        if browser.GetSelectedItemNumber() != index:
            results.select_sample(index)
        chosen = index == results.report["details"]["chosen_sample"]
        text = _("Sample {number} of {count}: S = {score:.3f}{star}")
        ui.sampleLabel.text = text.format(
            number=index + 1,
            count=len(scores),
            score=scores[index]["score"],
            star=" \u2605" if chosen else "",
        )
        ui.sampleLabel.toolTip = _(
            "S is the share of the expected edges that are found in the sample."
        ) + (_(" This sample was chosen.") if chosen else "")

    # --- What the user does ----------------------------------------------------------------------

    def _choose(self, role: str, on: bool) -> None:
        parameters = self.parameters
        if parameters is None:
            return
        if on:
            parameters.overlay = role
        elif parameters.overlay == role:
            parameters.overlay = ""

    def _set(self, role: str, **changed: float) -> None:
        parameters = self.parameters
        if parameters is not None:
            display = replace(self.display(parameters, role), **changed)
            set_map_display(parameters, role, display)

    def _choose_sample(self, index: int) -> None:
        self.write(sample=index)


def _largest(role: str, node: Any) -> float:
    """The largest value that the map can have: its window ends there."""
    display = node.GetDisplayNode()
    return display.GetWindowLevelMax() if role != SAMPLE and display is not None else 1.0


def _slider(parent: Any, maximum: float, tip: str) -> Any:
    slider = ctk.ctkSliderWidget(parent)
    slider.minimum, slider.maximum = 0.0, maximum
    slider.singleStep = 0.05
    slider.decimals = 2
    slider.toolTip = tip
    slider.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)
    return slider
