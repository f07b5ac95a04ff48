"""The errors that a user can act on, each with the exit status of the command line.

Any other exception is a bug and ends with status 1. Standard library alone.
"""

from __future__ import annotations

import os
import re

# Control characters, line separators, bidirectional marks and lone surrogates (bytes of file names
# that are not UTF-8); they are escaped before printing.
UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

TORCH_REASON = "WeightsUnpickler error:"
LONGEST = 1200  # characters of an error, in which a name or field of any length may be quoted


def shown(text: str) -> str:
    r"""The text with control characters and the like as escapes, such as \x1b."""
    return UNSHOWN.sub(lambda match: ascii(match[0])[1:-1], text)


def cause(error: BaseException, longest: int = 240) -> str:
    """The message of another library's exception in one line.

    Of torch's message for a refused pickle only the reason is kept, which follows
    "WeightsUnpickler error:"; the advice around it does not apply here.

    Args:
        longest: characters; of a longer text the middle is left out.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    _, mark, reason = text.partition(TORCH_REASON)
    if mark:
        text = re.split(r"Please use |Check the documentation", reason)[0].strip(" .,")
    half = longest // 2
    return text if len(text) <= longest else f"{text[:half]} [...] {text[-half:]}"


class SFDAError(Exception):
    """A failure with one line for the user: what was found, what was expected, what to do."""

    exit_status = 1

    def __init__(self, line: str) -> None:
        text = shown(" ".join(line.splitlines()))  # a quoted message may have several
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

    Derives from ``KeyboardInterrupt`` so that ``except Exception`` around one image or one attempt
    does not catch it.
    """

    exit_status = 130


def check_name(path: str | os.PathLike[str]) -> None:
    """Reject file names that are not valid UTF-8; ITK aborts the process on them.

    Raises:
        RequestError: the name is not valid UTF-8.
    """
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError as error:
        raise RequestError(
            f"{path}: found a name that is not valid UTF-8, expected one that is; rename it, or set"
            " PYTHONUTF8=1 if the system's locale cannot encode its letters"
        ) from error
