"""Weights without a description: help to describe their model, and to make a bundle of both.

Both are short commands in a process of their own, so that torch is never imported here.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path

import qt
from slicer.i18n import tr as _

from SFDALib.bundle.bundle_files import WEIGHTS_SUFFIXES
from SFDASegmenterLib.dependencies import DependencyError
from SFDASegmenterLib.panel.section import Section, Shared
from SFDASegmenterLib.protocols import Process

POLL = 100  # milliseconds


class WeightsSection(Section):
    """What is below the source model where that is a file of weights: a line and a button."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._worker: Process | None = None
        self._done: Callable[[], None] = lambda: None  # once the worker has ended well
        self._poll = qt.QTimer()
        self._poll.setInterval(POLL)
        self._poll.connect("timeout()", self._listen)
        self.ui.weightsButton.connect("clicked()", self._go_on)

    def show(self) -> None:
        """Bring the widgets in line with the parameters."""
        ui, weights = self.ui, self._weights
        ui.weightsLabel.visible = ui.weightsButton.visible = weights is not None
        if weights is None:
            return
        ui.weightsButton.enabled = self._worker is None
        description = _description(weights)
        if description.exists():
            text = _(
                "{description} describes the model of {weights}. Fill it in: the network with its"
                " arguments, labels, spacing and normalisation. Then make a bundle of both."
            )
            ui.weightsButton.text = _("Make a bundle")
        else:
            text = _(
                "{weights} has weights alone. Write a description of their model beside it,"
                " {description}, then fill it in."
            )
            ui.weightsButton.text = _("Write a description")
        ui.weightsLabel.text = html.escape(
            text.format(weights=weights.name, description=description.name)
        )

    def close(self) -> None:
        """End the command that runs."""
        self._poll.stop()
        if self._worker is not None:
            self._worker.end()
            self._worker = None

    @property
    def _weights(self) -> Path | None:
        """The file chosen as the source model, if it is one of weights."""
        parameters = self.parameters
        path = Path(parameters.bundle) if parameters is not None and parameters.bundle else None
        return path if path and path.suffix.lower() in WEIGHTS_SUFFIXES and path.is_file() else None

    def _go_on(self) -> None:
        weights = self._weights
        if weights is None or self._worker is not None:
            return
        self.tell("", "")
        description = _description(weights)
        if not description.exists():
            words = ["import-model", "--template", str(description)]
            self._start(words, lambda: _open(description))
            return
        self.ui.weightsButton.enabled = False  # while the user is asked, events come through
        try:
            self.services.installer.ensure()
        except DependencyError as error:
            self.tell(str(error), "")
            self.show()
            return
        bundle = weights.with_name(f"{weights.stem}-bundle")
        words = ["import-model", str(weights), "--describe", str(description)]
        self._start([*words, "--output", str(bundle)], lambda: self._take(weights, bundle))

    def _start(self, words: list[str], done: Callable[[], None]) -> None:
        self._done = done
        self._worker = self.services.start(words)
        self._poll.start()
        self.show()

    def _listen(self) -> None:
        worker = self._worker
        if worker is None or (status := worker.status()) is None:
            return
        self._poll.stop()
        self._worker = None
        if status == 0:
            self._done()
        else:
            lines = [line for line in worker.log.splitlines() if line.strip()]
            failed = _("The command failed without a message.")
            self.tell(lines[-1].removeprefix("SFDALib: ") if lines else failed, "")
        self.show()

    def _take(self, weights: Path, bundle: Path) -> None:
        """Choose the bundle, unless the user has chosen something else meanwhile."""
        if self._weights == weights:
            self.write(bundle=str(bundle))


def _description(weights: Path) -> Path:
    """The description's place, beside the weights."""
    return weights.with_suffix(".json")


def _open(path: Path) -> None:
    """Open a file in the computer's editor for such files."""
    qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(path)))
