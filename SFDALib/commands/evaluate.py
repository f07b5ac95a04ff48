"""``SFDALib evaluate``: results against a reference, as a table."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from SFDALib.jobs import events


def add(commands: Any) -> None:
    command = commands.add_parser("evaluate", help="results against a reference segmentation")
    command.add_argument("--result", action="append", required=True, metavar="FILE_OR_FOLDER")
    command.add_argument("--reference", required=True)
    command.add_argument("--tolerance-mm", type=float, default=2.0, help="of the surface Dice")
    command.add_argument("--json", dest="table", help="write the table as JSON, too")
    command.set_defaults(command=_evaluate)


def _evaluate(arguments: argparse.Namespace, reporter: events.Reporter) -> None:
    from SFDALib.jobs.evaluate import evaluate

    summary = evaluate(
        [Path(path) for path in arguments.result],
        Path(arguments.reference),
        arguments.tolerance_mm,
        Path(arguments.table) if arguments.table else None,
    )
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(Column("result", overflow="fold"))
    for heading in ("label", "Dice", "ASD mm", "HD95 mm", "surface Dice", "ml", "ref. ml"):
        table.add_column(heading, justify="right", no_wrap=heading != "surface Dice")
    for row in summary["results"]:
        for values in row["classes"].values():
            numbers = ("dice", "asd_mm", "hd95_mm", "surface_dice", "predicted_ml", "reference_ml")
            table.add_row(
                row["result"], values["name"], *(f"{values[name]:.4g}" for name in numbers)
            )
    Console().print(table)
