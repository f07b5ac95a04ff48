"""The rooms (packages) are what their docstrings say, and do not import what they must not.

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
SEGMENTER = ROOT / "SFDASegmenter" / "SFDASegmenterLib"
ROOMS = (LIBRARY, SEGMENTER / "panel", SEGMENTER / "scene")
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


def test_the_library_knows_nothing_of_slicer_and_the_panel_nothing_of_torch() -> None:
    found = [
        f"{path.relative_to(ROOT).as_posix()}:{line}: {full_name}"
        for folder, forbidden in (("SFDALib", NOT_OF_SLICER), ("SFDASegmenter", {"torch", "monai"}))
        for path in sorted((ROOT / folder).rglob("*.py"))
        for full_name, line in imports(path)
        if full_name.split(".")[0] in forbidden
    ]

    assert found == []
