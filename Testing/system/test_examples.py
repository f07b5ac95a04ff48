"""The examples in the docstrings of SFDALib do what they show."""

from __future__ import annotations

import doctest
import importlib
import re

import pytest
from paths import ROOT

MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "SFDALib").rglob("*.py"))
    if re.search(r"^ *>>> ", path.read_text(encoding="utf-8"), flags=re.M)
]


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_do_what_they_show(module: str) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    found = doctest.testmod(importlib.import_module(module), optionflags=flags)

    assert found.attempted > 0
    assert found.failed == 0
