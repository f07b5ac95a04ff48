"""SHA-256 of files, of folders, and of the files that make up a model. Standard library alone."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

from SFDALib.errors import RequestError

BLOCK = 1 << 20  # bytes

Opener = Callable[[], AbstractContextManager[IO[bytes]]]


def opener(path: str | os.PathLike[str]) -> Opener:
    """A function that opens the file for reading its bytes."""
    return lambda: open(path, "rb")


def sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's content, or of a folder.

    The SHA-256 of a folder is that of the lines ``<sha256 of the file>  <name relative to the
    folder>``, sorted by name, as ``sha256sum`` prints them. It changes when a file is renamed,
    changed or removed.

    Returns:
        64 hexadecimal digits.
    """
    path = Path(path)
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    names = sorted(
        entry.relative_to(path).as_posix() for entry in path.rglob("*") if entry.is_file()
    )
    lines = "".join(f"{sha256(path / name)}  {name}\n" for name in names)
    return hashlib.sha256(lines.encode()).hexdigest()


def sha256_of_named(
    files: Iterable[tuple[str, Opener]], where: str, read: Mapping[str, bytes] | None = None
) -> str:
    """One SHA-256 over the names and the contents of several files, in this order.

    Args:
        files: pairs of a name and a function that opens the file for reading.
        where: the folder or archive of the files, for errors.
        read: the contents of files that were read before, by name. These files must still have
            that content, so that the checksum is of what is in use.

    Returns:
        64 hexadecimal digits.

    Raises:
        RequestError: a file of ``read`` has changed.
    """
    total, in_use = hashlib.sha256(), read or {}
    for name, opener in files:
        total.update(name.encode())
        with opener() as stream:
            if name in in_use:
                content = stream.read(len(in_use[name]) + 1)
                if content != in_use[name]:
                    raise RequestError(
                        f"{where}: found other content in {name} than when it was read, expected"
                        " the same; wait until the copy is complete, then run again"
                    )
                total.update(content)
            while block := stream.read(BLOCK):
                total.update(block)
    return total.hexdigest()
