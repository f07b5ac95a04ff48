"""The kinds of field that only requests have, such as device, method, options and reading.

Standard library alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from SFDALib.bundle import postprocessing, typed_volumes
from SFDALib.bundle.typed_volumes import TypedVolume
from SFDALib.errors import RequestError
from SFDALib.jobs.fields import Keywords, Kind
from SFDALib.jobs.inspect import inspect
from SFDALib.json_fields import LARGEST
from SFDALib.methods import needs, registry
from SFDALib.methods.registry import REFERENCE
from SFDALib.volume.reading import Reading

TIME_LIMIT = "time_limit"  # an option of the automatic choice with an argument of its own


class Device(Kind):
    """The device that computes."""

    pattern = re.compile(r"auto|cpu|cuda|cuda:[0-9]{1,3}|mps")

    def check(self, name: str, value: str) -> None:
        """Check the device's name; whether this machine has it is checked when the job runs.

        Raises:
            RequestError: the name is not one of a device.
        """
        if not self.pattern.fullmatch(value):
            raise RequestError(
                f'{name}: found "{value[:40]}", expected auto, cpu, cuda, cuda:1 or mps'
            )


class PostProcess(Kind):
    """What is done to the segmentations at the end; a job file may list the steps, too."""

    expected = "text or a list"

    def read(self, value: object, where: str) -> str:
        """The words between commas."""
        if isinstance(value, list) and all(isinstance(word, str) for word in value):
            return ",".join(value)
        return super().read(value, where)

    def check(self, name: str, value: str) -> None:
        """Check that the words are known; whether the model can have them, the engine checks.

        Raises:
            RequestError: one is not.
        """
        postprocessing.words(value)


class Volumes(Kind):
    """Plausible volumes that the user types; a job file has the same text, or an object."""

    expected = (
        'text or an object such as {"Liver": [900, 2500]}, with two or three numbers of ml each'
    )

    def arguments(self, name: str, help: str) -> dict[str, Keywords]:
        """The argument, one text for all structures."""
        return {name: {"help": help, "metavar": "NAME=SMALLEST-LARGEST,..."}}

    def parse(self, typed: Mapping[str, Any], stated: Mapping[str, Any]) -> tuple[TypedVolume, ...]:
        """The volumes that were typed."""
        (text,) = typed.values()
        return typed_volumes.parse(text)

    def read(self, value: object, where: str) -> tuple[TypedVolume, ...]:
        """The volumes from text, or from an object of lists of numbers by structure."""
        if isinstance(value, str):
            return typed_volumes.parse(value)
        if not isinstance(value, dict):
            raise self.refusal(value, where)
        for numbers in value.values():
            if not isinstance(numbers, list) or len(numbers) not in (2, 3):
                raise self.refusal(numbers, where)
            if not all(type(n) in (int, float) and n < LARGEST for n in numbers):
                raise self.refusal(numbers, where)
        return tuple(TypedVolume.of(name, list(map(float, n))) for name, n in value.items())

    def plain(self, value: tuple[TypedVolume, ...]) -> dict[str, list[float]]:
        """The object with the numbers of each structure."""
        return typed_volumes.to_json(value)

    def check(self, name: str, value: tuple[TypedVolume, ...]) -> None:
        """Check that no structure is named twice; whether the model has them, the engine checks.

        Raises:
            RequestError: one is.
        """
        typed_volumes.matched(value, list({one.structure.casefold(): None for one in value}))


class MethodName(Kind):
    """A method of the registry."""

    def check(self, name: str, value: str) -> None:
        """Check that the registry has the method.

        Raises:
            RequestError: it has not.
        """
        registry.find(value)


class Statements(Kind):
    """A ``Reading``: what the user states about the image's files."""

    expected = "an object"

    def arguments(self, name: str, help: str) -> dict[str, Keywords]:
        """The arguments ``--spacing``, ``--series`` and ``--resample-channels``."""
        return {
            "spacing": {
                "nargs": 3,
                "type": float,
                "metavar": ("I", "J", "K"),
                "help": "voxel size in mm of images whose files state none; others keep their own",
            },
            "series": {
                "nargs": "+",
                "help": "of a folder with several DICOM series: the number in the list that the"
                " error shows, the UID or the description; one for all, or one for each of --input",
            },
            "resample_channels": {
                "action": "store_true",
                "help": "resample further channels to the first one's grid by linear interpolation",
            },
        }

    def parse(self, typed: Mapping[str, Any], stated: Mapping[str, Any]) -> Reading:
        """The ``Reading`` from those of the three arguments that were typed."""
        return Reading.from_dict(typed, "--spacing or --series")

    def read(self, value: object, where: str) -> Reading:
        """The ``Reading`` from a JSON object."""
        if not isinstance(value, dict):
            raise self.refusal(value, where)
        return Reading.from_dict(value, where)

    def plain(self, value: Reading) -> dict[str, Any]:
        """The JSON object of a ``Reading``."""
        return {
            "spacing": value.spacing,
            "series": value.series,
            "resample_channels": value.resample_channels,
        }


