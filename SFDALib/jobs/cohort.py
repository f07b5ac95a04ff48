"""Run one method on many images: each by itself, or adapt once on all and apply to each."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from SFDALib.errors import Cancelled, RequestError
from SFDALib.jobs.cohort_images import images_in, names_of
from SFDALib.jobs.engine import Engine, Stopwatch, open_engine
from SFDALib.jobs.events import Reporter
from SFDALib.jobs.failures import Attempts
from SFDALib.jobs.judgement import judge_result
from SFDALib.jobs.labelled import matched
from SFDALib.jobs.request import Cohort
from SFDALib.jobs.write_result import Outcome, write_result
from SFDALib.machine import devices
from SFDALib.methods.outcome import Adapted
from SFDALib.results import layout
from SFDALib.results.folder import DiskError, ResultFolder
from SFDALib.results.report import write_report
from SFDALib.volume.image_file import ImageFile
from SFDALib.volume.reading import Reading

log = logging.getLogger(__name__)


def run_cohort(job: Cohort, reporter: Reporter) -> dict[str, Any]:
    """Carry the job out on every image of ``job.input``.

    An image that cannot be used is reported in cohort.json and does not stop the others; a defect
    of ours does. Where it is cancelled, or the disk is full, the images that are done are kept, and
    cohort.json says so.

    Raises:
        RequestError: the request is unusable for every image, or the disk refuses the results.
        Cancelled: by the user or the system.
    """
    with ResultFolder(job.output) as folder:
        reporter.event("started", job=job.to_dict())
        device = devices.resolve(job.device)
        engine = open_engine(Path(job.bundle), job.method, job.options, device, job.seed)
        found = images_in(job.input, engine.model.description.input_spec.channels)
        names = _names([name for name, _ in found])
        images = {name: files for name, (_, files) in zip(names, found, strict=True)}
        labelled = matched(job.labels, [[str(file) for file in files] for files in images.values()])
        engine = engine.learning_from(labelled, job.reading)
        engine = replace(engine, probabilities=job.probabilities)
        attempt = Attempts(reporter)
        reports: dict[str, dict[str, Any]] = {}
        early: Cancelled | DiskError | None = None
        try:
            shared = None
            if job.adapt == "once":
                shared = _adapt_once(engine, images, job.reading, folder, attempt, reporter)
            for index, (name, files) in enumerate(images.items()):
                reporter("cohort", index, len(images), image=files[0].name)
                if name in attempt.errors:
                    continue
                with attempt(name, image=files[0].name):
                    one = replace(engine, stopwatch=Stopwatch())
                    target = one.read(files, reporter, job.reading)
                    adapted = shared or one.adapt([target.conformed], reporter)
                    segmented = one.segment(target, adapted, reporter)
                    judgement = judge_result(one, target, segmented, adapted, job.gate, reporter)
                    outcome = Outcome(segmented, adapted, judgement)
                    extra = {"cohort": job.adapt}
                    with ResultFolder(folder / name) as inside:
                        if adapted and not shared:
                            one.write_adapted_bundle(inside / layout.ADAPTED_BUNDLE.name, adapted)
                        reports[name] = write_result(inside, one, target, outcome, extra, reporter)
            reporter("cohort", len(images), len(images))
        except (Cancelled, DiskError) as error:
            early = error
        # whole ones alone: it may have ended in the midst of writing
        done = {name: report for name, report in reports.items() if (folder / name).is_dir()}
        if not done:
            if early is not None:
                raise early
            first = next(iter(attempt.errors.values()))
            raise RequestError(f"cohort: none of {len(images)} image(s) worked; {first}")
        summary = {
            "method": job.method,
            "adapted": job.adapt,
            "options": dict(job.options),
            "seed": job.seed,
            "done": len(done),
            "failed": len(attempt.errors),
            "ended_early": early and _why(early),
            "images": [
                {
                    "image": files[0].name,
                    "folder": name if name in done else None,
                    "error": attempt.errors.get(name),
                    "volumes": done.get(name, {}).get("volumes", []),
                    "trust": _in_short(done.get(name, {}).get("trust")),
                }
                for name, files in images.items()
            ],
            "seconds": dict(engine.stopwatch.seconds),
        }
        write_report(folder / layout.COHORT.name, summary)
    output = str(Path(job.output).resolve())
    if early is not None:
        kind = Cancelled if isinstance(early, Cancelled) else RequestError
        raise kind(f"{_why(early)}; {len(done)} of {len(images)} images are done, in {output}")
    reporter.event("result", output=output, done=len(done))
    return summary


def _adapt_once(
    engine: Engine,
    images: Mapping[str, tuple[Path, ...]],
    reading: Reading,
    folder: Path,
    attempt: Attempts,
    reporter: Reporter,
) -> Adapted | None:
    """Adapt to all images that can be read, and write the adapted bundle."""
    conformed = []  # what the source model makes of each comes one by one
    for name, files in images.items():
        with attempt(name, image=files[0].name):
            conformed.append(engine.conform(ImageFile(files, reading))[1])
    if not conformed:
        return None
    shared = engine.adapt(conformed, reporter)
    engine.write_adapted_bundle(folder / layout.ADAPTED_BUNDLE.name, shared)
    return shared


def _why(early: Cancelled | DiskError) -> str:
    return "cancelled" if isinstance(early, Cancelled) else early.reason


def _in_short(trust: dict[str, Any] | None) -> dict[str, Any] | None:
    """The verdict without its reasons, which the image's own report has."""
    return trust and {name: trust[name] for name in ("decision", "delivered")}


def _names(images: Sequence[str]) -> list[str]:
    """A folder name for each image, none of those that the cohort itself writes."""
    return names_of(images, {file.name for file in layout.COHORT_FOLDER})
