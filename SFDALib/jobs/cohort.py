"""Run one method on many images: each by itself, or adapt once on all and apply to each."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from SFDALib import registry
from SFDALib.errors import RequestError, SFDAError
from SFDALib.jobs import devices
from SFDALib.jobs.deliver import ADAPTED_BUNDLE, write_result
from SFDALib.jobs.engine import Stopwatch, Target, open_engine
from SFDALib.jobs.events import Reporter
from SFDALib.jobs.judgement import judge_result
from SFDALib.jobs.request import Job
from SFDALib.outcome import Adapted
from SFDALib.results.folder import ResultFolder
from SFDALib.results.report import write_report
from SFDALib.volume.files import SUFFIXES

log = logging.getLogger(__name__)
SUMMARY = "cohort.json"


def images_in(paths: Sequence[str]) -> tuple[str, ...]:
    """The images meant: a folder stands for the image files in it, in order of their names."""
    found: list[str] = []
    for path in map(Path, paths):
        try:
            files = sorted(path.iterdir()) if path.is_dir() else []
        except PermissionError as error:
            raise RequestError(f"{path}: no permission to read it; ask its owner") from error
        inside = [str(file) for file in files if file.name.lower().endswith(SUFFIXES)]
        found.extend(inside or [str(path)])
    return tuple(found)


def run_cohort(job: Job, mode: str, reporter: Reporter) -> dict[str, Any]:
    """Carry the job out on every image of ``job.input``.

    An image that cannot be used is reported in cohort.json and does not stop the others; a defect
    of ours does.

    Args:
        mode: "each" adapts to every image by itself; "once" to all of them together.

    Raises:
        RequestError: the request is unusable for every image.
    """
    job = job.checked()
    job = replace(job, input=images_in(job.input))
    if mode == "once" and not registry.find(job.method).adapts:
        raise RequestError(
            f"cohort: method {job.method} updates no weights, expected one that does for"
            " --adapt once; use --adapt each"
        )
    images = dict(zip(_names(job.input), map(Path, job.input), strict=True))
    with ResultFolder(job.output) as folder:
        reporter.event("started", job=job.to_dict(), mode=mode)
        device = devices.resolve(job.device)
        engine = open_engine(Path(job.bundle), job.method, job.options, device, job.seed)
        attempt = _Attempts(images, reporter)
        targets: dict[str, Target] = {}
        shared: Adapted | None = None
        if mode == "once":
            for name, path in images.items():
                with attempt(name):
                    targets[name] = engine.read([path], reporter)
            if targets:
                shared = engine.adapt(list(targets.values()), reporter)
                engine.write_adapted_bundle(folder / ADAPTED_BUNDLE, shared)
        for index, (name, path) in enumerate(images.items()):
            reporter("cohort", index, len(images), image=path.name)
            if name in attempt.errors:
                continue
            with attempt(name):
                one = replace(engine, stopwatch=Stopwatch())
                target = targets[name] if shared else one.read([path], reporter)
                adapted = shared or one.adapt([target], reporter)
                segmented = one.segment(target, adapted, reporter)
                judgement = judge_result(one, target, segmented, adapted, job.gate)
                extra = {"cohort": mode}
                with ResultFolder(folder / name) as inside:
                    report = write_result(inside, one, target, segmented, adapted, judgement, extra)
                    if adapted and not shared:
                        one.write_adapted_bundle(inside / ADAPTED_BUNDLE, adapted)
                attempt.reports[name] = report
        reporter("cohort", len(images), len(images))
        if not attempt.reports:
            first = next(iter(attempt.errors.values()))
            raise RequestError(f"cohort: none of {len(images)} image(s) worked; {first}")
        summary = {
            "method": job.method,
            "adapted": mode,
            "options": dict(job.options),
            "seed": job.seed,
            "done": len(attempt.reports),
            "failed": len(attempt.errors),
            "images": attempt.rows(),
            "seconds": dict(engine.stopwatch.seconds),
        }
        write_report(folder / SUMMARY, summary)
    reporter.event("result", output=str(Path(job.output).resolve()), done=summary["done"])
    return summary


@dataclass
class _Attempts:
    """What became of each image: ``with attempt(name): ...`` notes a failure and goes on.

    A defect of ours and a cancellation are no failures of an image, and pass.
    """

    images: Mapping[str, Path]
    reporter: Reporter
    errors: dict[str, str] = field(default_factory=dict)
    reports: dict[str, dict[str, Any]] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        try:
            yield
        except SFDAError as error:
            log.error("%s", error)
            self.reporter.event("failed", image=self.images[name].name, message=str(error))
            self.errors[name] = str(error)

    def rows(self) -> list[dict[str, Any]]:
        """For cohort.json, in the order of the images."""
        return [
            {
                "image": path.name,
                "folder": None if name in self.errors else name,
                "error": self.errors.get(name),
                "volumes": self.reports.get(name, {}).get("volumes", []),
                "trust": _in_short(self.reports.get(name, {}).get("trust")),
            }
            for name, path in self.images.items()
        ]


def _in_short(trust: dict[str, Any] | None) -> dict[str, Any] | None:
    """The verdict without its reasons, which the image's own report has."""
    return trust and {name: trust[name] for name in ("decision", "delivered")}


def _names(paths: Sequence[str]) -> list[str]:
    """A folder name for each image: its own without the ending, numbered where it repeats.

    Names that differ in their case alone are the same to Windows and macOS.
    """
    taken = {ADAPTED_BUNDLE, SUMMARY}
    names: list[str] = []
    for path in paths:
        name = os.path.basename(os.path.abspath(path)) or "image"
        ending = max((s for s in SUFFIXES if name.lower().endswith(s)), key=len, default="")
        stem = name[: len(name) - len(ending)] or "image"
        numbered = (f"{stem}_{number}" for number in itertools.count(2))
        free = next(n for n in itertools.chain([stem], numbered) if n.casefold() not in taken)
        taken.add(free.casefold())
        names.append(free)
    return names
