"""What is to be done, as plain data: the one form that every way of asking is turned into."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from SFDALib import json_file
from SFDALib.adaptation import none
from SFDALib.errors import RequestError, check_name
from SFDALib.jobs import labelled
from SFDALib.jobs.labelled import Labelled
from SFDALib.methods import registry
from SFDALib.volume.reading import Reading

GATES = ("on", "off")
DEVICE = re.compile(r"auto|cpu|cuda|cuda:[0-9]{1,3}|mps")
REFERENCE = none.METHOD.name  # what every comparison holds the other methods against


@dataclass(frozen=True)
class Job:
    """One method on one image.

    Args:
        bundle: the source model: whatever ``bundle.opening`` takes.
        input: the image's files; several are its channels.
        method: a name in the registry.
        output: the result folder; must not exist.
        options: of the method, by name; what is not given has its default.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        seed: of everything random.
        gate: "on" delivers what the judge's verdict says, "off" always the method's result.
        labels: segmentations that the method learns from, if it does.
        reading: what the user states of the image's files.
        probabilities: whether those of the classes are written, too.
    """

    bundle: str
    input: tuple[str, ...]
    method: str
    output: str
    options: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    seed: int = 0
    gate: str = "on"
    labels: tuple[Labelled, ...] = ()
    reading: Reading = field(default_factory=Reading)
    probabilities: bool = False

    def checked(self) -> Job:
        """The same with every option's value filled in and checked.

        Raises:
            RequestError: unknown method, option, device or gate, or a value out of range.
        """
        options = registry.find(self.method).values(self.options)
        _check_common(self)
        labelled.check(self.labels, (self.method,))
        if self.gate not in GATES:
            raise RequestError(f'gate: found "{self.gate[:40]}", expected {" or ".join(GATES)}')
        return replace(self, options=options)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "input": list(self.input), "options": dict(self.options)}


@dataclass(frozen=True)
class Comparison:
    """Several methods on one image, beside the source model as it is.

    Args:
        methods: for each method its options, as in a Job.
        bundle, input, output, device, seed, labels, reading, probabilities: as in a Job.
    """

    bundle: str
    input: tuple[str, ...]
    methods: Mapping[str, Mapping[str, Any]]
    output: str
    device: str = "auto"
    seed: int = 0
    labels: tuple[Labelled, ...] = ()
    reading: Reading = field(default_factory=Reading)
    probabilities: bool = False

    def checked(self) -> Comparison:
        """The same with ``REFERENCE`` first and every option's value filled in and checked.

        The reference's options, which are those of inference, are every method's: all start from
        one segmentation by the source model.

        Raises:
            RequestError: an unknown method, option or device, a value out of range, an option of
                inference that differs from the reference's, or nothing to compare.
        """
        source = registry.find(REFERENCE).values(self.methods.get(REFERENCE, {}))
        methods = {REFERENCE: source}
        for name, given in self.methods.items():
            method = registry.find(name)
            shared = {
                option.name: source[option.name]
                for option in method.options
                if option.name in source
            }
            methods[name] = method.values({**shared, **given})
            for option, value in shared.items():
                if methods[name][option] != value:
                    raise RequestError(
                        f"option {name}.{option}: found {methods[name][option]}, expected {value},"
                        f" that of {REFERENCE}, as all methods start from one segmentation by the"
                        f" source model; give {REFERENCE}.{option} for all"
                    )
        if len(methods) < 2:
            raise RequestError(
                f"methods: found no other than {REFERENCE}, expected at least one of"
                f" {', '.join(name for name in registry.METHODS if name != REFERENCE)}"
            )
        _check_common(self)
        labelled.check(self.labels, tuple(methods))
        return replace(self, methods=methods)

    def to_dict(self) -> dict[str, Any]:
        methods = {name: dict(options) for name, options in self.methods.items()}
        return {**asdict(self), "input": list(self.input), "methods": methods}


def _check_common(request: Job | Comparison) -> None:
    if not DEVICE.fullmatch(request.device):
        raise RequestError(
            f'device: found "{request.device[:40]}", expected auto, cpu, cuda, cuda:1 or mps'
        )
    if not 0 <= request.seed < 2**31:
        raise RequestError(f"seed: found {request.seed}, expected 0 to 2147483647")
    if not request.input:
        raise RequestError("input: found no file, expected at least one")
    if len(request.reading.series) not in (0, 1, len(request.input)):
        raise RequestError(
            f"series: found {len(request.reading.series)} for {len(request.input)} file(s) of the"
            " input, expected one for all or one for each"
        )
    for word in (request.bundle, *request.input, request.output):
        if not word or "\0" in word:
            raise RequestError(f"found {word!r:.60} for a file, expected a name")
    check_name(request.output)


_COMMON = {
    **{"bundle": str, "input": (str, list), "output": str, "device": str, "seed": int},
    "labels": list,
    "reading": dict,
    "probabilities": bool,
}
FIELDS = {**_COMMON, "method": str, "options": dict, "gate": str}
REQUIRED = ("bundle", "input", "method", "output")
COMPARISON_FIELDS = {**_COMMON, "methods": dict}
COMPARISON_REQUIRED = ("bundle", "input", "methods", "output")


def read_job(path: Path) -> Job:
    """Read a job from a JSON file; relative paths in it are relative to the working folder.

    Raises:
        RequestError: naming the field, what was found and what was expected.
    """
    return Job(**_read(path, FIELDS, REQUIRED))


def read_comparison(path: Path) -> Comparison:
    """Read a comparison from a JSON file, as ``read_job`` does."""
    values = _read(path, COMPARISON_FIELDS, COMPARISON_REQUIRED)
    for name, options in values["methods"].items():
        if not isinstance(options, dict):
            raise RequestError(
                f'{path}, field "methods": found {options!r:.60} for {name[:60]}, expected an'
                " object with the method's options"
            )
    return Comparison(**values)


def _read(path: Path, fields: Mapping[str, Any], required: tuple[str, ...]) -> dict[str, Any]:
    """The fields of a JSON file, each of its kind; ``input`` as a tuple."""
    values = json_file.read(path)
    if not isinstance(values, dict):
        raise RequestError(f"{path}: found {type(values).__name__}, expected an object")
    for name in required:
        if name not in values:
            raise RequestError(f'{path}: found no field "{name}", expected {", ".join(required)}')
    for name, value in values.items():
        kind = fields.get(name)
        if kind is None:
            raise RequestError(
                f'{path}: found the field "{name[:60]}", expected only {", ".join(fields)}'
            )
        if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
            raise RequestError(
                f'{path}, field "{name}": found {value!r:.60}, expected {_word(kind)}'
            )
    files = values["input"]
    files = [files] if isinstance(files, str) else files
    if not all(isinstance(file, str) for file in files):
        raise RequestError(f'{path}, field "input": found {files!r:.60}, expected file names')
    if "labels" in values:
        values = {**values, "labels": labelled.from_json(values["labels"], str(path))}
    reading = Reading.from_dict(values.get("reading", {}), f'{path}, field "reading"')
    return {**values, "input": tuple(files), "reading": reading}


def _word(kind: type | tuple[type, ...]) -> str:
    words = {str: "text", int: "a whole number", dict: "an object", list: "a list"}
    words[bool] = "true or false"
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


def parse_method_options(words: list[str]) -> dict[str, dict[str, str]]:
    """``method.name=value`` words of the command line, method by method."""
    methods: dict[str, dict[str, str]] = {}
    for name, value in parse_options(words).items():
        method, dot, option = name.partition(".")
        if not dot:
            raise RequestError(f'option: found "{name[:60]}", expected method.name=value')
        methods.setdefault(method, {})[option] = value
    return methods