class Options(Kind):
    """Options of one method, by name."""

    expected = "an object"

    def arguments(self, name: str, help: str) -> dict[str, Keywords]:
        """``--option NAME=VALUE``, which may be repeated, and ``--time-limit`` for one of them."""
        every = registry.find(registry.AUTO).options
        limit = next(option for option in every if option.name == TIME_LIMIT)
        return {
            "option": {"help": help, "action": "append", "metavar": "NAME=VALUE"},
            TIME_LIMIT: {
                "help": f"with the method {registry.AUTO}, as --option {TIME_LIMIT}=SECONDS:"
                f" {limit.in_words()}",
                "metavar": "SECONDS",
            },
        }

    def parse(self, typed: Mapping[str, Any], stated: Mapping[str, Any]) -> dict[str, str]:
        """The text of each option by its name."""
        options = parse_options(typed.get("option", ()))
        if TIME_LIMIT not in typed:
            return options
        if TIME_LIMIT in options:
            raise RequestError(
                f"option: found --time-limit and --option {TIME_LIMIT}, expected one of them; leave"
                " one out"
            )
        return {**options, TIME_LIMIT: typed[TIME_LIMIT]}

    def read(self, value: object, where: str) -> dict[str, Any]:
        """The value of each option by its name, from a JSON object."""
        if not isinstance(value, dict):
            raise self.refusal(value, where)
        return value

    def plain(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object of the options."""
        return dict(value)


class Methods(Kind):
    """Several methods, each with its options."""

    expected = "an object"
    inferred = True

    def arguments(self, name: str, help: str) -> dict[str, Keywords]:
        """The arguments ``--methods`` and ``--option METHOD.NAME=VALUE``."""
        return {
            "methods": {"help": help, "metavar": "METHOD,..."},
            "option": {
                "help": "an option of one of the methods; SFDALib methods lists them",
                "action": "append",
                "metavar": "METHOD.NAME=VALUE",
            },
        }

    def parse(
        self, typed: Mapping[str, Any], stated: Mapping[str, Any]
    ) -> dict[str, Mapping[str, str]]:
        """The options of each method; without ``--methods``, of all that the bundle serves."""
        options = parse_method_options(typed.get("option", ()))
        if "methods" in typed:
            return compared(listed(typed["methods"]), options)
        brought = (needs.LABELS,) if stated.get("labels") else ()
        served = inspect(Path(stated["bundle"]), brought)["methods"]
        return compared(registry.comparable(served), options)

    def read(self, value: object, where: str) -> dict[str, dict[str, Any]]:
        """The options of each method by its name, from a JSON object of objects."""
        if not isinstance(value, dict):
            raise self.refusal(value, where)
        for name, options in value.items():
            if not isinstance(options, dict):
                raise RequestError(
                    f"{where}: found {options!r:.60} for {name[:60]}, expected an object with the"
                    " method's options"
                )
        return value

    def plain(self, value: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """The JSON object of the methods, each with the object of its options."""
        return {name: dict(options) for name, options in value.items()}


def listed(text: str) -> list[str]:
    """The words between commas."""
    return [word.strip() for word in text.split(",")]


def compared(
    names: Sequence[str], options: Mapping[str, Mapping[str, str]]
) -> dict[str, Mapping[str, str]]:
    """The methods of a comparison with their options, ``REFERENCE`` first.

    Raises:
        RequestError: options of a method that is not compared.
    """
    for name in options:
        if registry.find(name).name not in (REFERENCE, *names):
            raise RequestError(
                f"option: found one of {name}, expected options of {', '.join(names)};"
                " add it to --methods or leave the option out"
            )
    return {name: options.get(name, {}) for name in (REFERENCE, *names)}


def parse_options(typed: Iterable[str]) -> dict[str, str]:
    """Options from ``NAME=VALUE`` arguments.

    Raises:
        RequestError: an argument without a name or an equals sign.
    """
    options = {}
    for word in typed:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise RequestError(f'option: found "{word[:60]}", expected name=value')
        options[name.strip()] = value.strip()
    return options


def parse_method_options(typed: Iterable[str]) -> dict[str, dict[str, str]]:
    """Options from ``METHOD.NAME=VALUE`` arguments, by method.

    Raises:
        RequestError: an argument without a method, a name or an equals sign.
    """
    methods: dict[str, dict[str, str]] = {}
    for name, value in parse_options(typed).items():
        method, dot, option = name.partition(".")
        if not dot:
            raise RequestError(f'option: found "{name[:60]}", expected method.name=value')
        methods.setdefault(method, {})[option] = value
    return methods
