"""What is to be done, as plain data: the one form that every way of asking is turned into."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from SFDALib import registry
from SFDALib.errors import RequestError

GATES = ("on", "off")
DEVICE = re.compile(r"auto|cpu|cuda|cuda:[0-9]{1,3}|mps")


@dataclass(frozen=True)
class Job:
    """One method on one image.

    Args:
        bundle: folder or .zip of the source model.
        input: the image's files; several are its channels.
        method: a name in the registry.
        output: the result folder; must not exist.
        options: of the method, by name; what is not given has its default.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        seed: of everything random.
        gate: "on" delivers what the judge's verdict says, "off" always the method's result.
    """

    bundle: str
    input: tuple[str, ...]
    method: str
    output: str
    options: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    seed: int = 0
    gate: str = "on"

    def checked(self) -> Job:
        """The same with every option's value filled in and checked.

        Raises:
            RequestError: unknown method, option, device or gate, or a value out of range.
        """
        options = registry.find(self.method).values(self.options)
        if not DEVICE.fullmatch(self.device):
            raise RequestError(
                f'device: found "{self.device[:40]}", expected auto, cpu, cuda, cuda:1 or mps'
            )
        if not 0 <= self.seed < 2**31:
            raise RequestError(f"seed: found {self.seed}, expected 0 to 2147483647")
        if self.gate not in GATES:
            raise RequestError(f'gate: found "{self.gate[:40]}", expected {" or ".join(GATES)}')
        if not self.input:
            raise RequestError("input: found no file, expected at least one")
        return replace(self, options=options)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "input": list(self.input), "options": dict(self.options)}


FIELDS = {
    "bundle": str,
    "input": (str, list),
    "method": str,
    "output": str,
    "options": dict,
    "device": str,
    "seed": int,
    "gate": str,
}
REQUIRED = ("bundle", "input", "method", "output")


def read_job(path: Path) -> Job:
    """Read a job from a JSON file; relative paths in it are relative to the working folder.

    Raises:
        RequestError: naming the field, what was found and what was expected.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RequestError(f"{path}: cannot be read as JSON ({str(error)[:120]})") from error
    if not isinstance(values, dict):
        raise RequestError(f"{path}: found {type(values).__name__}, expected an object")
    for name in REQUIRED:
        if name not in values:
            raise RequestError(f'{path}: found no field "{name}", expected {", ".join(REQUIRED)}')
    for name, value in values.items():
        kind = FIELDS.get(name)
        if kind is None:
            raise RequestError(
                f'{path}: found the field "{name[:60]}", expected only {", ".join(FIELDS)}'
            )
        if not isinstance(value, kind) or isinstance(value, bool):
            raise RequestError(
                f'{path}, field "{name}": found {value!r:.60}, expected {_word(kind)}'
            )
    files = values["input"]
    files = [files] if isinstance(files, str) else files
    if not all(isinstance(file, str) for file in files):
        raise RequestError(f'{path}, field "input": found {files!r:.60}, expected file names')
    return Job(**{**values, "input": tuple(files)})


def _word(kind: type | tuple[type, ...]) -> str:
    words = {str: "text", int: "a whole number", dict: "an object", list: "a list"}
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(words[one] for one in kinds)


def parse_options(words: list[str]) -> dict[str, str]:
    """``name=value`` words of the command line."""
    options = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise RequestError(f'option: found "{word[:60]}", expected name=value')
        options[name.strip()] = value.strip()
    return options
