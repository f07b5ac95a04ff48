"""The failures that a person can do something about, each with its exit status.

Anything else that escapes is a defect of ours and ends with status 1.
"""

from __future__ import annotations

import os
import re

# What a terminal would obey or could not write: control characters, line separators, the marks that
# turn the direction of text, and halves of surrogate pairs (bytes of file names that are no UTF-8).
UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

TORCH_REASON = "WeightsUnpickler error:"
LONGEST = 1200  # characters of a line; what was found may be a name or a field of any length


def shown(text: str) -> str:
    """The text with escapes, such as \\x1b, in place of what cannot be shown."""
    return UNSHOWN.sub(lambda match: ascii(match[0])[1:-1], text)


def cause(error: BaseException, longest: int = 240) -> str:
    """What another library says went wrong, in one line, with the start and the end of a long text.

    Torch's reason stands behind "WeightsUnpickler error:", after advice that does not apply here.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    _, mark, reason = text.partition(TORCH_REASON)
    if mark:
        text = re.split(r"Please use |Check the documentation", reason)[0].strip(" .,")
    half = longest // 2
    return text if len(text) <= longest else f"{text[:half]} [...] {text[-half:]}"


class SFDAError(Exception):
    """A failure with one clear line for the user: found, expected, what to do."""

    exit_status = 1

    def __init__(self, line: str) -> None:
        text = shown(" ".join(line.splitlines()))  # others' words may have several
        if len(text) > LONGEST:  # the start says where, the end what to do
            text = f"{text[: LONGEST * 2 // 3]} [...] {text[-LONGEST // 3 :]}"
        super().__init__(text)


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


def check_name(path: str | os.PathLike[str]) -> None:
    """Refuse a file's name that is no UTF-8: ITK ends the process over it.

    Raises:
        RequestError: what it is, and what to do.
    """
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError as error:
        raise RequestError(
            f"{path}: found a name that is no UTF-8, expected one; rename it, or set PYTHONUTF8=1"
            " if the system's language lacks its letters"
        ) from error
