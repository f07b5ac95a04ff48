"""Whole numbers rounded to multiples (standard library alone)."""

from __future__ import annotations


def round_up(n: int, multiple: int) -> int:
    """The smallest multiple that is not below ``n``.

    >>> round_up(17, 8), round_up(16, 8)
    (24, 16)
    """
    return -(-n // multiple) * multiple
