"""A field of a JSON object is of its type and range, or refused with its name."""

from __future__ import annotations

import math

import pytest
from refusals import refusal

from SFDALib.json_fields import Fields

FIELDS = Fields(
    {"text": "a", "whole": 3, "real": -1.5, "yes": True, "pair": [1, 2.5], "gap": [1, None]},
    "file.json, part",
)


def test_a_field_has_its_value() -> None:
    assert FIELDS.get("text", str) == "a" and FIELDS.get("whole", int) == 3
    assert FIELDS.get("yes", bool) is True and FIELDS.real("real") == -1.5
    assert FIELDS.numbers("pair", 2) == (1, 2.5)
    assert FIELDS.numbers("gap", 2, missing=True) == (1, None)
    assert FIELDS.choice("text", ("a", "b"), None) == "a"


def test_a_missing_field_has_its_default_or_is_refused() -> None:
    assert FIELDS.get("none", int, 7) == 7 and FIELDS.number("none", None) is None
    assert FIELDS.axes("none", (0, 1), whole=True) == (0, 1)
    expected = 'file.json, part, field "none": found nothing, expected a whole number; correct it'
    assert refusal(lambda: FIELDS.get("none", int)) == expected


@pytest.mark.parametrize(
    ("values", "read", "words"),
    [
        ({"a": True}, lambda f: f.get("a", int), "found True, expected a whole number"),
        ({"a": 1}, lambda f: f.get("a", bool), "found 1, expected true or false"),
        ({"a": "x\ny"}, lambda f: f.get("a", str), "expected one line"),
        ({"a": "x" * 1001}, lambda f: f.get("a", str), "at most 1000 characters"),
        ({"a": 0}, lambda f: f.number("a"), "expected a positive number"),
        ({"a": math.inf}, lambda f: f.real("a"), "expected a finite number"),
        ({"a": [1, None]}, lambda f: f.numbers("a", 2), "expected 2 positive numbers"),
        ({"a": [1]}, lambda f: f.numbers("a", 2), "expected 2 positive numbers"),
        ({"a": "c"}, lambda f: f.choice("a", ("a", "b"), None), "expected one of a, b"),
        ({"a": [0, 0]}, lambda f: f.axes("a", (0, 1), False), "expected different numbers"),
        ({"a": [0]}, lambda f: f.axes("a", (0, 1), True), "expected different numbers"),
    ],
)
def test_a_wrong_field_is_named(values: dict, read: object, words: str) -> None:
    line = refusal(lambda: read(Fields(values, "here")))
    assert line.startswith('here, field "a": found ') and words in line


@pytest.mark.parametrize(("value", "found"), [(None, "nothing"), ([], "list")])
def test_what_is_no_object_has_no_fields(value: object, found: str) -> None:
    assert refusal(lambda: Fields(value, "here")).startswith(f"here: found {found}, expected an")
