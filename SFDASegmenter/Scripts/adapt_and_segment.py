"""Adapt & Segment without a window, inside Slicer.

    Slicer --no-main-window --python-script adapt_and_segment.py
        --bundle BUNDLE --input VOLUME --method heal --output OUT

Reads everything that Slicer reads: a file, several files, a folder of volumes, or a folder with a
DICOM series. Writes into OUT what SFDALib writes (segmentations as .seg.nrrd, uncertainty maps,
report.json, overview.png; a folder for each volume where there are several), and scene.mrb with all
of it as the panel shows it. OUT must not exist, and appears whole or not at all.

Exit status: 0 done; 1 a defect; 2 the request or its input is unusable; 3 out of memory;
130 cancelled. Research software, not a medical device.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import slicer
from SFDASegmenterLib import dependencies, staging, words
from SFDASegmenterLib.request import Request
from SFDASegmenterLib.runs import State
from SFDASegmenterLib.worker import CANCELLED

from SFDALib.errors import RequestError
from SFDALib.jobs import labelled
from SFDALib.jobs.request import parse_options
from SFDALib.registry import METHODS
from SFDASegmenter import SFDASegmenterLogic

PAUSE = 0.05  # seconds between two looks at the job
DONE, DEFECT = 0, 1


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the words in one line."""

    def error(self, message: str) -> NoReturn:
        raise RequestError(f"{message}; see --help")


def parser() -> argparse.ArgumentParser:
    made = Parser(prog="adapt_and_segment.py", description=__doc__.split("\n\n", 1)[0])
    made.add_argument("--bundle", required=True, help="source model, as of SFDALib run")
    made.add_argument(
        "--input", required=True, nargs="+", help="volumes, or a folder of volumes or DICOM"
    )
    made.add_argument("--method", required=True, help=", ".join(METHODS))
    made.add_argument("--output", required=True, help="result folder; must not exist")
    made.add_argument("--option", action="append", default=[], metavar="NAME=VALUE")
    made.add_argument(
        "--labels",
        nargs="+",
        action="extend",
        default=[],
        metavar="[IMAGE=]LABELS",
        help="segmentations to learn from, as of SFDALib run and cohort",
    )
    made.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument(
        "--adapt", choices=("each", "once"), default="each", help="for several volumes"
    )
    return made


def main(arguments: Sequence[str]) -> int:
    """Carry it out and return the exit status."""
    try:
        given = parser().parse_args(arguments)
        output = Path(given.output).resolve()
        if output.exists():
            raise RequestError(f"--output: found {output}, expected a name that is free")
        dependencies.ensure()
        files = _files(given.input)
        labels = labelled.matched(labelled.parse(given.labels), [[str(file)] for file in files])
        volumes = [_load(path) for path in files]
        request = Request(
            images=tuple(staging.image_of([volume]) for volume in volumes),
            bundle=str(Path(given.bundle).resolve()),
            method=given.method,
            options=parse_options(given.option),
            device=given.device,
            seed=given.seed,
            adapt_once=given.adapt == "once",
            labels=tuple(one.absolute() for one in labels),
        )
        return _carry_out(request, output)
    except (RequestError, dependencies.DependencyError, OSError) as error:
        print(f"SFDA: {error}", file=sys.stderr)
        return RequestError.exit_status


def _files(inputs: Sequence[str]) -> list[Path]:
    """The files meant: a folder stands for the volumes in it, or for its DICOM series."""
    files: list[Path] = []
    for path in map(Path, inputs):
        if not path.exists():
            raise RequestError(f"--input: found no {path}; check the path")
        if not path.is_dir():
            files.append(path.resolve())
            continue
        inside = sorted(file.resolve() for file in path.iterdir() if file.is_file())
        kinds = slicer.app.coreIOManager()
        volumes = [file for file in inside if kinds.fileType(str(file)) == "VolumeFile"]
        series = bool(volumes) and all(file.suffix in ("", ".dcm", ".ima") for file in volumes)
        if not volumes:
            raise RequestError(f"--input: found no volume in {path}, expected some")
        files += volumes[:1] if series else volumes  # Slicer reads the rest of a series itself
    return files


def _load(path: Path) -> Any:
    try:
        return slicer.util.loadVolume(str(path))
    except RuntimeError as error:
        raise RequestError(f"{path}: cannot be read as a volume ({str(error)[:200]})") from error


def _carry_out(request: Request, output: Path) -> int:
    logic = SFDASegmenterLogic()
    run = logic.start(request)
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: run.cancel())
    told = ""
    try:
        while not run.ended:
            run.advance()
            if run.progress.stage != told:
                told = run.progress.stage
                print(f"SFDA: {words.progress(run.progress)}", flush=True)
            time.sleep(PAUSE)
        if run.state is State.CANCELLED:
            print("SFDA: cancelled; nothing was written", file=sys.stderr)
            return CANCELLED
        if run.state is State.FAILED:
            print(f"SFDA: {run.message}", file=sys.stderr)
            return run.status or DEFECT
        _deliver(run.output, output)
    finally:
        logic.abandon()
    for name, message in run.failures.items():
        print(f"SFDA: {name}: {message}", file=sys.stderr)
    if run.message:  # of a cohort that ended early
        print(f"SFDA: {run.message}", file=sys.stderr)
    print(f"SFDA: the result is in {output}")
    return run.status or DONE


def _deliver(found: Path, output: Path) -> None:
    """Put files and scene in their place, whole or not at all."""
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        shutil.copytree(found, partial)
        if not slicer.util.saveScene(str(partial / "scene.mrb")):
            raise OSError(f"{output}: the scene could not be saved; check the disk")
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


if __name__ == "__main__":
    slicer.util.exit(main(sys.argv[1:]))
