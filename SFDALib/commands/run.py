"""``SFDALib run`` and ``SFDALib cohort``: one method on one image, or on many."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from SFDALib.commands.arguments import (
    add_job,
    add_process,
    add_request,
    given,
    refuse_beside_job,
    require,
)
from SFDALib.errors import RequestError
from SFDALib.jobs import events
from SFDALib.jobs.request import FIELDS, GATES, REQUIRED, Job, parse_options, read_job
from SFDALib.methods import registry


def add(commands: Any) -> None:
    run = commands.add_parser("run", help="one method on one image")
    add_run_words(run)
    add_process(run)
    run.set_defaults(command=_run)
    cohort = commands.add_parser("cohort", help="one method on many images")
    add_cohort_words(cohort)
    add_process(cohort)
    cohort.set_defaults(command=_cohort)


def add_run_words(run: argparse.ArgumentParser) -> None:
    """The words from which ``job`` makes a job on one image."""
    _add_method_words(run, "the image; several files are its channels")
    add_job(run)


def add_cohort_words(cohort: argparse.ArgumentParser) -> None:
    """The words from which ``job`` makes a job on many images, and ``--adapt``."""
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


def job(arguments: argparse.Namespace) -> Job:
    """What the words ask for, checked.

    Raises:
        RequestError: a word is missing, or its value is none that it can have.
    """
    stated = given(arguments, FIELDS)
    if arguments.option:
        stated["options"] = parse_options(arguments.option)
    if path := getattr(arguments, "job", None):
        refuse_beside_job(stated, path)
        return read_job(Path(path)).checked()
    require(stated, REQUIRED)
    return Job(**stated).checked()


def _add_method_words(command: argparse.ArgumentParser, files: str) -> None:
    add_request(command, files, "NAME=VALUE")
    command.add_argument("--method", help=", ".join(registry.METHODS))
    command.add_argument(
        "--gate",
        choices=GATES,
        help="on (default): deliver what the judge trusts; off: always the method's result",
    )


def _run(arguments: argparse.Namespace, reporter: events.Reporter) -> None:
    request = job(arguments)  # before torch is imported
    from SFDALib.jobs.run import run

    run(request, reporter)


def _cohort(arguments: argparse.Namespace, reporter: events.Reporter) -> int:
    request = job(arguments)
    from SFDALib.jobs.cohort import run_cohort

    summary = run_cohort(request, arguments.adapt, reporter)
    return RequestError.exit_status if summary["failed"] else 0
