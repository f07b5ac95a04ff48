"""``SFDALib evaluate``: results against a reference, as a table."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SFDALib.jobs import events

if TYPE_CHECKING:
    from rich.table import Table

AVERAGED = ("dice", "asd_mm", "hd95_mm", "surface_dice")
NUMBERS = (*AVERAGED, "predicted_ml", "reference_ml")
HEADINGS = ("label", "Dice", "ASD mm", "HD95 mm", "surface Dice", "ml", "ref. ml")


def add(commands: Any) -> None:
    """Declare the command and its options."""
    command = commands.add_parser("evaluate", help="compare results with a reference segmentation")
    command.add_argument(
        "--result",
        action="append",
        required=True,
        metavar="FILE_OR_FOLDER",
        help="a segmentation or a result folder; several also give means with a 95 %% interval",
    )
    command.add_argument(
        "--reference",
        required=True,
        metavar="FILE",
        help="the reference segmentation, on the same grid",
    )
    command.add_argument(
        "--tolerance-mm",
        type=float,
        default=2.0,
        help="distance up to which two surfaces count as equal in the surface Dice (default: 2)",
    )
    command.add_argument(
        "--json", dest="table", metavar="FILE", help="also write the table as JSON"
    )
    command.set_defaults(command=_evaluate)


def _evaluate(arguments: argparse.Namespace, reporter: events.Reporter) -> None:
    # here, as the commands' parsers must work before rich and torch are installed
    from rich.console import Console

    from SFDALib.jobs.evaluate import evaluate

    summary = evaluate(
        [Path(path) for path in arguments.result],
        Path(arguments.reference),
        arguments.tolerance_mm,
        Path(arguments.table) if arguments.table else None,
    )
    Console().print(table(summary))


def table(summary: Mapping[str, Any]) -> Table:
    """A line for each class of each result; of several results also their means.

    Args:
        summary: as ``jobs.evaluate.evaluate`` returns it.
    """
    from rich.table import Column, Table  # here for the same reason

    found = Table(Column("result", overflow="fold"))
    for heading in HEADINGS:
        found.add_column(heading, justify="right", no_wrap=heading != "surface Dice")
    for row in summary["results"]:
        for values in row["classes"].values():
            numbers = (f"{values[name]:.4g}" for name in NUMBERS)
            found.add_row(row["result"], values["name"], *numbers)
    if len(summary["results"]) > 1:
        found.add_section()
        for means in summary["means"].values():
            for line in _means(means):
                found.add_row(*line)
    return found


def _means(means: Mapping[str, Any]) -> Iterator[list[str]]:
    """The mean of each measure of one class, and the bounds of its interval."""
    counted, failed = means["dice"]["counted"], means["dice"]["failed"]
    mean = f"mean of {counted}" + (f", {failed} failed" if failed else "")
    for title, number in ((mean, "mean"), ("95 % from", "low"), ("95 % to", "high")):
        values = (f"{means[measure][number]:.4g}" for measure in AVERAGED)
        yield [title, means["name"], *values]
