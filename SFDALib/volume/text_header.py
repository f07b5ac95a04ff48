"""The text headers of NRRD and MetaImage, read strictly before ITK sees them.

Measured with SimpleITK 2.5: a MetaImage of many dimensions crashes the process, sizes wrap around,
and voxels are read from whatever file a header names, be it /etc/passwd. Hence a header may have
each field once, whole sizes from 1, and its voxels in the same file or in one file beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from SFDALib.errors import RequestError

LIMIT = 1 << 20  # bytes of a header; the longest of Slicer's have some ten thousand
LINE_LIMIT = 2000  # of a MetaImage, which MetaIO reads into buffers of fixed size
MOST_DIMENSIONS = 8
SIZE = re.compile(r"[1-9][0-9]{0,9}")
META_FIELD = re.compile(r"\s*([^\s=][^=]*?)\s*=\s*(.*?)\s*")
LOCAL = "LOCAL"  # in a MetaImage: the voxels follow the header


def read_fields(path: Path) -> dict[str, str]:
    """The fields of a header by their names in lower case without blanks.

    Raises:
        RequestError: not the header of a NRRD or a MetaImage, or sizes that cannot be.
    """
    with open(path, "rb") as stream:
        lines = stream.read(LIMIT).decode("latin-1").split("\n")
    lines = [line.removesuffix("\r") for line in lines]
    if is_nrrd(path):
        fields, dimension, sizes = _nrrd_fields(lines, path), "dimension", "sizes"
    else:
        fields, dimension, sizes = _meta_fields(lines, path), "ndims", "dimsize"
    found = fields.get(sizes, "").split()
    count = fields.get(dimension, "")
    if (
        not SIZE.fullmatch(count)
        or not int(count) == len(found) <= MOST_DIMENSIONS
        or not all(SIZE.fullmatch(size) for size in found)
    ):
        _refuse(
            path,
            f"{count[:20] or 'no'} dimensions of the sizes {' '.join(found)[:60] or 'nothing'}",
            f"1 to {MOST_DIMENSIONS} whole sizes from 1",
        )
    return fields


def is_nrrd(path: Path) -> bool:
    """Whether the name is that of a NRRD; else it is a MetaImage."""
    return path.name.lower().endswith((".nrrd", ".nhdr"))


def data_file(path: Path, fields: Mapping[str, str]) -> Path:
    """The file with the voxels: the one beside the header that it names, or the header's own.

    Args:
        fields: the header's, as ``read_fields`` gives them.

    Raises:
        RequestError: it names several, one elsewhere, or one that is not there.
    """
    named = fields.get("datafile" if is_nrrd(path) else "elementdatafile", LOCAL)
    if named == LOCAL:
        return path
    while named.startswith("./"):  # this folder, as some programs write it
        named = named[2:]
    file = path.parent / named
    if (
        named.startswith("LIST")
        or named != Path(named).name
        or any(letter in named for letter in "%\\:")
    ):
        _refuse(path, f'the data file "{named[:80]}"', "the name of one file in the same folder")
    if not file.is_file():
        _refuse(path, f'the data file "{named[:80]}", which is not there', "it beside the header")
    if file.resolve().parent not in (path.parent.resolve(), path.resolve().parent):
        _refuse(path, f'the data file "{named[:80]}", a link to elsewhere', "the file itself")
    return file


def _nrrd_fields(lines: list[str], path: Path) -> dict[str, str]:
    if not re.fullmatch(r"NRRD[0-9]{4}", lines[0]):
        _refuse(path, "another beginning", "that of a NRRD")
    fields: dict[str, str] = {}
    for line in lines[1:]:
        if not line:
            break
        name, colon, value = line.partition(":")
        if line.startswith("#") or value.startswith("="):  # a comment, or somebody's own key
            continue
        name = name.replace(" ", "").lower()
        _add_field(fields, name if colon else "", value.strip(), line, path)
    else:
        if len("\n".join(lines)) >= LIMIT:
            _refuse(path, f"a header of more than {LIMIT} bytes", "a shorter one")
    return fields


def _meta_fields(lines: list[str], path: Path) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines:
        if not line.strip():
            continue
        parts = META_FIELD.fullmatch(line)
        name = parts[1] if parts and len(line) <= LINE_LIMIT else ""
        _add_field(fields, name.lower(), parts[2] if parts else "", line, path)
        if name.lower() == "elementdatafile":  # the header ends here
            if name != "ElementDataFile":
                break
            return fields
    _refuse(path, "no field ElementDataFile at the end of the header", "one")


def _add_field(fields: dict[str, str], name: str, value: str, line: str, path: Path) -> None:
    if not name or name in fields or any(ord(letter) < 32 and letter != "\t" for letter in line):
        _refuse(path, f"the line {line[:60]!r} in the header", "each field once, as name and value")
    fields[name] = value


def _refuse(path: Path, found: str, expected: str) -> NoReturn:
    raise RequestError(
        f"{path}: found {found}, expected {expected}; it may be damaged or not what its name says:"
        " export it again"
    )
