"""One run, from the click to the nodes in the scene. Knows no widget: the panel calls ``advance``
from a timer, a script from a loop.

A run keeps IDs of nodes, never nodes, and names its results after the image that was run, whatever
is selected when it ends. Nothing is placed in the scene before the job has ended well, and a
cancelled run takes back what it had placed.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from SFDALib.errors import RequestError
from SFDALib.methods import registry
from SFDALib.results import layout
from SFDALib.results.layout import ResultFile
from SFDASegmenterLib import staging
from SFDASegmenterLib.protocols import Job
from SFDASegmenterLib.request import Image, Request
from SFDASegmenterLib.scene import tried
from SFDASegmenterLib.scene.placement import Origin, Placement
from SFDASegmenterLib.scene.results import Results
from SFDASegmenterLib.worker import CANCELLED, Progress, Worker

log = logging.getLogger(__name__)
DEFECT = 1
# Stages that name the image or the method of the stages after them.
PARTS = ("cohort", "compare", "auto")


class State(Enum):
    """What a run is doing."""

    COMPUTING = "computing"
    CANCELLING = "cancelling"
    PLACING = "placing"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Run:
    """One job and its results. ``advance`` is to be called until ``ended``.

    Args:
        request: what to do.
        start: starts the process, given the words of its command line.

    Raises:
        RequestError: the request cannot be carried out, and why.
        OSError: the volumes could not be written.
    """

    def __init__(self, request: Request, start: Callable[[Sequence[str]], Job] = Worker) -> None:
        reason = request.refusal()
        if reason:
            raise RequestError(reason)
        self.id = uuid.uuid4().hex
        self.request = request
        self.state = State.COMPUTING
        self.progress = Progress("starting")
        self.message = ""  # one line for the user once it has failed, or ended early
        self.status: int | None = None  # exit status of the job
        self.results: list[Results] = []
        self.failures: dict[str, str] = {}  # by the name of an image, or of a compared method
        self.warnings: list[str] = []  # about the images, a sentence or two each
        self._parts: dict[str, str] = {}  # the image or the method that is computed now, by stage
        self._names: dict[str, str] = {}  # of the images, by those of their files
        self._placements: list[Placement] = []
        self._steps: Iterator[None] = iter(())
        self._origins = [_origin(image) for image in request.images]
        self.folder = Path(tempfile.mkdtemp(prefix="SFDA-", dir=slicer.app.temporaryPath))
        try:
            files = staging.write_images(request.images, self.folder / "input")
            self._names = _names(request, files)
            self._worker = start(request.words(files, self.folder, self.output))
        except BaseException:
            self.discard()
            raise

    @property
    def output(self) -> Path:
        """The result folder, until the files are discarded."""
        return self.folder / "result"

    @property
    def ended(self) -> bool:
        """Whether it is done, failed or was cancelled."""
        return self.state in (State.DONE, State.FAILED, State.CANCELLED)

    @property
    def log(self) -> str:
        """What the job wrote to standard error."""
        return self._worker.log

    @property
    def first(self) -> Results:
        """The results to show first: of a comparison those that the judge chose."""
        if not self.request.compared:
            return self.results[0]
        chosen = registry.find(self._read(layout.COMPARISON)["chosen"]).title
        by_method = {one.node.GetAttribute("SFDA.Method"): one for one in self.results}
        return by_method.get(chosen, self.results[0])

    @property
    def together(self) -> str:
        """One sentence: the verdict on all images of a cohort together; empty without one.

        Known from the end of the job until the files are discarded.
        """
        trust = self._read(layout.COHORT)["trust"] if self.request.is_cohort else None
        return trust["sentence"] if trust is not None else ""

    def advance(self) -> None:
        """Read the job's events, or place one more node."""
        if self.state in (State.COMPUTING, State.CANCELLING):
            self._listen()
        elif self.state is State.PLACING:
            self._place()

    def cancel(self) -> None:
        """Stop; ``state`` says when it has stopped. Results that are being placed are removed."""
        if self.state is State.COMPUTING:
            self.state = State.CANCELLING
            self._worker.cancel()
        elif self.state is State.PLACING:
            self._take_back()
            self.state = State.CANCELLED
            self.discard()

    def abandon(self) -> None:
        """Stop at once, as the scene or the application goes: kill the job, remove its files."""
        self._worker.end()
        if not self.ended:
            self._take_back()
            self.state = State.CANCELLED
        self.discard()

    def discard(self) -> None:
        """Remove the run's files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- Computing -------------------------------------------------------------------------------

    def _listen(self) -> None:
        status = self._worker.status()
        for event in self._worker.events():  # after the status: then nothing more can come
            kind = event["event"]
            if kind == "progress":
                self._note_progress(event)
            elif kind == "failed":
                self.failures[self._part_name(event)] = self._for_people(event["message"])
            elif kind == "warning":
                self._note_warning(event)
            elif kind == "error":
                self.message = self._for_people(event["message"])
        if status is None:
            return
        self.status = status
        shutil.rmtree(self.folder / "input", ignore_errors=True)
        if self.state is State.CANCELLING or status == CANCELLED:
            self.state = State.CANCELLED
            self.discard()
        elif layout.written(self.output, layout.SUMMARIES):
            self.state = State.PLACING
            self.progress = Progress("loading the results")
            self._steps = self._place_all()
        else:
            self.state = State.FAILED
            self.message = self.message or _last_line(self.log, status)
            log.error("The run failed (exit status %s): %s\n%s", status, self.message, self.log)
            self.discard()

    def _note_progress(self, event: Mapping[str, Any]) -> None:
        stage = event["stage"]
        if stage not in PARTS:
            now = ", ".join(self._parts.values())
            self.progress = replace(Progress.of(event), image=now)
        elif event["step"] < event["total"]:
            part, total = self._part_name(event), event["total"]
            self._parts[stage] = f"{part} ({event['step'] + 1} of {total})"
        else:
            self._parts.pop(stage, None)

    def _note_warning(self, event: Mapping[str, Any]) -> None:
        """Add a warning once, also if its image is read twice; in a cohort with the name."""
        name = f"{self._part_name(event)}: " if self.request.is_cohort else ""
        text = name + self._for_people(event["text"])
        if text not in self.warnings:
            self.warnings.append(text)

    def _part_name(self, event: Mapping[str, Any]) -> str:
        """The image of a cohort or the compared method, as the user knows it."""
        if event.get("image"):
            return self._names.get(event["image"], event["image"])
        return registry.find(event["method"]).title

    def _for_people(self, message: str) -> str:
        """A message with the images' names in place of those of the files written for the job."""
        folder = str(self.folder / "input") + os.sep
        for file, name in self._names.items():
            message = message.replace(folder + file, name).replace(file, name)
        return message

    # --- Placing ---------------------------------------------------------------------------------

    def _place(self) -> None:
        try:
            next(self._steps)
        except StopIteration:
            self.results = [placed.results for placed in self._placements if placed.results]
            self.state = State.DONE
        except (OSError, ValueError, KeyError) as error:
            self._take_back()
            self.state = State.FAILED
            self.status = DEFECT
            self.message = _("The results could not be loaded: {error}").format(error=error)
            log.exception("%s", self.message)
            self.discard()

    def _place_all(self) -> Iterator[None]:
        for row, origin in self._rows():
            if not row["folder"]:
                continue
            # that of several methods knows the others
            trust = None if self.request.is_cohort else row.get("trust")
            placement = Placement(self.output / row["folder"], origin, self.id, trust)
            self._placements.append(placement)
            yield from placement.steps()
        if self.request.compared and self._placements:
            written = self._read(layout.COMPARISON)["files_written"]
            first, *others = self._placements
            yield from first.place_agreement(self.output, written, others)

    def _rows(self) -> list[tuple[Mapping[str, Any], Origin]]:
        """The summary's row of each image or method; "folder" is None if it failed."""
        if self.request.compared:
            return [(row, self._origins[0]) for row in self._read(layout.COMPARISON)["methods"]]
        if self.request.is_cohort:
            return list(zip(self._read(layout.COHORT)["images"], self._origins, strict=True))
        others = tried.others(self._read(layout.REPORT))
        return [(row, self._origins[0]) for row in ({"folder": "."}, *others)]

    def _read(self, summary: ResultFile) -> dict[str, Any]:
        return json.loads((self.output / summary.name).read_text(encoding="utf-8"))

    def _take_back(self) -> None:
        self._steps = iter(())
        for placement in self._placements:
            placement.remove()


def _origin(image: Image) -> Origin:
    """The image for its results, with the node that they are to follow."""
    if image.frame is None:
        return Origin(image.name, image.nodes[0])
    sequence = slicer.mrmlScene.GetNodeByID(image.frame[0])
    browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForSequenceNode(sequence)
    proxy = browser.GetProxyNode(sequence) if browser is not None else None
    return Origin(image.name, proxy.GetID() if proxy is not None else None, image.frame)


def _names(request: Request, files: Sequence[Path]) -> dict[str, str]:
    """The image of each file; several are the channels of one."""
    images = request.images if request.is_cohort else request.images * len(files)
    return {file.name: image.name for file, image in zip(files, images, strict=False)}


def _last_line(text: str, status: int) -> str:
    """The message for a job that ended without an event that says why."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = lines[-1][:300] if lines else _("no message")
    text = _("The computation ended unexpectedly (exit status {status}): {message}")
    return text.format(status=status, message=last)
