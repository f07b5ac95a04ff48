"""Run one job: one image in, one result folder out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from SFDALib.jobs.adapted_bundle import write_adapted_bundle
from SFDALib.jobs.engine import engines_of
from SFDALib.jobs.events import Reporter
from SFDALib.jobs.image_run import ImageRun
from SFDALib.jobs.judgement import judge_result
from SFDALib.jobs.labelled import matched
from SFDALib.jobs.request import Job
from SFDALib.jobs.write_result import Outcome, write_result
from SFDALib.methods import registry
from SFDALib.methods.outcome import Adapted
from SFDALib.results import layout
from SFDALib.results.folder import ResultFolder

log = logging.getLogger(__name__)


def run(job: Job, reporter: Reporter) -> dict[str, Any]:
    """Carry a job out.

    Args:
        job: checked, see ``Job.checked``.
        reporter: of progress and events.

    Returns:
        The content of report.json.

    Raises:
        RequestError: anything about the request that cannot be done; nothing is written then.
    """
    output = Path(job.output).resolve()
    with ResultFolder(job.output) as folder:
        reporter.event("started", job=job.to_dict())
        labelled = matched(job.labels, [job.input])
        engine = engines_of(job, {job.method: job.options})[job.method]
        engine = engine.learning_from(labelled, job.reading)
        image = ImageRun.read(engine, [Path(path) for path in job.input], job.reading, reporter)
        report = deliver(image, folder, job.gate)
    for note in new_notes(report, image):
        log.info("%s", note)
    log.info("The result is in %s", output)
    reporter.event("result", output=str(output), volumes=report["volumes"])
    return report


def deliver(
    image: ImageRun,
    folder: Path,
    gate: str,
    shared: Adapted | None = None,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Adapt to an image, segment it, and write everything into its result folder.

    Args:
        image: the image and the method.
        folder: the result folder, which exists.
        gate: as in a ``Job``.
        shared: weights that were adapted to several images, in place of adapting to this one.
        extra: further fields of the report.

    Returns:
        The content of report.json.
    """
    method = image.engine.method
    if method.chooses:
        return registry.entry(method)(image, folder, gate, extra or {})
    adapted = image.adapt() if shared is None else shared
    segmented = image.segment(adapted)
    judgement = judge_result(image, segmented, adapted, gate)
    if adapted is not None and shared is None:
        write_adapted_bundle(folder / layout.ADAPTED_BUNDLE.name, image.engine, adapted)
    outcome = Outcome(segmented, adapted, judgement)
    return write_result(folder, image, outcome, extra or {})


def new_notes(report: Mapping[str, Any], image: ImageRun) -> list[str]:
    """The report's notes without those on the image, which were logged when it was read."""
    return [note for note in report["notes"] if note not in image.target.notes]
