"""Group the slices of a folder's DICOM files into stacks, and choose one.

A series may hold several stacks: scout images in other planes, time points, echoes. If the user
chooses none and exactly one stack is a complete volume, that one is taken, with a note.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SFDALib.errors import RequestError, check_name
from SFDALib.volume.dicom.frames import MARKS, Frame, Series, is_dicom, read_frames
from SFDALib.volume.dicom.layout import SAME_PLACE, Layout, lay_out
from SFDALib.volume.reading import Reading

SAME_AXES = 5e-3  # largest difference of unit vectors; about 0.3 degrees
SAME_SPACING = 1e-3  # mm
LISTED = 8  # most stacks that an error lists


@dataclass(frozen=True)
class Stack:
    """Images of one series with the same orientation, size and spacing.

    Args:
        mark: the field and value that distinguish it from other volumes at the same position.
    """

    frames: tuple[Frame, ...]
    mark: str = ""

    @property
    def series(self) -> Series:
        """The series that all its images belong to."""
        return self.frames[0].series

    def words(self) -> str:
        """A description such as: "T1 tra" (MR, 30 images of 256x256)."""
        columns, rows = self.frames[0].size
        name = f'"{self.series.description[:40]}"' if self.series.description else self.series.uid
        count = f"{len(self.frames)} image" + ("" if len(self.frames) == 1 else "s")
        parts = [self.series.modality or "no modality", f"{count} of {columns}x{rows}"]
        parts += [self.mark] if self.mark else []
        parts += ["scout"] if self.frames[0].localizer else []
        return f"{name} ({', '.join(parts)})"


def open_folder(path: Path, reading: Reading) -> Layout:
    """The stack of a folder or a DICOM file, in order and on its grid.

    Raises:
        RequestError: there is no stack, the user has to choose one of several, or it is no complete
            volume.
    """
    files = [path] if path.is_file() else dicom_files(path)
    frames, left_out = _without_copies([frame for file in files for frame in read_frames(file)])
    stacks = _stacks(frames)
    if not stacks:
        raise RequestError(_nothing(path))
    stack, note = _choose(stacks, path, reading)
    layout = lay_out(stack.frames, path, reading)
    notes = [note] if note else []
    if left_out:
        notes.append(f"{left_out} file(s) that are copies of others in the folder were left out.")
    return Layout(layout.frames, layout.geometry, layout.shifts, (*notes, *layout.notes))


def dicom_files(folder: Path) -> list[Path]:
    """The DICOM files of a folder, without hidden files."""
    found = []
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):  # such as the ones that macOS writes beside files
            continue
        check_name(entry)
        if not (entry.is_file() or entry.is_dir()):
            raise RequestError(
                f"{folder}: found a pipe or a broken link in it, expected files; remove it"
            )
        if entry.is_file() and is_dicom(entry):
            found.append(entry)
    return found


def _nothing(path: Path) -> str:
    inside = [entry for entry in path.iterdir() if entry.is_dir()] if path.is_dir() else []
    within = [folder.name for folder in inside if dicom_files(folder)][:3]
    hint = f"; there are some in its folders {', '.join(within)}: choose one" if within else ""
    return f"{path}: found no DICOM series with images, expected one{hint}"


def _without_copies(frames: list[Frame]) -> tuple[list[Frame], int]:
    """The frames of files that are no byte-for-byte copies of others, and the number of copies."""
    files: dict[str, list[Path]] = {}
    for frame in frames:
        same = files.setdefault(frame.uid, [])
        if frame.path not in same:
            same.append(frame.path)
    copies: set[Path] = set()
    for same in files.values():
        contents: set[bytes] = set()
        for path in same if len(same) > 1 else ():
            content = hashlib.sha256(path.read_bytes()).digest()
            if content in contents:
                copies.add(path)
            contents.add(content)
    return [frame for frame in frames if frame.path not in copies], len(copies)


def _stacks(frames: Iterable[Frame]) -> list[Stack]:
    """Group frames by series, stack, orientation, size and spacing; then split groups with several
    volumes at the same position.
    """
    groups: list[list[Frame]] = []
    for frame in frames:
        for group in groups:
            if _belong(group[0], frame):
                group.append(frame)
                break
        else:
            groups.append([frame])
    stacks = [stack for group in groups for stack in _apart(group)]
    return sorted(stacks, key=lambda stack: (_order(stack.series), stack.mark))


def _order(series: Series) -> tuple[int, str]:
    return (int(series.number) if series.number.isdecimal() else 1 << 30, series.uid)


def _belong(first: Frame, other: Frame) -> bool:
    def close(a: Sequence[float] | None, b: Sequence[float] | None, within: float) -> bool:
        if a is None or b is None:
            return a is b
        return bool(np.allclose(a, b, rtol=0, atol=within))

    return (
        first.series.uid == other.series.uid
        and first.stack == other.stack
        and first.size == other.size
        and close(first.axes, other.axes, SAME_AXES)
        and close(first.spacing, other.spacing, SAME_SPACING)
        and (first.position is None) == (other.position is None)
    )


def _apart(frames: list[Frame]) -> list[Stack]:
    """Split frames with several at one position by the first marks that give equally long parts."""
    stacks = [Stack(tuple(frames))]
    for at, name in enumerate(MARKS):
        split: list[Stack] = []
        for stack in stacks:
            parts: dict[str, list[Frame]] = {}
            if _several_at_one_place(stack.frames):
                for frame in stack.frames:
                    parts.setdefault(frame.marks[at], []).append(frame)
            sizes = {len(part) for part in parts.values()}
            if len(parts) > 1 and len(sizes) == 1 and max(sizes) > 1:
                for value, part in sorted(parts.items(), key=lambda item: _sorted(item[0])):
                    mark = ", ".join(filter(None, (stack.mark, f"{name} {value[:40]}")))
                    split.append(Stack(tuple(part), mark))
            else:
                split.append(stack)
        stacks = split
    return stacks


def _sorted(value: str) -> tuple[float, str]:
    try:
        return float(value), value
    except ValueError:
        return 0.0, value


def _several_at_one_place(frames: Sequence[Frame]) -> bool:
    if len(frames) < 2 or frames[0].position is None or frames[0].axes is None:
        return False
    axes = np.array(frames[0].axes).reshape(2, 3)
    along = np.sort(np.array([frame.position for frame in frames]) @ np.cross(*axes))
    step = (along[-1] - along[0]) / (len(along) - 1)
    return bool(np.diff(along).min() <= SAME_PLACE * max(step, 1e-3))


def _choose(stacks: list[Stack], path: Path, reading: Reading) -> tuple[Stack, str | None]:
    """The stack that the user names, the only one, or the only complete volume with a note."""
    if reading.series:
        word = reading.series[0]
        if word.isdecimal() and 1 <= int(word) <= len(stacks):
            return stacks[int(word) - 1], None
        named = [s for s in stacks if word in (s.series.uid, s.series.description)]
        if len(named) == 1:
            return named[0], None
        found = f'{len(named)} with the name "{word[:64]}"' if named else f'no "{word[:64]}"'
        raise RequestError(_several(stacks, path, f"found {found} among the DICOM series: "))
    if len(stacks) == 1:
        return stacks[0], None
    whole = [stack for stack in stacks if _is_complete(stack, path, reading)]
    if len(whole) == 1:
        others = [stack.words() for stack in stacks if stack is not whole[0]]
        more = f" and {len(others) - LISTED} more" if len(others) > LISTED else ""
        return whole[0], (
            f"The folder holds several DICOM series; {whole[0].words()} is the only complete"
            f" volume and was taken. Left out: {', '.join(others[:LISTED])}{more}."
        )
    volumes = [s for s in stacks if len(s.frames) > 1 and not s.frames[0].localizer]
    if len(volumes) == 1:  # the error that it raises later says more than a list of stacks
        return volumes[0], None
    count = len({stack.series.uid for stack in stacks})
    found = f"{count} DICOM series" if count > 1 else f"{len(stacks)} volumes in one DICOM series"
    raise RequestError(_several(stacks, path, f"found {found}: "))


def _several(stacks: list[Stack], path: Path, found: str) -> str:
    listed = "; ".join(f"{n}: {stack.words()}" for n, stack in enumerate(stacks[:LISTED], 1))
    more = f"; and {len(stacks) - LISTED} more" if len(stacks) > LISTED else ""
    return (
        f"{path}: {found}{listed}{more}, expected one to be chosen; choose with --series and its"
        " number, or move it into a folder of its own"
    )


def _is_complete(stack: Stack, path: Path, reading: Reading) -> bool:
    if len(stack.frames) == 1 or stack.frames[0].localizer:
        return False
    try:
        lay_out(stack.frames, path, reading)
    except RequestError:
        return False
    return True
