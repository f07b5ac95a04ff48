"""Go on after what fails by itself, as one image of a cohort or one method of a comparison does."""

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
class Attempts:
    """What failed, and why: ``with attempt(name, image="a.nrrd"): ...`` notes it and goes on.

    A defect of ours and a cancellation pass, and a disk that would refuse the next one, too.
    """

    reporter: Reporter
    errors: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str, **told: str) -> Iterator[None]:
        """
        Args:
            told: further fields of the event that tells a failure.
        """
        try:
            yield
        except DiskError:
            raise
        except SFDAError as error:
            line = str(error)  # alone: the error holds the tensors of its frames
            log.error("%s: %s", name, line)
            self.reporter.event("failed", **told, message=line)
            self.errors[name] = line
