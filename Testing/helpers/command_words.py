"""The words of runs, and a check of what the command line refuses. A pytest plugin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def run_words(bundle: Path, image: Path, method: str, output: Path, *options: str) -> list[str]:
    """The words of a run on the CPU; each option as ``name=value``."""
    request = ["run", "--bundle", bundle, "--input", image, "--method", method, "--output", output]
    request += ["--device", "cpu", *(word for option in options for word in ("--option", option))]
    return [str(word) for word in request]


def changed(request: list[str], name: str, *values: object) -> list[str]:
    """The request with other values of one word."""
    at = request.index(name)
    return [*request[: at + 1], *map(str, values), *request[at + 2 :]]


@pytest.fixture
def head_words(tiny_bundle: Path, head_file: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """``head_words(method, option, ..., image=, output=)``: a run with a model of random weights,
    by default on the head and into ``tmp_path / "out"``.
    """

    def words(method: str, *options: str, image: Any = head_file, output: Any = None) -> list[str]:
        return run_words(tiny_bundle, image, method, output or tmp_path / "out", *options)

    return words


@pytest.fixture
def request_words(head_words: Callable[..., list[str]]) -> list[str]:
    """A run that works, in a folder of its own. The bundle's weights are random."""
    return head_words("none")


@pytest.fixture
def refusal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Callable[..., str]:
    """``refusal(request, status=2)`` runs it and returns the one line that says why not.

    It checks that nothing in the folder changed.
    """
    from SFDALib.__main__ import main

    def contents() -> dict[str, bytes | None]:
        entries = sorted(tmp_path.rglob("*"))
        return {str(each): each.read_bytes() if each.is_file() else None for each in entries}

    def refuse(request: list[str], status: int = 2) -> str:
        before = contents()
        caplog.clear()
        assert main(request) == status
        assert contents() == before
        (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
        assert record.exc_info is None
        message = record.getMessage()
        assert message.startswith("SFDALib: ") and "\n" not in message
        return message

    return refuse
