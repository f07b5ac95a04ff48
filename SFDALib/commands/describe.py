"""``SFDALib methods`` and ``SFDALib inspect``: what there is to choose from."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from SFDALib.jobs import events
from SFDALib.methods import registry


def add(commands: Any) -> None:
    methods = commands.add_parser("methods", help="the methods and their options")
    methods.add_argument("--json", action="store_true", help="as data")
    methods.set_defaults(command=_methods)
    inspect = commands.add_parser("inspect", help="what a bundle is, and whether it is usable")
    inspect.add_argument("bundle")
    inspect.add_argument("--json", action="store_true", help="as data")
    inspect.set_defaults(command=_inspect)


def _methods(arguments: argparse.Namespace, reporter: events.Reporter) -> None:
    if arguments.json:
        print(json.dumps([method.to_dict() for method in registry.METHODS.values()], indent=2))
        return
    for method in registry.METHODS.values():
        print(f"{method.name}: {method.title}\n  {method.summary}\n  Paper: {method.paper}")
        print(f"  Updates: {method.updates}. Needs: {', '.join(method.needs) or 'any bundle'}.")
        print(f"  Cost: {method.cost}.")
        for option in method.options:
            print(f"    {option.name}={option.word()} ({option.expected()})  {option.help}")
        print()


def _inspect(arguments: argparse.Namespace, reporter: events.Reporter) -> None:
    from SFDALib.jobs.inspect import in_words, inspect

    facts = inspect(Path(arguments.bundle))
    print(json.dumps(facts, indent=2) if arguments.json else in_words(facts))
