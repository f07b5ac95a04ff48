"""YAML from outside, as plain as JSON: bounded, without aliases, tags and types of its own."""

from __future__ import annotations

import json
from typing import Any

from SFDALib import json_file
from SFDALib.errors import RequestError

LIMIT = 1 << 18  # bytes; a configuration has some thousand


def parse(data: bytes, where: str) -> Any:
    """The value of a YAML text in UTF-8, by PyYAML's safe loader.

    Raises:
        RequestError: it is larger than ``LIMIT``, no YAML, holds an alias (of which few can stand
            for more than memory holds) or something that JSON has not; PyYAML is not installed.
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
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise RequestError(
                    f"{where}: found the alias *{event.anchor[:40]}, expected plain values; write"
                    " its value in its place"
                )
        content = json.dumps(yaml.safe_load(text), ensure_ascii=False)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, AttributeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise RequestError(f"{where} is no valid YAML ({reason}); correct it") from error
    return json_file.parse(content.encode("utf-8", "surrogatepass"), where)
