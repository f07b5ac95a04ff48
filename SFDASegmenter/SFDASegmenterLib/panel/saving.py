"""What the user saves of the run that is shown: the adapted model, and the probabilities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from SFDASegmenterLib.copies import copy_whole, file_name
from SFDASegmenterLib.panel.section import Section, Shared
from SFDASegmenterLib.scene.results import Results


class SavingSection(Section):
    """The buttons that save.

    Args:
        shared: what all sections share.
        shown: gives the run that is shown.
    """

    def __init__(self, shared: Shared, shown: Callable[[], Results | None]) -> None:
        super().__init__(shared)
        self._shown = shown
        self.ui.saveBundleButton.connect("clicked()", self._save_bundle)
        self.ui.saveProbabilitiesButton.connect("clicked()", self._save_probabilities)

    def show(self, results: Results | None) -> None:
        """Offer what the run has; a disabled button says in its tooltip why."""
        bundle = self.ui.saveBundleButton
        bundle.visible = results is not None
        self.ui.saveProbabilitiesButton.visible = (
            results is not None and results.probabilities is not None
        )
        if results is None:
            return
        bundle.enabled = results.adapted_bundle is not None
        if bundle.enabled:
            why = _("Save the adapted model as a bundle, to be used without adapting again.")
        elif results.report.get("adaptation") is None:
            why = _("This method adapts no model.")
        else:
            why = _(
                "The adapted model was removed when its scene was closed. Run again to save it."
            )
        bundle.toolTip = why

    def _save_bundle(self) -> None:
        results = self._shown()
        if results is not None:
            title = _("Folder for the adapted model")
            self._save(results, results.adapted_bundle, title, "bundle")

    def _save_probabilities(self) -> None:
        results = self._shown()
        if results is not None:
            title = _("Folder for the probabilities")
            self._save(results, results.probabilities, title, "probabilities")

    def _save(self, results: Results, source: Path | None, title: str, what: str) -> None:
        """Copy a file or folder of the run to where the user wants it."""
        place = qt.QFileDialog.getExistingDirectory(None, title) if source is not None else ""
        if source is None or not place:
            return
        name = f"{file_name(results.node.GetName())}_{what}"
        try:
            saved = copy_whole(source, Path(place), name)
        except OSError as error:
            message = _("{source} could not be saved to {folder}: {error}")
            self.tell(message.format(source=source.name, folder=place, error=error), "")
        else:
            slicer.util.showStatusMessage(_("Saved {path}").format(path=saved), 5000)
