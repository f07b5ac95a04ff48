"""Adapt & Segment without a window, inside Slicer.

    Slicer --no-main-window --python-script adapt_and_segment.py [run | cohort | compare]
        --bundle BUNDLE --input VOLUME --output OUT

The words are those of ``python -m SFDALib run``, ``cohort`` and ``compare``; without one of these
three it is ``cohort``, in which every volume is an image of its own. --input takes everything that
Slicer reads: a file, several files, a folder with a DICOM series, and of ``cohort`` a folder of
volumes. Writes into OUT what SFDALib writes (segmentations as .seg.nrrd, uncertainty maps,
report.json, overview.png; a folder for each image of a cohort where there are several), and
scene.mrb with all of it as the panel shows it. OUT must not exist, and appears whole or not at all.
Prints the verdict on each result in one sentence, and of several images that on all together.

Exit status: 0 done; 1 a defect; 2 the request or its input is unusable; 3 out of memory;
130 cancelled. Research software, not a medical device.
"""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import slicer
from SFDASegmenterLib import dependencies, staging, words
from SFDASegmenterLib.request import Request
from SFDASegmenterLib.runs import Run, State
from SFDASegmenterLib.worker import CANCELLED

from SFDALib.bundle import typed_volumes
from SFDALib.commands.arguments import Parser, add_request, request_of
from SFDALib.errors import RequestError
from SFDALib.jobs import labelled
from SFDALib.jobs.request import Cohort, Comparison, Job
from SFDASegmenter import SFDASegmenterLogic

PAUSE = 0.05  # seconds between two looks at the job
DONE, DEFECT = 0, 1
MANY = "cohort"  # the command that is meant where none is named
FORMS: dict[str, type[Job | Comparison]] = {"run": Job, MANY: Cohort, "compare": Comparison}
HELP = ("-h", "--help")
SERIES = ("", ".dcm", ".ima")  # endings of files of which several are one volume


def parser() -> Parser:
    """The arguments of the command line, except those about how its process communicates."""
    made = Parser(prog="adapt_and_segment.py", description=__doc__.split("\n\n", 1)[0])
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    for name, form in FORMS.items():
        command = commands.add_parser(name)
        add_request(command, form)
        command.set_defaults(form=form)
    return made


def main(arguments: Sequence[str]) -> int:
    """Carry the request out and return the exit status."""
    try:
        if not arguments or (arguments[0].startswith("-") and arguments[0] not in HELP):
            arguments = [MANY, *arguments]
        typed = parser().parse_args(arguments)
        asked = request_of(typed.form, typed)
        output = Path(asked.output).resolve()
        if output.exists():
            raise RequestError(f"--output: found {output}, expected a name that is free")
        dependencies.ensure()
        return _carry_out(request_in_scene(asked), output)
    except (RequestError, dependencies.DependencyError, OSError) as error:
        print(f"SFDA: {error}", file=sys.stderr)
        return RequestError.exit_status


def request_in_scene(asked: Job | Comparison) -> Request:
    """Load the request's images into the scene; the same request of their volumes.

    Raises:
        RequestError: an image that cannot be loaded, or a statement about files that Slicer reads
            by itself.
    """
    many = isinstance(asked, Cohort)
    if asked.reading.spacing or asked.reading.series:
        raise RequestError(
            "--spacing or --series: found one, expected none here, as Slicer reads the volumes;"
            " name the files of one series, or use SFDALib's own command"
        )
    files = _files(asked.input, many)
    labels = labelled.matched(
        asked.labels, [[str(file)] for file in files] if many else [[str(file) for file in files]]
    )
    volumes = [_load(path) for path in files]
    images = [[volume] for volume in volumes] if many else [volumes]
    compared = asked.methods if isinstance(asked, Comparison) else {}
    request = Request(
        images=tuple(map(staging.image_of, images)),
        bundle=str(Path(asked.bundle).resolve()),
        method=next(iter(compared)) if isinstance(asked, Comparison) else asked.method,
        device=asked.device,
        seed=asked.seed,
        labels=tuple(one.absolute() for one in labels),
        reading=asked.reading,
        probabilities=asked.probabilities,
        preset=asked.preset,
        postprocess=asked.postprocess,
        volumes=typed_volumes.text_of(asked.volumes),
        compared=compared,
    )
    if isinstance(asked, Comparison):
        return request
    request = replace(request, options=asked.options, gate=asked.gate)
    return replace(request, adapt=asked.adapt) if isinstance(asked, Cohort) else request


