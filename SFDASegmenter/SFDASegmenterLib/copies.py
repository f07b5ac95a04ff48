"""Copies of a run's files for the user. Standard library alone."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path


def copy_whole(source: Path, folder: Path, name: str) -> Path:
    """Copy a file or folder, whole or not at all.

    Args:
        source: a file or folder.
        folder: where the copy goes.
        name: of the copy, without the suffix; numbered where a file of that name is there.

    Returns:
        The copy.

    Raises:
        OSError: it could not be copied; nothing of it is left.
    """
    target = folder / f"{name}{source.suffix}"
    number = 1
    while target.exists():
        number += 1
        target = folder / f"{name}_{number}{source.suffix}"
    partial = target.with_name(f".{target.name}.partial")
    try:
        if source.is_dir():
            shutil.copytree(source, partial)
        else:
            shutil.copyfile(source, partial)
        partial.rename(target)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)  # of a folder
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
    return target


def file_name(text: str) -> str:
    """A text with only letters, digits and ``-_.``, as the name of a file."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in text)
