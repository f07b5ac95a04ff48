"""What else the automatic choice tried on the image that is shown, placed when it is asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator

import qt
import slicer
from slicer.i18n import tr as _

from SFDASegmenterLib.panel.section import Section, Shared
from SFDASegmenterLib.scene import tried
from SFDASegmenterLib.scene.results import Results

log = logging.getLogger(__name__)


class TriedSection(Section):
    """Places a node at a time, so that the window goes on working.

    Args:
        shared: what all sections share.
        placed: called when all are in the scene.
    """

    def __init__(self, shared: Shared, placed: Callable[[], None]) -> None:
        super().__init__(shared)
        self._placed = placed
        self._steps: Generator[None, None, None] | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._advance)

    def place(self, results: Results) -> bool:
        """Start placing what was tried on the image of a result, unless that goes on already.

        Returns:
            Whether it goes on; False where all that is kept is in the scene.
        """
        if self._steps is None and tried.waiting(results):
            self._steps = tried.place(results)
            self._timer.start()
            slicer.util.showStatusMessage(_("Loading what else was tried..."))
        return self._steps is not None

    def stop(self) -> None:
        """Take back what was placed of an image whose others are not all in the scene yet."""
        self._timer.stop()
        steps, self._steps = self._steps, None
        if steps is not None:
            steps.close()
            slicer.util.showStatusMessage("")

    def _advance(self) -> None:
        if self._steps is None:
            return
        try:
            next(self._steps)
        except StopIteration:
            self.stop()
            self._placed()
        except (OSError, ValueError, KeyError) as error:
            self.stop()
            message = _("What else was tried could not be loaded: {error}").format(error=error)
            log.exception("%s", message)
            self.tell(message, "")
            if self.parameters is not None:
                self.parameters.Modified()  # the choice of the view goes back to what is shown
