"""The fixed part of the panel, below what scrolls: the button, the progress, a line about what went
wrong, and the verdict on the result that is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from SFDASegmenterLib import words
from SFDASegmenterLib.panel.forms import put
from SFDASegmenterLib.runs import Run, State

# Of the verdict: background and text, which read on light and on dark windows.
COLORS = {
    "green": ("#d1e7dd", "#0a3622"),
    "amber": ("#fff3cd", "#664d03"),
    "red": ("#f8d7da", "#58151c"),
    "grey": ("#e2e3e5", "#2b2f32"),
}


class RunSection:
    """The fixed part of the panel.

    Args:
        ui: the widgets by name.
        pressed: called when the button is pressed.
    """

    def __init__(self, ui: Any, pressed: Callable[[], None]) -> None:
        self._ui = ui
        self._log = ""
        ui.applyButton.connect("clicked()", pressed)
        ui.logButton.connect("clicked()", self._show_log)
        ui.whyButton.connect("toggled(bool)", self._show_reasons)
        self.tell("", "")
        self.show_verdict({})

    def show(self, run: Run | None, running: bool) -> None:
        """Button and progress, as they are while a run goes on and while none does."""
        ui = self._ui
        ui.applyButton.text = _("Cancel") if running else _("Adapt && Segment")
        ui.progressBar.visible = ui.progressLabel.visible = running
        # Also while it is empty: nothing moves when the estimate comes.
        ui.estimateLabel.visible = not running
        if run is None or not running:
            return
        ui.applyButton.enabled = run.state is not State.CANCELLING
        now = run.progress
        ui.progressBar.maximum = now.total
        ui.progressBar.value = now.step
        ui.progressLabel.text = (
            _("Cancelling...") if run.state is State.CANCELLING else words.progress(now)
        )

    def allow(self, running: bool, reason: str | None) -> None:
        """Whether the button can be pressed; a disabled one says why."""
        button = self._ui.applyButton
        button.enabled = running or reason is None
        button.toolTip = (
            _("Stop the computation; nothing of it is kept.")
            if running
            else reason or _("Segment the image with the source model, then with the method.")
        )

    def tell(self, message: str, details: str) -> None:
        """Show one line about what went wrong, and its details behind a button; "" hides both."""
        self._ui.messageLabel.text = self._ui.messageLabel.toolTip = message
        self._ui.messageFrame.visible = bool(message)
        self._ui.logButton.visible = bool(details)
        self._log = details

    def warn(self, warnings: Sequence[str]) -> None:
        """Show the warnings of a run about its images, while it runs."""
        if warnings:
            self.tell(words.warnings(warnings), "\n".join(warnings) if len(warnings) > 1 else "")

    def show_verdict(
        self, report: Mapping[str, Any], among: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """Show the verdict of a report; an empty report hides it.

        Args:
            among: as of ``words.verdict``.
        """
        ui = self._ui
        ui.verdictWidget.visible = bool(report)
        put(ui.whyButton, checked=False)
        ui.whyText.visible = False
        if not report:
            ui.verdictLabel.text = ""
            return
        found = words.verdict(report, among)
        background, text = COLORS[found.colour]
        ui.verdictLabel.text = found.line
        ui.verdictLabel.styleSheet = (
            f"QLabel {{ background: {background}; color: {text}; padding: 3px; font-weight: bold }}"
        )
        ui.whyText.html = words.reasons(found)
        ui.whyButton.visible = bool(found.reasons)

    def _show_reasons(self, on: bool) -> None:
        self._ui.whyText.visible = on

    def _show_log(self) -> None:
        slicer.util.infoDisplay(
            self._ui.messageLabel.text, windowTitle=_("Details"), detailedText=self._log
        )
