"""The one line with which SFDALib refuses what is unusable."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from SFDALib.errors import RequestError


def refusal(action: Callable[[], object]) -> str:
    """The line of the ``RequestError`` that ``action`` raises; it is one line."""
    with pytest.raises(RequestError) as caught:
        action()
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    return line
