"""``SFDALib compare``: several methods on one image, and a table of what came of them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SFDALib.commands.arguments import (
    add_job,
    add_process,
    add_request,
    given,
    listed,
    refuse_beside_job,
    require,
)
from SFDALib.errors import RequestError
from SFDALib.jobs import events
from SFDALib.jobs.inspect import inspect
from SFDALib.jobs.request import (
    COMPARISON_FIELDS,
    REFERENCE,
    Comparison,
    parse_method_options,
    read_comparison,
)
from SFDALib.methods import registry

if TYPE_CHECKING:
    from rich.table import Table

WORDS = ("bundle", "input", "output")


def add(commands: Any) -> None:
    command = commands.add_parser("compare", help="several methods on one image, side by side")
    add_comparison_words(command)
    add_process(command)
    command.set_defaults(command=_compare)


def add_comparison_words(command: argparse.ArgumentParser) -> None:
    """The words from which ``comparison`` makes one."""
    add_request(command, "the image; several files are its channels", "METHOD.NAME=VALUE")
    command.add_argument(
        "--methods",
        metavar="METHOD,...",
        help=f"some of {', '.join(registry.METHODS)}; {REFERENCE} is always among them (default:"
        " all that the bundle can serve)",
    )
    add_job(command)


def comparison(arguments: argparse.Namespace) -> Comparison:
    """What the words ask for, checked.

    Raises:
        RequestError: a word is missing, or its value is none that it can have.
    """
    stated = given(arguments, COMPARISON_FIELDS)
    if arguments.option:
        stated["options"] = parse_method_options(arguments.option)
    if arguments.job:
        refuse_beside_job(stated, arguments.job)
        return read_comparison(Path(arguments.job)).checked()
    require(stated, WORDS)
    options = stated.pop("options", {})
    if "methods" in stated:
        names = listed(stated["methods"])
    else:
        brought = ("labels",) if stated.get("labels") else ()
        names = inspect(Path(stated["bundle"]), brought)["methods"]
    return Comparison(**{**stated, "methods": compared(names, options)}).checked()


def _compare(arguments: argparse.Namespace, reporter: events.Reporter) -> int:
    request = comparison(arguments)  # before torch is imported
    from SFDALib.jobs.compare import compare

    summary = compare(request, reporter)
    if arguments.progress != "json":  # whose lines have standard output for themselves
        from rich.console import Console

        Console().print(table(summary))
    return RequestError.exit_status if summary["failed"] else 0


def compared(names: Sequence[str], options: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
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


def table(summary: Mapping[str, Any]) -> Table:
    """A line for each structure of each method that worked; what failed is on standard error."""
    from rich.table import Table

    result = Table(caption=f"The judge chooses {summary['chosen']}.", caption_justify="left")
    result.add_column("method", no_wrap=True)
    result.add_column("structure", overflow="fold")
    for heading in ("ml", "change", f"Dice with {REFERENCE}", "trust", "s", "MB"):
        result.add_column(heading, justify="right")
    methods = summary["dice"]["methods"]
    for row in summary["methods"]:
        if row["error"] is not None:
            continue
        at = methods.index(row["method"])
        once = [row["method"], _trust(row["trust"])]
        once += [f"{row['seconds_total']:.0f}", _peak(row["peak_memory_mb"])]
        for volume, structure in zip(row["volumes"], summary["dice"]["classes"], strict=True):
            change = volume["change_percent"]
            name, *costs = once
            result.add_row(
                name,
                volume["name"],
                f"{volume['result_ml']:.4g}",
                "–" if change is None else f"{change:+.0f} %",
                f"{structure['matrix'][at][0]:.3f}" if methods[0] == REFERENCE else "–",
                *costs,
            )
            once = [""] * len(once)  # its further structures
    return result


def _trust(trust: Mapping[str, Any] | None) -> str:
    """The word of a verdict, where there is something to judge."""
    return "–" if trust is None else trust["decision"]


def _peak(megabytes: Mapping[str, float]) -> str:
    """Of the GPU where one computes, else of the process."""
    peak = megabytes.get("gpu", megabytes.get("process"))
    return "–" if peak is None else f"{peak:.0f}"
