"""SHA-256 of files and folders (standard library alone)."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 in hex of a file's content, or of a folder.

    A folder's is that of the lines ``<sha256 of the file>  <name relative to the folder>``, sorted
    by name, as ``sha256sum`` prints them: a renamed, a changed or a missing file changes it.
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
