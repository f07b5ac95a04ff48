"""How long a job or a comparison will take and how much memory it needs, before it starts.

Each network runs on a small input on the device. The measured time is scaled to the image, the
number of the method's passes and the patches of its updates. The estimate is rough: it tells
seconds from an hour, and whether the job fits the memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from SFDALib.bundle.assembly import members
from SFDALib.bundle.source import Source
from SFDALib.bundle.typed_volumes import TypedVolume
from SFDALib.jobs.cohort_adapt import decide_by_shape
from SFDALib.jobs.engine import Engine, open_engines
from SFDALib.jobs.memory_need import memory_need
from SFDALib.jobs.request import ONCE, OPEN
from SFDALib.jobs.trial import Draw, draw, patch_shape, patches, seconds_of_pass, windows
from SFDALib.machine import devices
from SFDALib.machine.batch_size import activation_bytes, batch_that_fits
from SFDALib.methods.method import JUDGE_PASSES, Work
from SFDALib.methods.option import RECOMMENDED
from SFDALib.trust.fingerprint import unlike
from SFDALib.volume.conform import shape_on
from SFDALib.volume.geometry import Geometry
from SFDALib.volume.image_file import Header

START = 6.0  # seconds until torch, monai and the bundle are loaded, and for reading and writing
# Passes over an image to which weights are applied that were adapted to several: the source model's
# segmentation, the result, and the judge's of both networks.
APPLIED = 2 + 2 * JUDGE_PASSES
KEPT = 2.0  # times the layers' output: what training holds, gradients included
PROGRAM_MB = 570.0  # torch, monai and the interpreter themselves
STORED_BYTES = 2  # of a voxel, as scanners write them


@dataclass(frozen=True)
class Estimate:
    """What a job will take.

    Args:
        title: the device in words.
        seconds: for all images.
        memory_mb: the largest need on the device.
        free_mb: what is free there; None where the system does not say.
        advice: one line if it will not fit, with the option that lowers the need; else empty.
        adapted: ``ONCE`` if all images are adapted to together, else ``EACH``.
        notes: how the image differs from those of training, if its voxels are given, and what the
            time limit of the automatic choice means.
    """

    title: str
    seconds: float
    memory_mb: float
    free_mb: float | None
    advice: str
    adapted: str
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain data, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Images:
    """The images of a job: all of one geometry.

    Args:
        geometry: of each.
        count: how many there are.
        voxels: of the first ``(C, K, J, I)``, to tell whether it fits the model.
        adapt: as in a ``Cohort``.
    """

    geometry: Geometry
    count: int = 1
    voxels: np.ndarray | None = None
    adapt: str = OPEN

    def adapted(self, engine: Engine) -> str:
        """Whether a method is adapted once to all of them (``ONCE``), or to each (``EACH``)."""
        alike = [("image", self.geometry)] * self.count
        return decide_by_shape(self.adapt, engine, alike)[0]


def estimate(
    bundle: Path,
    methods: Mapping[str, Mapping[str, Any]],
    device: str,
    images: Images,
    preset: str = RECOMMENDED,
    volumes: tuple[TypedVolume, ...] = (),
) -> Estimate:
    """Estimate one method, or several compared.

    Args:
        methods: for each method every option's value, checked.
        preset: of the options of the methods that ``auto`` chooses among.
        volumes: as in a request.

    Raises:
        RequestError: the bundle is unusable, lacks what a method needs, or has no structure whose
            volumes were typed.
    """
    where = devices.resolve(device)
    opened = open_engines(bundle, methods, where, seed=0, preset=preset, volumes=volumes)
    asked = list(opened.values())
    first, limit = asked[0], asked[0].time_limit
    model, adapted = first.model, images.adapted(first)
    together = images.count if adapted == ONCE else 1
    engines = [one for engine in asked for one in engine.tries()]
    if together > 1:
        engines = [engine for engine in engines if engine.method.adapts]
    shape = shape_on(model.description.input_spec, images.geometry)
    source, seconds, needs = _costs(engines, shape, together)
    program = 0.0
    if where.type == "cpu":
        judged = any(engine.method.judged for engine in engines)
        program = PROGRAM_MB + _arrays_bytes(model, images.geometry, shape, judged) / 2**20
    most, least = (program + need / 2**20 for need in (max(needs), min(needs)))
    free = devices.free_mb(where)
    notes = [] if images.voxels is None else unlike(list(images.voxels), model.description)
    if first.method.chooses:  # leaves out what does not fit
        advice = _advice(least, free, first, alone=True)
        notes.append(
            f"Automatic choice: {len(engines)} methods would take about {seconds:.0f} s an image;"
            f" at most {limit:g} s are used"
        )
    else:
        advice = _advice(most, free, engines[needs.index(max(needs))], alone=len(engines) == 1)
    # The limit of images that are adapted to together is as many times longer, see cohort_choice.
    applied = APPLIED * source if together > 1 and first.method.chooses else 0.0
    time_ = START + images.count * (min(seconds, limit) + applied)
    need = round(most, 1)
    return Estimate(
        devices.describe(where), round(time_, 1), need, free, advice, adapted, tuple(notes)
    )


def _costs(
    engines: Sequence[Engine], shape: tuple[int, ...], together: int
) -> tuple[float, float, list[float]]:
    """What methods take for an image that they are adapted to with others.

    Returns:
        Seconds of a pass of the source model, seconds of all methods, and the bytes of each that
        its networks need.
    """
    first, model = engines[0], engines[0].model
    works = [_work(engine, together) for engine in engines]
    drawn = draw(model, shape) if any(work.draws for work in works) else Draw(0, 0.0, 0.0)
    # All start from one segmentation by the source model, which each of them counts.
    source = seconds_of_pass(first, shape)
    once = patches(model, Work(passes=1), first.options, shape)
    seconds, needs = source, []
    for engine, work in zip(engines, works, strict=True):
        seconds += source * (patches(model, work, engine.options, shape) / once - 1)
        seconds += work.draws * drawn.parts * drawn.seconds
        held = _network_bytes(model, work, engine.options, shape, together)
        needs.append(max(held, drawn.bytes if work.draws else 0.0))
    return source, seconds, needs


def _work(engine: Engine, together: int) -> Work:
    """What a method computes for one of the images that it is adapted to together."""
    work = engine.method.work(engine.options)
    return replace(work, patches=math.ceil(work.patches / together))


def _network_bytes(
    model: Source, work: Work, options: Any, shape: tuple[int, ...], together: int
) -> float:
    """The largest need of the segmentation network in bytes, its weights included.

    Args:
        together: the images of which a batch has patches.
    """
    patch, slices = patch_shape(model, shape), model.description.input_spec.is_2d
    held = activation_bytes(model.network, patch)
    weights = sum(p.numel() * p.element_size() for p in model.network.parameters())
    inference = held * batch_that_fits(model.network, patch, model.device) + weights
    if not work.epochs + work.patches:
        return inference
    batch = min(options.batch, together * windows(shape, patch[1:], 0.0, slices))
    trained = activation_bytes(members(model.network)[0], patch)  # one after the other
    return max(
        inference, KEPT * batch * work.views * trained + 4 * weights
    )  # gradients and Adam's two averages


def _arrays_bytes(model: Source, geometry: Geometry, shape: tuple[int, ...], judged: bool) -> float:
    """Bytes of main memory for the image, its maps and its probabilities."""
    grid = model.description.input_spec
    header = Header(geometry, STORED_BYTES * grid.channels * math.prod(geometry.size))
    classes, voxels = model.description.classes, math.prod(shape)
    return memory_need(header, voxels, grid.channels, classes, judged, probabilities=True)


def _advice(need: float, free: float | None, largest: Engine, alone: bool) -> str:
    """The advice if the need exceeds the free memory; else empty.

    Args:
        need, free: MB.
        largest: the method that needs most.
        alone: whether it is the only method.
    """
    if free is None or need <= free:
        return ""
    of = "" if alone else f"{largest.method.name}."
    lower = " and ".join(
        f"{of}{name} (now {value})" for name, value in largest.options.lowering_memory().items()
    )
    remedy = f"lower {lower}, or choose another device" if lower else "choose another device"
    return f"This will probably not fit: it needs {need:.0f} MB, {free:.0f} MB are free; {remedy}."
