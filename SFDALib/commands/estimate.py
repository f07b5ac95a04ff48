"""``SFDALib devices`` and ``SFDALib estimate``: what is known before a run."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from SFDALib.bundle import typed_volumes
from SFDALib.errors import RequestError
from SFDALib.jobs import events
from SFDALib.jobs.labelled import Labelled
from SFDALib.jobs.request import ADAPT, OPEN, Cohort, Comparison
from SFDALib.jobs.request_fields import (
    compared,
    listed,
    parse_method_options,
    parse_options,
)
from SFDALib.methods import registry
from SFDALib.methods.option import PRESETS, RECOMMENDED


def add(commands: Any) -> None:
    """Add both commands."""
    devices = commands.add_parser("devices", help="list the devices of this machine")
    devices.add_argument("--json", action="store_true", help="print JSON")
    devices.set_defaults(command=_devices)
    command = commands.add_parser(
        "estimate", help="the time and memory that a run or a comparison will take"
    )
    command.add_argument("--bundle", required=True)
    which = command.add_mutually_exclusive_group()
    which.add_argument("--method", default=registry.AUTO, help=", ".join(registry.METHODS))
    which.add_argument("--methods", metavar="METHOD,...", help="the methods of a comparison")
    command.add_argument(
        "--option", action="append", default=[], metavar="[METHOD.]NAME=VALUE", help="as for run"
    )
    command.add_argument("--preset", default=RECOMMENDED, choices=PRESETS, help="as for run")
    command.add_argument("--device", default="auto")
    command.add_argument("--images", type=int, default=1, help="number of images of this size")
    command.add_argument("--volumes", default="", help="as for run", metavar="NAME=...")
    command.add_argument("--adapt", default=OPEN, choices=ADAPT, help="as for cohort")
    command.add_argument(
        "--input", nargs="+", metavar="FILE", help="the image; several files are its channels"
    )
    command.add_argument(
        "--size", help="in place of --input: voxels along I, J, K, such as 256,256,40"
    )
    command.add_argument("--spacing", help="with --size: mm along I, J, K")
    command.add_argument(
        "--direction", default="1,0,0,0,1,0,0,0,1", help="direction cosines, 3x3, row by row, LPS"
    )
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(command=_estimate)


def _devices(arguments: argparse.Namespace, reporter: events.Reporter) -> None:
    from SFDALib.machine import devices

    found = devices.listed()
    if arguments.json:
        print(json.dumps(found))
        return
    for device in found:
        free = "" if device["free_mb"] is None else f", {device['free_mb']:.0f} MB free"
        print(f"{device['title']}{free}")


def _estimate(arguments: argparse.Namespace, reporter: events.Reporter) -> None:
    common = {
        "bundle": arguments.bundle,
        "input": ("the volume described",),
        "output": "no result",
        "device": arguments.device,
        "preset": arguments.preset,
        "volumes": typed_volumes.parse(arguments.volumes),
    }
    learns = {name for name, method in registry.METHODS.items() if "labels" in method.needs}
    if learns & {*listed(arguments.methods or ""), arguments.method}:
        common["labels"] = (Labelled("the labels described"),)
    if arguments.methods:
        if arguments.adapt != OPEN:
            raise RequestError(
                "estimate: found --adapt with --methods, expected it with --method; leave it out,"
                " as a comparison has one image"
            )
        chosen = compared(listed(arguments.methods), parse_method_options(arguments.option))
        methods = Comparison(methods=chosen, **common).checked().methods
    else:
        options = parse_options(arguments.option)
        job = Cohort(method=arguments.method, options=options, adapt=arguments.adapt, **common)
        methods = {job.method: job.checked().options}
    if arguments.images < 1:
        raise RequestError("estimate: expected --size, --spacing and --images above 0")
    geometry, voxels = _image(arguments)
    from SFDALib.jobs.estimate import Images, estimate

    images = Images(geometry, arguments.images, voxels, arguments.adapt)
    bundle = Path(arguments.bundle)
    found = estimate(bundle, methods, arguments.device, images, arguments.preset, common["volumes"])
    if arguments.json:
        print(json.dumps(found.to_dict()))
        return
    print(f"{found.title}: about {found.seconds:.0f} s, {found.memory_mb:.0f} MB of memory")
    for line in filter(None, (found.advice, *found.notes)):
        print(line)


def _image(arguments: argparse.Namespace) -> tuple[Any, Any]:
    """The geometry of the image and, if it is one of files, its voxels."""
    described = arguments.size or arguments.spacing
    if bool(arguments.input) == bool(described):
        raise RequestError(
            "estimate: expected either --input with the image, or --size and --spacing of it"
        )
    if arguments.input:
        from SFDALib.volume.image_file import read_volume

        volume = read_volume([Path(path) for path in arguments.input])
        return volume.geometry, volume.array
    i, j, k = (int(n) for n in _numbers("--size", arguments.size or "", 3))
    x, y, z = _numbers("--spacing", arguments.spacing or "", 3)
    if min(i, j, k, x, y, z) <= 0:
        raise RequestError("estimate: expected --size, --spacing and --images above 0")
    from SFDALib.volume.geometry import Geometry

    direction = _numbers("--direction", arguments.direction, 9)
    return Geometry((i, j, k), (x, y, z), direction=direction), None


def _numbers(option: str, text: str, count: int) -> tuple[float, ...]:
    try:
        numbers = tuple(float(word) for word in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count or not all(abs(number) < 1e6 for number in numbers):
        raise RequestError(f'{option}: found "{text[:60]}", expected {count} numbers and commas')
    return numbers
