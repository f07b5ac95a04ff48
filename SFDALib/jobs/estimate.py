"""How long a job or a comparison will take and how much memory it needs, before it starts.

Each network runs on a small input on the device. The measured time is scaled to the image, the
number of the method's passes and the patches of its updates. The estimate is rough: it tells
seconds from an hour, and whether the job fits the memory.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from SFDALib.bundle.assembly import members
from SFDALib.bundle.source import Source
from SFDALib.inference.sliding_window import whole_image_size, window_count, window_size
from SFDALib.jobs.engine import Engine, open_engines
from SFDALib.jobs.memory_need import memory_need
from SFDALib.machine import devices
from SFDALib.machine.batch_size import (
    GPU_BATCH,
    SHARE,
    activation_bytes,
    batch_that_fits,
    free_bytes,
)
from SFDALib.methods.method import Work
from SFDALib.methods.option import RECOMMENDED
from SFDALib.methods.shared_options import InferenceOptions
from SFDALib.rounding import round_up
from SFDALib.trust.fingerprint import unlike
from SFDALib.volume.conform import shape_on
from SFDALib.volume.geometry import Geometry
from SFDALib.volume.image_file import Header

START = 6.0  # seconds until torch, monai and the bundle are loaded, and for reading and writing
BACKWARD = 2.0  # times the forward pass: a step with gradients and update, in batches
KEPT = 2.0  # times the layers' output: what training holds, gradients included
PROGRAM_MB = 570.0  # torch, monai and the interpreter themselves
STORED_BYTES = 2  # of a voxel, as scanners write them
# Bytes of the layers' output and patches in a trial; a small trial does not use a GPU fully.
CPU_TRIAL = (64 << 20, 1)
GPU_TRIAL = (1 << 30, GPU_BATCH)


@dataclass(frozen=True)
class Estimate:
    """What a job will take.

    Args:
        title: the device in words.
        seconds: for all images.
        memory_mb: the largest need on the device.
        free_mb: what is free there; None where the system does not say.
        advice: one line if it will not fit, with the option that lowers the need; else empty.
        notes: how the image differs from those of training, if its voxels are given, and what the
            time limit of the automatic choice means.
    """

    title: str
    seconds: float
    memory_mb: float
    free_mb: float | None
    advice: str
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain data, for JSON."""
        return asdict(self)


def estimate(
    bundle: Path,
    methods: Mapping[str, Mapping[str, Any]],
    device: str,
    geometry: Geometry,
    images: int = 1,
    voxels: np.ndarray | None = None,
    preset: str = RECOMMENDED,
) -> Estimate:
    """Estimate one method, or several compared, on images of this geometry.

    Args:
        methods: for each method every option's value, checked.
        voxels: of the image ``(C, K, J, I)``, to tell whether it fits the model.
        preset: of the options of the methods that ``auto`` chooses among.

    Raises:
        RequestError: the bundle is unusable, or lacks what a method needs.
    """
    where = devices.resolve(device)
    asked = list(open_engines(bundle, methods, where, seed=0, preset=preset).values())
    engines = [one for engine in asked for one in engine.tries()]
    model = engines[0].model
    shape = shape_on(model.description.input_spec, geometry)
    draws = any(engine.method.work(engine.options).draws for engine in engines)
    drawn = draw(model, shape) if draws else Draw(0, 0.0, 0.0)
    # All start from one segmentation by the source model, which each of them counts.
    source = seconds_of_pass(engines[0], shape)
    once = patches(model, Work(passes=1), engines[0].options, shape)
    seconds, needs = source, []
    for engine in engines:
        work = engine.method.work(engine.options)
        seconds += source * (patches(model, work, engine.options, shape) / once - 1)
        seconds += work.draws * drawn.parts * drawn.seconds
        held = _network_bytes(model, work, engine.options, shape, images)
        needs.append(max(held, drawn.bytes if work.draws else 0.0))
    program = 0.0
    if where.type == "cpu":
        judged = any(engine.method.judged for engine in engines)
        program = PROGRAM_MB + _arrays_bytes(model, geometry, shape, judged) / 2**20
    most, least = (program + need / 2**20 for need in (max(needs), min(needs)))
    free = devices.free_mb(where)
    notes = [] if voxels is None else unlike(list(voxels), model.description)
    first, limit = asked[0], asked[0].time_limit
    if first.method.chooses:  # leaves out what does not fit
        advice = _advice(least, free, first, alone=True)
        notes.append(
            f"{first.method.name}: {len(engines)} methods would take about {seconds:.0f} s an"
            f" image; at most {limit:g} s are used"
        )
    else:
        advice = _advice(most, free, engines[needs.index(max(needs))], alone=len(engines) == 1)
    time_ = START + images * min(seconds, limit)
    return Estimate(
        devices.describe(where), round(time_, 1), round(most, 1), free, advice, tuple(notes)
    )


def seconds_of_pass(engine: Engine, shape: tuple[int, ...]) -> float:
    """Seconds of a pass of the source model over an image ``(k, j, i)``, by a trial on a patch."""
    model = engine.model
    size, divisor = _patch(model, shape), math.lcm(*model.divisor)
    patch = seconds_of_patch(model.network, size, model.device, divisor)
    return patch * patches(model, Work(passes=1), engine.options, shape)


