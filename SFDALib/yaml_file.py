"""YAML from outside, as plain as JSON: bounded, without tags and types of its own."""

from __future__ import annotations

import json
from typing import Any

from SFDALib import json_file
from SFDALib.errors import RequestError

LIMIT = 1 << 18  # bytes; a configuration has some thousand

VALUES = 1 << 16  # with those that aliases stand for


def parse(data: bytes, where: str) -> Any:
    """The value of a YAML text in UTF-8, by PyYAML's safe loader.

    Raises:
        RequestError: it is larger than ``LIMIT``, no YAML, has aliases (``*name``) that stand for
            more than ``VALUES`` in all, or holds something that JSON has not; PyYAML is not
            installed.
    """
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise RequestError(
            f"{where}: needs the Python package PyYAML, found none; install it with pip"
        ) from error
    if len(data) > LIMIT:
        raise RequestError(f"{where}: found more than {LIMIT} bytes, expected fewer; correct it")
    try:
        text = data.decode("utf-8-sig")
        value = yaml.safe_load(text)
        if _count(value, {}) > VALUES:
            raise RequestError(
                f"{where}: found aliases that stand for more than {VALUES} values, expected fewer;"
                " correct it"
            )
        content = json.dumps(value, ensure_ascii=False)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, AttributeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise RequestError(f"{where} is no valid YAML ({reason}); correct it") from error
    return json_file.parse(content.encode("utf-8", "surrogatepass"), where)


def _count(value: Any, known: dict[int, int]) -> int:
    """How many values there are, those behind aliases as often as they are named."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = VALUES + 1  # until it is known: of one that holds itself, without end
        inside = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_count(item, known) for item in inside)
    return known[id(value)]
