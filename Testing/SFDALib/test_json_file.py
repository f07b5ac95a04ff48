"""JSON from outside is bounded; what is written has no number that JSON cannot hold."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from refusals import refusal

from SFDALib import json_file


def test_numbers_that_json_cannot_hold_become_null() -> None:
    value = {
        1: math.nan,
        "arrays": np.array([1.0, np.inf]),
        "one": np.float32(0.5),
        "whole": np.int64(7),
        "nested": (True, None, [-math.inf]),
        "path": Path("a") / "b",
    }
    expected = {
        "1": None,
        "arrays": [1.0, None],
        "one": 0.5,
        "whole": 7,
        "nested": [True, None, [None]],
        "path": str(Path("a") / "b"),
    }
    assert json_file.plain(value) == expected
    assert json.loads(json.dumps(json_file.plain(value), allow_nan=False)) == expected


def test_texts_are_changed_as_the_caller_wants() -> None:
    assert json_file.plain({"a": ["b", 1]}, str.upper) == {"a": ["B", 1]}


def test_a_mark_that_windows_puts_first_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert json_file.read_object(tmp_path / "a.json") == {"a": 1}


@pytest.mark.parametrize(
    ("content", "words"),
    [("[1]", "found list, expected an object"), ("null", "found nothing, expected an object")],
)
def test_what_is_no_object_is_refused(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "a.json").write_text(content)
    line = refusal(lambda: json_file.read_object(tmp_path / "a.json"))
    assert line == f"{tmp_path / 'a.json'}: {words}; correct it"


def test_a_file_larger_than_the_limit_is_refused_without_reading_all_of_it(tmp_path: Path) -> None:
    with open(tmp_path / "a.json", "wb") as stream:
        stream.truncate(100 * json_file.LIMIT)  # of which the file system stores nothing
    assert len(json_file.content(tmp_path / "a.json")) == json_file.LIMIT + 1
    assert "expected fewer" in refusal(lambda: json_file.read(tmp_path / "a.json"))
