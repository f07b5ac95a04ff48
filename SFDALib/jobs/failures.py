"""Record the failure of one image or one method, and continue with the next."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from SFDALib.errors import SFDAError
from SFDALib.jobs.events import Reporter
from SFDALib.results.folder import DiskError

log = logging.getLogger(__name__)


@dataclass
class Failures:
    """What failed, and why: ``with failures.recorded(name, image="a.nrrd"): ...``.

    Args:
        reporter: of the events.
        messages: one line for each image or method that failed, by its name.
    """

    reporter: Reporter
    messages: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def recorded(self, name: str, **details: str) -> Iterator[None]:
        """Record a failure in place of raising it.

        Bugs, cancellation and disk errors are raised; a disk that refuses one result refuses the
        next one, too.

        Args:
            name: of the image or the method.
            details: further fields of the event.
        """
        try:
            yield
        except DiskError:
            raise
        except SFDAError as error:
            line = str(error)  # only the text: the traceback keeps the frames' tensors alive
            log.error("%s: %s", name, line)
            self.reporter.event("failed", **details, message=line)
            self.messages[name] = line

    @property
    def first(self) -> str:
        """The first failure."""
        return next(iter(self.messages.values()))
