"""The images that the words of a cohort mean: files, channels in files of their own, folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from SFDALib.errors import RequestError
from SFDALib.jobs.labelled import CHANNEL, stem
from SFDALib.volume.dicom.stacks import dicom_files
from SFDALib.volume.formats import SUFFIXES

DEEPEST = 6  # folders below one that is given


def images_in(paths: Sequence[str], channels: int) -> list[tuple[str, tuple[Path, ...]]]:
    """Each image: what it is called, and its files.

    A folder with DICOM files is one image; another folder stands for the image files in it and the
    DICOM folders below it, in the order of their names. Hidden files are left out. Where the model
    has several channels, files such as case_0000.nii.gz and case_0001.nii.gz are one image.

    Raises:
        RequestError: a folder that may not be read.
    """
    found: list[tuple[str, Path]] = []
    for path in map(Path, paths):
        try:
            inside = list(_inside(path, path.name)) if path.is_dir() else []
        except PermissionError as error:
            raise RequestError(f"{path}: no permission to read it; ask its owner") from error
        found.extend(inside or [(str(path), path)])
    if channels < 2:
        return [(name, (path,)) for name, path in found]
    cases: dict[str, list[Path]] = {}
    for name, path in found:
        parts = None if path.is_dir() else CHANNEL.fullmatch(stem(path.name))
        key = name if parts is None else str(path.parent / parts[1])
        cases.setdefault(key, []).append(path)
    return [(name, tuple(sorted(files))) for name, files in cases.items()]


def _inside(folder: Path, name: str, depth: int = 0) -> Iterator[tuple[str, Path]]:
    """The images in a folder: itself where it holds DICOM files."""
    if dicom_files(folder):
        yield name, folder
        return
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    for entry in entries:
        if entry.is_dir() and depth < DEEPEST:
            below = entry.name if depth == 0 else f"{name}_{entry.name}"
            yield from (found for found in _inside(entry, below, depth + 1) if found[1].is_dir())
        elif entry.name.lower().endswith(SUFFIXES):
            yield str(entry), entry


def names_of(images: Sequence[str], taken: set[str]) -> list[str]:
    """A folder name for each image: its own without the ending, numbered where it repeats.

    Names that differ in their case alone are the same to Windows and macOS.

    Args:
        taken: names that no image may have.
    """
    names: list[str] = []
    taken = set(taken)
    for image in images:
        name = free = stem(image) or "image"
        number = 1
        while free.casefold() in taken:
            number += 1
            free = f"{name}_{number}"
        taken.add(free.casefold())
        names.append(free)
    return names
