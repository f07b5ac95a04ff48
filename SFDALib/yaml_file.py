"""Read YAML that JSON could hold, too, within bounds on size and aliases."""

from __future__ import annotations

import json
from typing import Any

from SFDALib import json_file
from SFDALib.errors import RequestError

LIMIT = 1 << 18  # bytes; a configuration has a few thousand
VALUES = 1 << 16  # values, those behind aliases included


def parse(data: bytes, where: str) -> Any:
    """The value of a YAML text in UTF-8, by PyYAML's safe loader.

    Raises:
        RequestError: the text is larger than ``LIMIT``, is not valid YAML, expands to more than
            ``VALUES`` values by its aliases (``*name``), or holds a value that JSON cannot hold; or
            PyYAML is not installed.
    """
    try:
        import yaml  # noqa: PLC0415  may be missing; only some MONAI bundles need it
    except ModuleNotFoundError as error:
        raise RequestError(
            f"{where}: found YAML without the package PyYAML, expected both; install it with pip"
        ) from error
    if len(data) > LIMIT:
        raise RequestError(
            f"{where}: found more than {LIMIT} bytes, expected at most as many; shorten it"
        )
    try:
        text = data.decode("utf-8-sig")
        value = yaml.safe_load(text)
        if _count(value, {}) > VALUES:
            raise RequestError(
                f"{where}: found aliases that expand to more than {VALUES} values, expected fewer;"
                " write the values without aliases"
            )
        content = json.dumps(value, ensure_ascii=False)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, AttributeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise RequestError(
            f"{where}: found text that is not valid YAML ({reason}), expected YAML; correct it"
        ) from error
    return json_file.parse(content.encode("utf-8", "surrogatepass"), where)


def _count(value: Any, known: dict[int, int]) -> int:
    """The number of values, those behind an alias counted wherever it is used.

    Args:
        known: the counts of lists and objects by ``id``.
    """
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = VALUES + 1  # for one that contains itself
        inside = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_count(item, known) for item in inside)
    return known[id(value)]
