"""The words that ``run``, ``cohort``, ``compare`` and ``train`` have in common."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from SFDALib.errors import RequestError
from SFDALib.jobs import events


def add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps")
    command.add_argument("--seed", type=int, default=0, help="of everything random (default 0)")
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
    add_common(command)
    command.set_defaults(device=None, seed=None)  # their defaults are the job's


def given(arguments: argparse.Namespace, fields: Iterable[str]) -> dict[str, Any]:
    """The fields of a job that the words state as they are."""
    values = {name: getattr(arguments, name, None) for name in fields}
    stated = {name: value for name, value in values.items() if value is not None}
    if "input" in stated:
        stated["input"] = tuple(stated["input"])
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
