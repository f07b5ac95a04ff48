"""``SFDALib run`` and ``SFDALib cohort``: one method on one image, or on many."""

from __future__ import annotations

import argparse
from typing import Any

from SFDALib.commands.arguments import add_process, add_request, request_of
from SFDALib.errors import RequestError
from SFDALib.jobs import events
from SFDALib.jobs.request import Cohort, Job


def add(commands: Any) -> None:
    """Add both commands."""
    run = commands.add_parser("run", help="one method on one image")
    add_request(run, Job)
    add_process(run)
    run.set_defaults(command=_run)
    cohort = commands.add_parser("cohort", help="one method on many images")
    add_request(cohort, Cohort)
    add_process(cohort)
    cohort.set_defaults(command=_cohort)


# What carries a request out imports torch, which takes seconds: a wrong request is refused before.
def _run(arguments: argparse.Namespace, reporter: events.Reporter) -> None:
    job = request_of(Job, arguments)
    from SFDALib.jobs.run import run

    run(job, reporter)


def _cohort(arguments: argparse.Namespace, reporter: events.Reporter) -> int:
    cohort = request_of(Cohort, arguments)
    from SFDALib.jobs.cohort import run_cohort

    summary = run_cohort(cohort, reporter)
    return RequestError.exit_status if summary["failed"] else 0
