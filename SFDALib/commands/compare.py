"""``SFDALib compare``: several methods on one image, and a table of what came of them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from SFDALib.commands.arguments import add_process, add_request, request_of
from SFDALib.errors import RequestError
from SFDALib.jobs import events
from SFDALib.jobs.request import REFERENCE, Comparison

if TYPE_CHECKING:
    from rich.table import Table


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser("compare", help="several methods on one image, side by side")
    add_request(command, Comparison)
    add_process(command)
    command.set_defaults(command=_compare)


def _compare(arguments: argparse.Namespace, reporter: events.Reporter) -> int:
    comparison = request_of(Comparison, arguments)
    from SFDALib.jobs.compare import compare  # torch: a wrong request is refused before

    summary = compare(comparison, reporter)
    if arguments.progress != "json":  # whose lines have standard output for themselves
        from rich.console import Console  # 0.1 s, which the other commands need not wait

        Console().print(table(summary))
    return RequestError.exit_status if summary["failed"] else 0


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
