"""The failures that a person can do something about, each with its exit status.

Anything else that escapes is a defect of ours and ends with status 1.
"""

from __future__ import annotations


class SFDAError(Exception):
    """A failure with one clear line for the user: found, expected, what to do."""

    exit_status = 1

    def __init__(self, line: str) -> None:
        super().__init__(" ".join(line.splitlines()))  # others' words may have several lines


class RequestError(SFDAError):
    """The request or its input is unusable."""

    exit_status = 2


class OutOfMemoryError(SFDAError):
    """The device has too little memory; the line names the option that lowers the need."""

    exit_status = 3


class Cancelled(KeyboardInterrupt):
    """The user or the system ended the job.

    No ``Exception``: nothing that goes on after the failure of one image or one attempt may take it
    for one.
    """

    exit_status = 130
