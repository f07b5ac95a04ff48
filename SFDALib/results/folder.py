"""Results that are whole or absent: made under a temporary name, renamed at the end.

The temporary folder lies beside the result, so that the rename is atomic, and has the host and the
process in its name: ``.<name>.partial-<host>-<pid>``. A run that was killed leaves it behind; the
next run to the same place on the same host removes it. The host is part of the name because a
process of another node of a cluster cannot be seen from here. A second run to the same place is
refused at once if it is on the same host; of two on different hosts the first to finish succeeds,
and the other is refused when it finishes.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType

from SFDALib.errors import RequestError

_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space or choose a folder on another disk",
    errno.EDQUOT: "your disk quota is used up; free some space or choose another disk",
    errno.EFBIG: "the disk or your limits allow no file so large; choose another disk",
    errno.EROFS: "the disk is read-only; choose a folder on another disk",
    errno.EACCES: "writing there is not permitted; choose a folder of your own",
    errno.EPERM: "writing there is not permitted; choose a folder of your own",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}
_FULL_BELOW_BYTES = 1 << 20
# NumPy's message when a disk is full, which names no cause
_NUMPY_MESSAGE = re.compile("[0-9]+ requested and [0-9]+ written")


class DiskError(RequestError):
    """A file or folder cannot be written.

    Args:
        path: the file or folder.
        reason: why, and what to do.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} cannot be written: {reason}.")
        self.reason = reason


class ResultFolder(AbstractContextManager[Path]):
    """The folder of one run: ``with ResultFolder(out) as folder: ...`` and write into ``folder``.

    When the block ends without an exception, ``folder`` becomes ``out`` in one step. When it ends
    with one, ``folder`` is removed and ``out`` never appears.

    Args:
        path: the result folder; it must not exist, its parent must.

    Raises:
        RequestError: ``path`` exists (nothing there is touched) or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(os.path.abspath(path))
        self._partial = self._path.parent / f"{partial_prefix(self._path)}{os.getpid()}"
        self._product = self._partial

    def __enter__(self) -> Path:
        self._refuse_existing()
        if not self._path.parent.is_dir():
            raise RequestError(
                f"{self._path}: the folder {self._path.parent} does not exist. Make it first, or"
                " choose another place."
            )
        try:
            other = _sweep(self._path)
            if other:
                raise RequestError(
                    f"{self._path}: found the folder {other.name} of a run that is still writing"
                    " there, expected no other run; choose another name, or wait until it has"
                    " finished. If there is no such run, remove that folder."
                )
            self._partial.mkdir()
        except OSError as error:
            raise self._refusal(error) from error
        return self._product

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._publish()
            elif reason := _why_refused(error, self._partial):
                raise DiskError(self._path, reason) from error
        finally:
            shutil.rmtree(self._partial, ignore_errors=True)

    def _publish(self) -> None:
        self._refuse_existing()  # a rename would silently replace an empty folder or a file
        try:
            os.rename(self._product, self._path)
        except OSError as error:
            self._refuse_existing()  # another run finished in between
            raise self._refusal(error) from error

    def _refuse_existing(self) -> None:
        if os.path.lexists(self._path):
            raise RequestError(
                f"{self._path}: exists already and is left as it is. Choose another name, or move"
                " it away first."
            )

    def _refusal(self, error: OSError) -> DiskError:
        return DiskError(self._path, _REMEDIES.get(error.errno or 0, str(error)))


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn the errors of a disk into a ``DiskError``, for files in a folder that is not temporary.

    Raises:
        DiskError: the disk is full, read-only, or writing is not permitted.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        if reason := _why_refused(error, folder):
            raise DiskError(folder, reason) from error
        raise


def _why_refused(error: BaseException, folder: Path) -> str | None:
    """Why nothing can be written into a folder; None if ``error`` has another cause.

    ITK and torch report a full disk as a RuntimeError without a cause, NumPy as an OSError without
    a number: so the free space is measured.
    """
    if isinstance(error, DiskError):  # of a folder inside this one
        return error.reason
    if isinstance(error, RuntimeError) and isinstance(error.__context__, OSError):
        error = error.__context__  # torch.save ends its archive after the disk refused it
    if isinstance(error, OSError) and error.errno is not None:
        file = Path(os.fsdecode(error.filename)) if error.filename else None
        here = file is None or folder in (file, *file.parents)
        return _REMEDIES.get(error.errno) if here else None
    if isinstance(error, OSError | RuntimeError) and (
        _NUMPY_MESSAGE.fullmatch(str(error))
        or shutil.disk_usage(folder.parent).free < _FULL_BELOW_BYTES
    ):
        return _REMEDIES[errno.ENOSPC]
    return None


class _ResultFile(ResultFolder):
    """A ``ResultFolder`` for a single file, which is made inside the temporary folder."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._product = self._partial / self._path.name


def write_atomically(path: str | os.PathLike[str]) -> AbstractContextManager[Path]:
    """A single file, whole or absent: ``with write_atomically(table) as partial: ...``.

    Args:
        path: of the file; it must not exist, its folder must.

    Returns:
        A context with the path to write to, which has the same suffix as ``path``.

    Raises:
        RequestError: as ``ResultFolder`` does.
    """
    return _ResultFile(path)


def partial_prefix(path: Path) -> str:
    """How the names of the temporary folders of this host for ``path`` begin."""
    return f".{path.name}.partial-{socket.gethostname()}-"


def _sweep(path: Path) -> Path | None:
    """Remove the temporary folders for ``path`` that killed runs of this host left behind.

    Returns:
        The temporary folder of a run that is still writing there; None if there is none.
    """
    prefix = partial_prefix(path)
    alive = None
    for entry in path.parent.iterdir():
        process = entry.name.removeprefix(prefix)
        if not entry.name.startswith(prefix) or not process.isdecimal():
            continue
        if _is_running(int(process)):
            alive = entry
        else:
            shutil.rmtree(entry, ignore_errors=True)
    return alive


def _is_running(process: int) -> bool:
    """Whether another process of that id exists."""
    if process == os.getpid():  # left by an earlier process: ids are used again
        return False
    if sys.platform == "win32":  # where os.kill(process, 0) would send Ctrl-C
        synchronize, access_denied, timed_out = 0x00100000, 5, 0x102
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        handle = kernel.OpenProcess(synchronize, False, process)
        if not handle:
            return ctypes.get_last_error() == access_denied
        try:
            return kernel.WaitForSingleObject(handle, 0) == timed_out
        finally:
            kernel.CloseHandle(handle)
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
