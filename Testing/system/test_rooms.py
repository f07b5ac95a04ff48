"""The rooms (packages) are what their docstrings say, and nobody imports from above.

A docstring lists a module or room as ``name  what it is``, with two blanks or more between them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import ROOT

LIBRARY = ROOT / "SFDALib"
ROOMS = sorted(
    path.parent
    for top in (LIBRARY, ROOT / "SFDASegmenter" / "SFDASegmenterLib")
    for path in top.rglob("__init__.py")
)
NOT_OF_SLICER = {"slicer", "qt", "ctk", "vtk", "SFDASegmenterLib"}


def listed(text: str) -> list[str]:
    return re.findall(r"^ *(\w+)/?  +\S", text, flags=re.M)


def docstring(room: Path) -> str:
    tree = ast.parse((room / "__init__.py").read_text(encoding="utf-8"))
    return ast.get_docstring(tree) or ""


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.relative_to(ROOT).as_posix())
def test_the_docstring_of_a_room_names_what_is_in_its_folder(room: Path) -> None:
    files = {path.stem for path in room.glob("*.py")} - {"__init__"}
    folders = {path.parent.name for path in room.glob("*/__init__.py")}

    assert {
        "not named": sorted((files | folders) - set(listed(docstring(room)))),
        "gone": sorted(set(listed(docstring(room))) - files - folders),
    } == {"not named": [], "gone": []}


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """(full name of what is imported, line), imports inside functions and for types included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def test_a_room_imports_from_the_floors_below_it_alone() -> None:
    """The floors are the paragraphs of the list in SFDALib's docstring, the highest first."""
    floors = [listed(paragraph) for paragraph in docstring(LIBRARY).split("\n\n")]
    height = {room: -number for number, floor in enumerate(floors) for room in floor}
    upwards = []
    for path in sorted(LIBRARY.rglob("*.py")):
        room = path.relative_to(LIBRARY).parts[0].removesuffix(".py")
        for full_name, line in imports(path):
            top, *rest = full_name.split(".")
            other = rest[0] if top == "SFDALib" else ""
            if other != room and other in height and height[other] >= height.get(room, 1):
                upwards.append(f"{path.relative_to(ROOT).as_posix()}:{line}: {room} -> {other}")

    assert upwards == []


def test_the_library_knows_nothing_of_slicer_and_the_panel_nothing_of_torch() -> None:
    found = [
        f"{path.relative_to(ROOT).as_posix()}:{line}: {full_name}"
        for folder, forbidden in (("SFDALib", NOT_OF_SLICER), ("SFDASegmenter", {"torch", "monai"}))
        for path in sorted((ROOT / folder).rglob("*.py"))
        for full_name, line in imports(path)
        if full_name.split(".")[0] in forbidden
    ]

    assert found == []
