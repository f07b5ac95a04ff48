"""How long a job will take and how much memory it needs, before it starts.

Each network is tried once on the device with a small input, and what it took is scaled to the
image, the method's passes and the patches of an update. Rough by nature: good for "seconds or an
hour", and for telling what will not fit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from monai.data.utils import dense_patch_slices
from torch import Tensor, nn

from SFDALib.bundle.source import Source
from SFDALib.inference import window
from SFDALib.jobs import devices
from SFDALib.jobs.engine import LOWER_MEMORY, open_engine
from SFDALib.memory import activation_bytes, batch_that_fits
from SFDALib.volume.geometry import Geometry
from SFDALib.volume.grid import shape_on

START = 4.0  # seconds until torch, monai and the bundle are loaded, and for reading and writing
BACKWARD = 3.5  # times the forward pass: a step with gradients and update (Adam) on small networks
KEPT = 2.0  # times the layers' output: what training holds, gradients included
PROGRAM_MB = 450.0  # torch, monai and the interpreter themselves
COPIES = 6  # float arrays of the image's size that are held at once
TRIAL_BYTES = 64 << 20  # of the layers' output in a trial


@dataclass(frozen=True)
class Estimate:
    """What a job will take.

    Args:
        title: the device in words.
        seconds: for all images.
        memory_mb: the largest need on the device.
        free_mb: what is free there; None where the system does not say.
        advice: one line if it will not fit, with the option that lowers the need; else empty.
    """

    title: str
    seconds: float
    memory_mb: float
    free_mb: float | None
    advice: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def estimate(
    bundle: Path,
    method: str,
    options: Mapping[str, Any],
    device: str,
    geometry: Geometry,
    images: int = 1,
) -> Estimate:
    """Estimate a job on images of this geometry.

    Args:
        options: every option's value, checked.

    Raises:
        RequestError: the bundle is unusable, or lacks what the method needs.
    """
    where = devices.resolve(device)
    engine = open_engine(bundle, method, options, where, seed=0)
    model, work = engine.model, engine.method.work(options)
    shape = shape_on(model.description.grid, geometry)
    slices = model.description.grid.slices
    size = window(shape[1:] if slices else shape, model.description.patch_size, model.divisor)
    patch = (model.description.grid.channels, *size)
    flips = 2 ** (len(size)) if options["mirror"] else 1
    forward = _seconds(model.network, patch, where, model.divisor)
    seconds = flips * work.passes * _windows(shape, size, options["overlap"], slices) * forward
    seconds += BACKWARD * work.epochs * _windows(shape, size, 0.0, slices) * forward

    held = activation_bytes(model.network, patch)
    batch = min(int(options.get("batch", 1)), _windows(shape, size, 0.0, slices) * images)
    training = KEPT * batch * held if work.epochs else 0.0
    inference = held * batch_that_fits(model.network, patch, where)
    if work.draws:
        draw = _draw(model, shape, where)
        seconds += work.draws * draw.parts * draw.seconds
        inference = max(inference, draw.bytes)
    weights = sum(p.numel() * p.element_size() for p in model.network.parameters())
    need = max(training, inference) + (4 if work.epochs else 1) * weights
    voxels = math.prod(geometry.size) * model.description.classes
    need = need / 2**20 + (
        0.0 if where.type == "cuda" else PROGRAM_MB + COPIES * voxels * 4 / 2**20
    )
    free = devices.free_mb(where)
    return Estimate(
        devices.describe(where),
        round(START + images * seconds, 1),
        round(need, 1),
        free,
        _advice(need, free, options),
    )


def _windows(shape: tuple[int, ...], size: tuple[int, ...], overlap: float, slices: bool) -> int:
    """How many windows cover the image; those of every slice where the network is 2D."""
    inside = shape[1:] if slices else shape
    padded = tuple(max(n, patch) for n, patch in zip(inside, size, strict=True))
    step = tuple(max(1, int(patch * (1 - overlap))) for patch in size)
    return len(dense_patch_slices(padded, size, step)) * (shape[0] if slices else 1)


@dataclass(frozen=True)
class _Draw:
    """One evaluation of the diffusion network: parts of an image (slices, or 1), seconds of each,
    bytes of a batch.
    """

    parts: int
    seconds: float
    bytes: float


def _draw(model: Source, shape: tuple[int, ...], device: torch.device) -> _Draw:
    network, description = model.diffusion, model.description
    spacing = description.diffusion.spacing[::-1]
    own = description.grid.spacing[::-1]
    drawn = [
        n if new is None or mm is None else max(1, round(n * mm / new))
        for n, mm, new in zip(shape, own, spacing, strict=True)
    ]
    slices = description.grid.slices
    sides = [-(-n // network.divisor) * network.divisor for n in (drawn[1:] if slices else drawn)]
    patch = (network.image_channels, *sides)
    conditions = description.diffusion.network["condition_channels"]

    def more(channels_first: tuple[int, ...], place: torch.device) -> tuple[Tensor, Tensor]:
        return (
            torch.zeros(1, device=place),
            torch.zeros((1, conditions, *channels_first[1:]), device=place),
        )

    meta = more(patch, torch.device("meta"))
    batch = batch_that_fits(network, patch, device, extra=meta)
    seconds = _seconds(network, patch, device, network.divisor, more)
    held = activation_bytes(network, patch, extra=meta)
    return _Draw(drawn[0] if slices else 1, seconds, batch * held)


@torch.no_grad()
def _seconds(
    network: nn.Module,
    patch: tuple[int, ...],
    device: torch.device,
    divisor: int,
    more: Callable[[tuple[int, ...], torch.device], tuple[Tensor, ...]] = lambda *_: (),
) -> float:
    """Seconds of one patch ``(C, ...)`` through the network, by a trial on as much of it as is
    quick; the second of two, as the first also sets things up.
    """
    trial, meta = patch, torch.device("meta")
    while (
        activation_bytes(network, trial, extra=more(trial, meta)) > TRIAL_BYTES
        and max(trial[1:]) >= 2 * divisor
    ):
        longest = max(range(1, len(trial)), key=lambda axis: trial[axis])
        half = max(divisor, trial[longest] // 2 // divisor * divisor)
        trial = (*trial[:longest], half, *trial[longest + 1 :])
    data = torch.zeros((1, *trial), device=device)
    took = 0.0
    for _attempt in range(2):
        _wait_for(device)
        start = time.perf_counter()
        network(data, *more(trial, device))
        _wait_for(device)
        took = time.perf_counter() - start
    return took * math.prod(patch) / math.prod(trial)


def _wait_for(device: torch.device) -> None:
    """GPUs compute while the program goes on."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _advice(need: float, free: float | None, options: Mapping[str, Any]) -> str:
    if free is None or need <= free:
        return ""
    lower = " and ".join(
        f"{name} (now {options[name]})" for name in LOWER_MEMORY if name in options
    )
    remedy = f"lower {lower}, or choose another device" if lower else "choose another device"
    return f"This will probably not fit: it needs {need:.0f} MB, {free:.0f} MB are free; {remedy}."