def _files(inputs: Sequence[str], many: bool) -> list[Path]:
    """The files meant: a folder stands for its DICOM series, of many also for the volumes in it."""
    files: list[Path] = []
    for path in map(Path, inputs):
        if not path.exists():
            raise RequestError(f"--input: found no {path}; check the path")
        if not path.is_dir():
            files.append(path.resolve())
            continue
        inside = sorted(file.resolve() for file in path.iterdir() if file.is_file())
        volumes = [file for file in inside if _is_volume(file)]
        series = bool(volumes) and all(file.suffix in SERIES for file in volumes)
        if not volumes:
            raise RequestError(f"--input: found no volume in {path}, expected some")
        if not (series or many):
            raise RequestError(
                f"--input: found a folder of {len(volumes)} volume(s) in {path}, expected the"
                f" files that are one image; name them, or use {MANY}"
            )
        files += volumes[:1] if series else volumes  # Slicer reads the rest of a series itself
    return files


def _is_volume(file: Path) -> bool:
    """Whether Slicer reads it as a volume.

    NIfTI can be a segmentation as well, and Slicer names whichever reader was there first.
    """
    kind = slicer.app.coreIOManager().fileType(str(file))
    named = ".seg." in file.name.lower()
    return kind == "VolumeFile" or (kind == "SegmentationFile" and not named)


def _load(path: Path) -> Any:
    try:
        # Slicer would stack numbered files beside it, such as frame1 and frame2, to one volume.
        alone = path.suffix not in SERIES
        return slicer.util.loadVolume(str(path), properties={"singleFile": alone})
    except RuntimeError as error:
        raise RequestError(f"{path}: cannot be read as a volume ({str(error)[:200]})") from error


def _carry_out(request: Request, output: Path) -> int:
    logic = SFDASegmenterLogic()
    run = logic.start(request)
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: run.cancel())
    told, warned = "", 0
    try:
        while not run.ended:
            run.advance()
            if run.progress.stage != told:
                told = run.progress.stage
                print(f"SFDA: {words.progress(run.progress)}", flush=True)
            for warning in run.warnings[warned:]:
                print(f"SFDA: {warning}", file=sys.stderr, flush=True)
            warned = len(run.warnings)
            time.sleep(PAUSE)
        if run.state is State.CANCELLED:
            print("SFDA: cancelled; nothing was written", file=sys.stderr)
            return CANCELLED
        if run.state is State.FAILED:
            print(f"SFDA: {run.message}", file=sys.stderr)
            return run.status or DEFECT
        _deliver(run.output, output)
        verdicts = _verdicts(run)
    finally:
        logic.abandon()
    for name, message in run.failures.items():
        print(f"SFDA: {name}: {message}", file=sys.stderr)
    if run.message:  # of a cohort that ended early
        print(f"SFDA: {run.message}", file=sys.stderr)
    for line in verdicts:
        print(f"SFDA: {line}")
    print(f"SFDA: the result is in {output}")
    return run.status or DONE


def _verdicts(run: Run) -> list[str]:
    """The verdict on each image, or on each method of a comparison; then that on all images."""
    several = run.request.is_cohort or run.request.compared
    judged = run.results if several else run.results[:1]  # not on what else was tried
    lines = [f"{one.node.GetName()}: {words.verdict(one.report).line}" for one in judged]
    return [*lines, run.together] if run.together else lines


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
