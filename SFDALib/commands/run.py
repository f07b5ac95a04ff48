"""``SFDALib run`` and ``SFDALib cohort``: one method on one image, or on many."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from SFDALib import registry
from SFDALib.commands.words import add_request, given, refuse_beside_job, require
from SFDALib.errors import RequestError
from SFDALib.jobs import events
from SFDALib.jobs.request import FIELDS, GATES, REQUIRED, Job, parse_options, read_job


def add(commands: Any) -> None:
    run = commands.add_parser("run", help="one method on one image")
    _add_method_words(run, "the image; several files are its channels")
    run.add_argument("--job", help="a JSON file that describes all of this instead")
    run.set_defaults(command=_run)
    cohort = commands.add_parser("cohort", help="one method on many images")
    _add_method_words(
        cohort,
        "the images; a folder stands for those in it and in its DICOM folders;"
        " of a model with several channels, case_0000 and case_0001 are one image",
    )
    cohort.add_argument(
        "--adapt",
        choices=("each", "once"),
        default="each",
        help="to every image by itself, or once to all of them",
    )
    cohort.set_defaults(command=_cohort)


def _add_method_words(command: argparse.ArgumentParser, files: str) -> None:
    add_request(command, files, "NAME=VALUE")
    command.add_argument("--method", help=", ".join(registry.METHODS))
    command.add_argument(
        "--gate",
        choices=GATES,
        help="on (default): deliver what the judge trusts; off: always the method's result",
    )


def _run(arguments: argparse.Namespace, reporter: events.Reporter) -> None:
    if arguments.job:
        refuse_beside_job(_stated(arguments), arguments.job)
    job = read_job(Path(arguments.job)) if arguments.job else _job(arguments)
    job = job.checked()  # before torch is imported
    from SFDALib.jobs.run import run

    run(job, reporter)


def _cohort(arguments: argparse.Namespace, reporter: events.Reporter) -> int:
    job = _job(arguments).checked()
    from SFDALib.jobs.cohort import run_cohort

    summary = run_cohort(job, arguments.adapt, reporter)
    return RequestError.exit_status if summary["failed"] else 0


def _job(arguments: argparse.Namespace) -> Job:
    stated = _stated(arguments)
    require(stated, REQUIRED)
    return Job(**stated)


def _stated(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields of a Job that the words state."""
    stated = given(arguments, FIELDS)
    if arguments.option:
        stated["options"] = parse_options(arguments.option)
    return stated
