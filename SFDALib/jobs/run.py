"""Run one job: one image in, one result folder out."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from SFDALib.jobs.engine import Engine, Target, open_engine
from SFDALib.jobs.events import Reporter
from SFDALib.jobs.judgement import judge_result
from SFDALib.jobs.labelled import matched
from SFDALib.jobs.request import Job
from SFDALib.jobs.write_result import Outcome, write_result
from SFDALib.machine import devices
from SFDALib.results import layout
from SFDALib.results.folder import ResultFolder

log = logging.getLogger(__name__)


def run(job: Job, reporter: Reporter) -> dict[str, Any]:
    """Carry the job out and return its report.

    Raises:
        RequestError: anything about the request that cannot be done; nothing is written then.
    """
    with ResultFolder(job.output) as folder:
        reporter.event("started", job=job.to_dict())
        device = devices.resolve(job.device)
        engine = open_engine(Path(job.bundle), job.method, job.options, device, job.seed)
        engine = engine.learning_from(matched(job.labels, [job.input]), job.reading)
        engine = replace(engine, probabilities=job.probabilities)
        target = engine.read([Path(path) for path in job.input], reporter, job.reading)
        report = run_on(target, engine, folder, reporter, job.gate)
    for note in report["notes"]:
        log.info("%s", note)
    log.info("The result is in %s", Path(job.output).resolve())
    reporter.event("result", output=str(Path(job.output).resolve()), volumes=report["volumes"])
    return report


def run_on(
    target: Target, engine: Engine, folder: Path, reporter: Reporter, gate: str
) -> dict[str, Any]:
    """Adapt to an image that was read, segment it, and write everything into its result folder.

    Returns:
        The report.
    """
    adapted = engine.adapt([target.conformed], reporter)
    segmented = engine.segment(target, adapted, reporter)
    judgement = judge_result(engine, target, segmented, adapted, gate, reporter)
    if adapted is not None:
        engine.write_adapted_bundle(folder / layout.ADAPTED_BUNDLE.name, adapted)
    outcome = Outcome(segmented, adapted, judgement)
    return write_result(folder, engine, target, outcome, {}, reporter)
