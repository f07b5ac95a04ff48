"""Run one method on many images: each by itself, or adapt once on all and apply to each."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from SFDALib import registry
from SFDALib.errors import RequestError, SFDAError
from SFDALib.jobs import devices
from SFDALib.jobs.deliver import write_result
from SFDALib.jobs.engine import Engine, Stopwatch, Target, open_engine
from SFDALib.jobs.events import Reporter
from SFDALib.jobs.request import Job
from SFDALib.outcome import Adapted
from SFDALib.results.folder import ResultFolder
from SFDALib.results.report import NOTICE, write_report
from SFDALib.volume.files import SUFFIXES

log = logging.getLogger(__name__)
MODES = ("each", "once")


def images_in(paths: Sequence[str]) -> tuple[str, ...]:
    """The images meant: a folder stands for the image files in it, in order of their names."""
    found: list[str] = []
    for path in map(Path, paths):
        inside = sorted(
            str(file)
            for file in (path.iterdir() if path.is_dir() else ())
            if file.name.lower().endswith(SUFFIXES)
        )
        found.extend(inside or [str(path)])
    return tuple(found)


def run_cohort(job: Job, mode: str, reporter: Reporter) -> dict[str, Any]:
    """Carry the job out on every image of ``job.input``.

    An image that cannot be used is reported in cohort.json and does not stop the others.

    Args:
        mode: "each" adapts to every image by itself; "once" to all of them together.

    Raises:
        RequestError: the request is unusable for every image.
    """
    job = job.checked()
    if mode == "once" and not registry.find(job.method).adapts:
        raise RequestError(
            f"cohort: method {job.method} updates no weights, expected one that does for"
            " --adapt once; use --adapt each"
        )
    names = _names(job.input)
    with ResultFolder(job.output) as folder:
        reporter.event("started", job=job.to_dict(), mode=mode)
        device = devices.resolve(job.device)
        engine = open_engine(Path(job.bundle), job.method, job.options, device, job.seed)
        rows: list[dict[str, Any]] = []
        targets: dict[str, Target] = {}
        shared: Adapted | None = None
        if mode == "once":
            for path, name in zip(job.input, names, strict=True):
                try:
                    targets[name] = engine.read([Path(path)], reporter)
                except SFDAError as error:
                    rows.append(_failed(path, name, error, reporter))
            if targets:
                shared = engine.adapt(list(targets.values()), reporter)
        for index, (path, name) in enumerate(zip(job.input, names, strict=True)):
            reporter("cohort", index, len(names))
            if mode == "once" and name not in targets:
                continue
            one = replace(engine, stopwatch=Stopwatch())
            try:
                target = targets[name] if mode == "once" else one.read([Path(path)], reporter)
                adapted = shared or one.adapt([target], reporter)
                rows.append(_deliver(folder, one, target, adapted, name, mode, reporter))
            except SFDAError as error:
                rows.append(_failed(path, name, error, reporter))
        reporter("cohort", len(names), len(names))
        summary = {
            "notice": NOTICE,
            "method": job.method,
            "adapted": mode,
            "options": dict(job.options),
            "done": sum(row["error"] is None for row in rows),
            "failed": sum(row["error"] is not None for row in rows),
            "images": rows,
        }
        if not summary["done"]:
            raise RequestError(f"cohort: none of {len(rows)} image(s) worked; {rows[0]['error']}")
        if shared is not None:
            engine.write_adapted_bundle(folder / "adapted_bundle", shared)
        write_report(folder / "cohort.json", summary)
    reporter.event("result", output=str(Path(job.output).resolve()), done=summary["done"])
    return summary


def _deliver(
    folder: Path,
    engine: Engine,
    target: Target,
    adapted: Adapted | None,
    name: str,
    mode: str,
    reporter: Reporter,
) -> dict[str, Any]:
    segmented = engine.segment(target, adapted, reporter)
    with ResultFolder(folder / name) as inside:
        report = write_result(inside, engine, target, segmented, adapted, {"cohort": mode})
    return {
        "image": target.paths[0].name,
        "folder": name,
        "error": None,
        "volumes": report["volumes"],
    }


def _failed(path: str, name: str, error: SFDAError, reporter: Reporter) -> dict[str, Any]:
    log.error("%s", error)
    reporter.event("failed", image=Path(path).name, message=str(error))
    return {"image": Path(path).name, "folder": None, "error": str(error), "volumes": []}


def _names(paths: Sequence[str]) -> list[str]:
    """A folder name for each image: its own without the ending, numbered where it repeats."""
    names: list[str] = []
    for path in map(Path, paths):
        stem = path.name.split(".")[0] or "image"
        taken = sum(name == stem or name.startswith(f"{stem}_#") for name in names)
        names.append(f"{stem}_#{taken + 1}" if taken else stem)
    return names
