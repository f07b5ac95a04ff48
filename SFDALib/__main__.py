"""The command line. ``python -m SFDALib --help`` describes it.

Exit status: 0 done; 1 a bug of SFDALib; 2 the request or its input is unusable; 3 out of memory;
130 cancelled.
"""

from __future__ import annotations

import _thread
import argparse
import errno
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

from SFDALib import NOTICE, __version__
from SFDALib.commands import compare, describe, estimate, evaluate, import_model, run, train
from SFDALib.commands.arguments import Parser
from SFDALib.errors import Cancelled, RequestError, SFDAError
from SFDALib.jobs import events
from SFDALib.machine.out_of_memory import as_out_of_memory

log = logging.getLogger("SFDALib")
REFUSALS_OF_THE_SYSTEM = (
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOSPC, errno.EDQUOT, errno.EIO),
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EFBIG),
)


class StderrHandler(logging.StreamHandler):
    """Writes to what ``sys.stderr`` is at the moment: a progress bar puts itself there, so that
    lines come out above it.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        self.setStream(sys.stderr)
        super().emit(record)


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status; a bug is raised as it is."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[StderrHandler()])
    reporter = events.Reporter()
    try:
        arguments = parser().parse_args(words)
        if getattr(arguments, "stop_with_stdin", False):
            cancel_when_input_ends()
        reporter = events.reporter(getattr(arguments, "progress", "none"))
        with reporter:
            status = arguments.command(arguments, reporter) or 0
            sys.stdout.flush()
            return status
    except SystemExit:  # of --help and --version
        raise
    except BaseException as error:
        failure = _as_failure(error)
        if failure is None:
            reporter.event("error", message=f"a bug in SFDALib: {error!r}", status=1)
            raise
        log.error("SFDALib: %s", str(failure))  # text only: the traceback keeps tensors alive
        reporter.event("error", message=str(failure), status=failure.exit_status)
        return failure.exit_status


def _as_failure(error: BaseException) -> SFDAError | Cancelled | None:
    """The failure that an exception means to the user; None for a bug of SFDALib."""
    if isinstance(error, SFDAError | Cancelled):
        return error
    if isinstance(error, BrokenPipeError):
        # Discard later output, such as Python's own flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Cancelled("cancelled, as nobody reads the output any more")
    if isinstance(error, OSError) and error.errno in REFUSALS_OF_THE_SYSTEM:
        where = f"{str(error.filename)[:200]}: " if error.filename else ""
        return RequestError(
            f"{where}cannot be used ({error.strerror}); check the path, permissions and the disk"
        )
    return as_out_of_memory(error, "lower --batch if you train")


def cancel_on_signals() -> None:
    """Turn the first SIGTERM or SIGINT into ``Cancelled``; ignore later ones."""

    def cancel(signum: int, frame: object) -> NoReturn:
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        raise Cancelled("cancelled; nothing was written")

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, cancel)


def cancel_when_input_ends() -> None:
    """Cancel the job once standard input ends: its owner closed it, or is no more. This works on
    every system, where signals to other processes do not.
    """

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1 << 16):  # unbuffered: nothing is locked at the end
            pass
        _thread.interrupt_main(signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = Parser(prog="SFDALib", description=f"Source-free domain adaptation. {NOTICE}")
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for each in (run, compare, evaluate, describe, import_model, estimate, train):
        each.add(commands)
    return top


def run_as_program() -> int:
    """Entry point of ``sfda`` and ``python -m SFDALib``: signals cancel, and any letter prints."""
    cancel_on_signals()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # where the locale lacks a letter
    return main()


if __name__ == "__main__":
    sys.exit(run_as_program())
