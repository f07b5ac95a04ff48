"""``SFDALib methods`` lists the methods; ``SFDALib inspect`` describes a source model."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from SFDALib.jobs import events
from SFDALib.jobs.inspect import in_words, inspect
from SFDALib.methods import registry


def add(commands: Any) -> None:
    """Add both commands to the parser.

    Args:
        commands: what ``argparse.ArgumentParser.add_subparsers`` returned.
    """
    methods = commands.add_parser("methods", help="list the methods and their options")
    methods.add_argument("--json", action="store_true", help="print JSON")
    methods.set_defaults(command=_methods)
    command = commands.add_parser(
        "inspect", help="describe a source model and say which methods it can serve"
    )
    command.add_argument(
        "bundle",
        help="a bundle or MONAI bundle (folder or .zip), or a folder of an nnU-Net v2 model",
    )
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(command=_inspect)


def _methods(arguments: argparse.Namespace, reporter: events.Reporter) -> None:
    if arguments.json:
        print(json.dumps([method.to_dict() for method in registry.METHODS.values()], indent=2))
        return
    for method in registry.METHODS.values():
        print(f"{method.name}: {method.title}\n  {method.summary}\n  Paper: {method.paper}")
        print(f"  Updates: {method.updates}. Needs: {', '.join(method.needs) or 'any bundle'}.")
        print(f"  Cost: {method.cost}.")
        for option in method.options:
            print(f"    {option.name}={option.usual()} ({option.expected()})  {option.help}")
        print()


def _inspect(arguments: argparse.Namespace, reporter: events.Reporter) -> None:
    facts = inspect(Path(arguments.bundle))
    print(json.dumps(facts, indent=2) if arguments.json else in_words(facts))
