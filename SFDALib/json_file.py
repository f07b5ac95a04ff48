"""Read JSON files within bounds on size and depth, and prepare values for writing.

Standard library alone.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from SFDALib.errors import RequestError

LIMIT = 4 << 20  # bytes of a file
DEPTH = 32  # levels of nesting


def read(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        RequestError: see ``content`` and ``parse``.
    """
    return parse(content(path), str(path))


def read_object(path: Path) -> dict[str, Any]:
    """The value of a JSON file that holds an object.

    Raises:
        RequestError: see ``content``, ``parse`` and ``as_object``.
    """
    return as_object(read(path), str(path))


def content(path: Path) -> bytes:
    """The bytes of a file, at most one more than ``LIMIT``.

    Raises:
        RequestError: there is no such file, it is no regular file, or it cannot be read.
    """
    try:
        if not os.path.isfile(path):  # a pipe or a device has no end
            raise RequestError(f"{path}: no such file, expected a JSON file; check the path")
        with open(path, "rb") as stream:
            return stream.read(LIMIT + 1)
    except OSError as error:
        raise RequestError(f"{path}: cannot be read ({error.strerror}); check the path") from error


def as_object(value: object, where: str) -> dict[str, Any]:
    """The value, if it is a JSON object.

    Raises:
        RequestError: it is something else.
    """
    if not isinstance(value, dict):
        found = "nothing" if value is None else type(value).__name__
        raise RequestError(f"{where}: found {found}, expected an object; correct it")
    return value


def parse(data: bytes, where: str) -> Any:
    """The value of a JSON text in UTF-8, with or without a byte-order mark.

    Args:
        where: the file, for errors.

    Raises:
        RequestError: the text is larger than ``LIMIT`` bytes, nested deeper than ``DEPTH`` levels,
            or not valid JSON.
    """
    if len(data) > LIMIT:
        raise RequestError(f"{where}: found more than {LIMIT} bytes, expected fewer; correct it")
    try:
        content = json.loads(data.decode("utf-8-sig"))  # editors on Windows write a byte-order mark
        json.dumps(content, ensure_ascii=False).encode()  # refuses lone surrogates
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{where} is no valid JSON ({str(error)[:120]}); correct it") from error
    if _deeper_than(DEPTH, content):
        raise RequestError(
            f"{where}: found values nested more than {DEPTH} levels deep, expected fewer; correct"
            " it"
        )
    return content


def plain(value: Any, text: Callable[[str], str] = str) -> Any:
    """The value as JSON can hold it.

    Mappings become dictionaries with text keys, tuples lists, NumPy scalars and arrays numbers and
    lists, paths text, and the numbers that JSON cannot hold (NaN, infinities) None.

    Args:
        text: is applied to every text that is a value.

    >>> plain({"dice": float("nan"), "size": (2, 3)})
    {'dice': None, 'size': [2, 3]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item, text) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, text) for item in value]
    if hasattr(value, "tolist"):  # a NumPy scalar or array, without importing NumPy
        return plain(value.tolist(), text)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    return text(value) if isinstance(value, str) else value


def _deeper_than(limit: int, content: Any) -> bool:
    level = [content]
    for _ in range(limit):
        level = [
            item
            for value in level
            if isinstance(value, dict | list)
            for item in (value.values() if isinstance(value, dict) else value)
        ]
    return any(isinstance(value, dict | list) for value in level)
