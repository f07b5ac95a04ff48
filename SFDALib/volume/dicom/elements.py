"""Values of DICOM elements: numbers and items of sequences, or None where the file lacks them."""

from __future__ import annotations

import math
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from SFDALib.volume.geometry import FloatTriple, float_triple

LARGEST = 1e9  # absolute value of a number


def first_item(parent: Dataset | None, sequence: str) -> Dataset | None:
    """The first item of a sequence; None without one."""
    items = None if parent is None else parent.get(sequence)
    return items[0] if items else None


def as_list(value: Any) -> list[Any]:
    """The values of an element as a list; empty for None."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple | MultiValue) else [value]


def numbers(values: Any, count: int) -> tuple[float, ...] | None:
    """``count`` finite numbers; None unless the file has all of them.

    Raises:
        ValueError: a value is no finite number, or larger than ``LARGEST``.
    """
    found = as_list(values)
    if len(found) != count or any(value is None or value == "" for value in found):
        return None
    result = tuple(float(value) for value in found)
    if not all(math.isfinite(number) and abs(number) < LARGEST for number in result):
        raise ValueError(f"the numbers {result}")
    return result


def pair(values: Any) -> tuple[float, float] | None:
    """Two finite numbers; see ``numbers``."""
    found = numbers(values, 2)
    return None if found is None else (found[0], found[1])


def triple(values: Any) -> FloatTriple | None:
    """Three finite numbers; see ``numbers``."""
    found = numbers(values, 3)
    return None if found is None else float_triple(found)
