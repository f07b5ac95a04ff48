"""The words that ``run``, ``cohort``, ``compare`` and ``train`` have in common."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from SFDALib.errors import RequestError
from SFDALib.jobs import events, labelled
from SFDALib.volume.reading import Reading


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the words in one line."""

    def error(self, message: str) -> NoReturn:
        raise RequestError(f"{self.prog}: {message}; see {self.prog} --help")


def add_computing(command: argparse.ArgumentParser) -> None:
    """What it is computed on, and from which random numbers."""
    command.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps")
    command.add_argument("--seed", type=int, default=0, help="of everything random (default 0)")


def add_process(command: argparse.ArgumentParser) -> None:
    """How the process speaks with whoever started it."""
    command.add_argument(
        "--progress", choices=events.MODES, default="auto", help="how progress is shown"
    )
    command.add_argument(
        "--stop-with-stdin",
        action="store_true",
        help="cancel when standard input ends, as it does when the program that started this ends",
    )


def add_request(command: argparse.ArgumentParser, files: str, option: str) -> None:
    """The words of a job but its method.

    Args:
        files: what --input means.
        option: how one is typed.
    """
    command.add_argument(
        "--bundle",
        help="source model: a bundle, ours or MONAI's (folder or .zip), or nnU-Net's model folder",
    )
    command.add_argument("--input", nargs="+", metavar="FILE", help=files)
    command.add_argument(
        "--spacing",
        nargs=3,
        type=float,
        metavar=("I", "J", "K"),
        help="voxel size in mm of images whose files state none; others keep their own",
    )
    command.add_argument(
        "--series",
        nargs="+",
        help="of a folder with several DICOM series: the number in the list that is shown, the UID"
        " or the description; one for all, or one for each of --input",
    )
    command.add_argument(
        "--resample-channels",
        action="store_true",
        help="bring further channels to the first one's grid by linear interpolation",
    )
    command.add_argument("--output", help="result folder; must not exist")
    command.add_argument(
        "--probabilities",
        action="store_true",
        default=None,
        help="write the classes' probabilities, too (probabilities.nrrd)",
    )
    command.add_argument(
        "--option",
        action="append",
        default=[],
        metavar=option,
        help="of the method; SFDALib methods lists them",
    )
    command.add_argument(
        "--labels",
        nargs="+",
        action="extend",
        metavar="[IMAGE=]LABELS",
        help="segmentations to learn from, for few-labels: IMAGE=LABELS (IMAGE;IMAGE=LABELS with"
        " several channels); without IMAGE that of the input or, of several, of the one of the same"
        " name; a folder stands for the files in it",
    )
    add_computing(command)
    command.set_defaults(device=None, seed=None)  # their defaults are the job's


def add_job(command: argparse.ArgumentParser) -> None:
    command.add_argument("--job", help="a JSON file that describes all of this instead")


def given(arguments: argparse.Namespace, fields: Iterable[str]) -> dict[str, Any]:
    """The fields of a job that the words state as they are."""
    values = {name: getattr(arguments, name, None) for name in fields}
    stated = {name: value for name, value in values.items() if value is not None}
    if "input" in stated:
        stated["input"] = tuple(stated["input"])
    if "labels" in stated:
        stated["labels"] = labelled.parse(stated["labels"])
    reading = {name: getattr(arguments, name, None) for name in Reading.__dataclass_fields__}
    if reading := {name: value for name, value in reading.items() if value}:
        stated["reading"] = Reading.from_dict(reading, "--spacing or --series")
    return stated


def listed(text: str) -> list[str]:
    """The words between commas."""
    return [word.strip() for word in text.split(",")]


def require(stated: Iterable[str], required: Sequence[str]) -> None:
    """
    Raises:
        RequestError: one of the words is missing.
    """
    missing = [name for name in required if name not in stated]
    if missing:
        raise RequestError(
            f"found no --{missing[0]}, expected --{', --'.join(required[:-1])} and --{required[-1]}"
        )


def refuse_beside_job(stated: Iterable[str], path: str) -> None:
    """
    Raises:
        RequestError: words that a job file says already.
    """
    if names := ", ".join(stated):
        raise RequestError(
            f"found {names} beside --job, expected all of it in {path}; change the file or leave"
            " --job out"
        )