def _patch(model: Source, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of one patch, ``(C, ...)``."""
    inside = shape[1:] if model.description.input_spec.is_2d else shape
    if model.description.windows == "whole":
        return (model.description.input_spec.channels, *whole_image_size(inside, model.divisor))
    size = window_size(inside, model.description.patch_size, model.divisor)
    return (model.description.input_spec.channels, *size)


def patches(model: Source, work: Work, options: InferenceOptions, shape: tuple[int, ...]) -> float:
    """The cost of one image in forward passes of one patch through the segmentation network."""
    patch, slices = _patch(model, shape), model.description.input_spec.is_2d
    flips = 2 ** (len(patch) - 1) if options.mirror else 1
    even = model.description.windows in ("even", "whole")
    passes = flips * work.passes * _windows(shape, patch[1:], options.overlap, slices, even)
    overlap = options.overlap if work.sliding else 0.0
    trained = work.epochs * _windows(shape, patch[1:], overlap, slices) + work.patches
    return passes + BACKWARD * work.views * trained


def _network_bytes(
    model: Source, work: Work, options: Any, shape: tuple[int, ...], images: int
) -> float:
    """The largest need of the segmentation network in bytes, its weights included."""
    patch, slices = _patch(model, shape), model.description.input_spec.is_2d
    held = activation_bytes(model.network, patch)
    weights = sum(p.numel() * p.element_size() for p in model.network.parameters())
    inference = held * batch_that_fits(model.network, patch, model.device) + weights
    if not work.epochs + work.patches:
        return inference
    batch = min(options.batch, images * _windows(shape, patch[1:], 0.0, slices))
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


def _windows(
    shape: tuple[int, ...],
    size: tuple[int, ...],
    overlap: float,
    slices: bool,
    even: bool = False,
) -> int:
    """How many windows cover the image; those of every slice if the network is 2D."""
    inside = shape[1:] if slices else shape
    return window_count(inside, size, overlap, even) * (shape[0] if slices else 1)


@dataclass(frozen=True)
class Draw:
    """One evaluation of the diffusion network: parts of an image (slices, or 1), seconds of each,
    bytes of a batch.
    """

    parts: int
    seconds: float
    bytes: float


def draw(model: Source, shape: tuple[int, ...]) -> Draw:
    """The cost of an evaluation of the diffusion network for an image ``(k, j, i)``, by a trial."""
    network, description, device = model.require_diffusion(), model.description, model.device
    diffusion = description.require_diffusion()
    spacing = diffusion.spacing[::-1]
    own = description.input_spec.spacing[::-1]
    drawn = [
        n if new is None or mm is None else max(1, round(n * mm / new))
        for n, mm, new in zip(shape, own, spacing, strict=True)
    ]
    slices = description.input_spec.is_2d
    sides = [round_up(n, network.divisor) for n in (drawn[1:] if slices else drawn)]
    patch = (network.image_channels, *sides)
    conditions = diffusion.network["condition_channels"]

    def more(channels_first: tuple[int, ...], place: torch.device) -> tuple[Tensor, Tensor]:
        return (
            torch.zeros(1, device=place),
            torch.zeros((1, conditions, *channels_first[1:]), device=place),
        )

    meta = more(patch, torch.device("meta"))
    batch = batch_that_fits(network, patch, device, extra=meta)
    seconds = seconds_of_patch(network, patch, device, network.divisor, more)
    held = activation_bytes(network, patch, extra=meta)
    return Draw(drawn[0] if slices else 1, seconds, batch * held)


@torch.no_grad()
def seconds_of_patch(
    network: nn.Module,
    patch: tuple[int, ...],
    device: torch.device,
    divisor: int,
    more: Callable[[tuple[int, ...], torch.device], tuple[Tensor, ...]] = lambda *_: (),
) -> float:
    """Seconds of one patch ``(C, ...)`` through the network, by a trial on as much of it as is
    quick, or on several at once; the second of two, as the first also sets things up.

    One side stays at least twice the divisor: instance normalisation needs more than one voxel.
    """
    trial, meta = patch, torch.device("meta")
    room, most = CPU_TRIAL if device.type == "cpu" else GPU_TRIAL
    room = min(room, int(SHARE * free_bytes(device)))  # a trial must fit, too
    while (held := activation_bytes(network, trial, extra=more(trial, meta))) > room:
        longest = max(range(1, len(trial)), key=lambda axis: trial[axis])
        half = max(divisor, trial[longest] // 2 // divisor * divisor)
        smaller = (*trial[:longest], half, *trial[longest + 1 :])
        if max(smaller[1:]) < 2 * divisor:
            break
        trial = smaller
    count = max(1, min(most, room // held))
    data = torch.zeros((count, *trial), device=device)
    others = [one.expand(count, *one.shape[1:]) for one in more(trial, device)]
    took = 0.0
    for _attempt in range(2):
        _wait_for(device)
        start = time.perf_counter()
        network(data, *others)
        _wait_for(device)
        took = time.perf_counter() - start
    return took * math.prod(patch) / math.prod(trial) / count


def _wait_for(device: torch.device) -> None:
    """Wait for the GPU, which computes asynchronously."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


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
