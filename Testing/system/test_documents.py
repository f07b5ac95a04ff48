"""The documents of the repository say what is there: links, pictures, commands, pins."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest
from paths import ROOT

from SFDALib.__main__ import parser
from SFDALib.methods import registry

DOCUMENTS = [
    *(ROOT / "README.md", ROOT / "CHANGELOG.md"),
    *sorted((ROOT / ".github").rglob("*.md")),
    *sorted((ROOT / "SFDALib").rglob("*.md")),
    *(ROOT / "SFDASegmenter" / "README.md", ROOT / "Testing" / "README.md"),
]
README_LINES = 250


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(path: Path) -> str:
    """A document without its blocks of code."""
    return re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub makes of a document's headings."""
    headings = re.findall(r"^#+ (.*)$", prose(path), flags=re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_link_and_picture_leads_to_something_in_the_repository(path: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(path))
    broken = []
    for target in targets:
        if re.match(r"https?:", target):
            continue
        file, _, anchor = unquote(target).partition("#")
        goal = (path.parent / file).resolve() if file else path
        if not goal.exists() or (anchor and anchor not in anchors(goal)):
            broken.append(target)

    assert broken == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_command_of_a_document_is_one_that_the_command_line_takes(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"^```\n(.*?)^```", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    for line in lines:
        _, is_ours, words = line.partition("-m SFDALib ")
        if is_ours:
            assert parser().parse_args(shlex.split(words)), line


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_file_that_a_document_names_is_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:Testing|SFDALib|SFDASegmenter|\.ci|\.github)/[\w./-]*\w", text))

    assert [each for each in sorted(named) if not (ROOT / each).exists()] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES


def test_every_method_is_in_the_readme() -> None:
    rows = [line for line in prose(ROOT / "README.md").splitlines() if line.startswith("| `")]
    shown = {method for row in rows for method in re.findall(r"`([\w-]+)`", row.split("|")[1])}

    assert set(registry.METHODS) <= shown


def test_the_hook_runs_the_ruff_of_the_tests() -> None:
    pins = (ROOT / "Testing" / "requirements.txt").read_text(encoding="utf-8")
    hook = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")

    assert re.findall(r"rev: v(\S+)", hook) == re.findall(r"^ruff==(\S+)", pins, re.M)


def test_what_all_tests_share_imports_no_torch() -> None:
    code = "import sys, conftest, recorded_jobs, panel_bench; sys.exit('torch' in sys.modules)"
    folders = (ROOT, ROOT / "Testing", ROOT / "Testing" / "helpers", ROOT / "SFDASegmenter")
    path = f"import sys; sys.path[:0] = {[str(folder) for folder in folders]}; "

    assert subprocess.run([sys.executable, "-c", path + code], check=False).returncode == 0
