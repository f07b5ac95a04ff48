"""Seconds that networks need for an image, by a trial of each on a small part of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from SFDALib.bundle.source import Source
from SFDALib.inference.sliding_window import whole_image_size, window_count, window_size
from SFDALib.jobs.engine import Engine
from SFDALib.machine.batch_size import (
    GPU_BATCH,
    SHARE,
    activation_bytes,
    batch_that_fits,
    free_bytes,
)
from SFDALib.methods.method import Work
from SFDALib.methods.shared_options import InferenceOptions
from SFDALib.rounding import round_up

BACKWARD = 2.0  # times the forward pass: a step with gradients and update, in batches
# Bytes of the layers' output and patches in a trial; a small trial does not use a GPU fully.
CPU_TRIAL = (64 << 20, 1)
GPU_TRIAL = (1 << 30, GPU_BATCH)


def seconds_of_pass(engine: Engine, shape: tuple[int, ...]) -> float:
    """Seconds of a pass of the source model over an image ``(k, j, i)``, by a trial on a patch."""
    model = engine.model
    size, divisor = patch_shape(model, shape), math.lcm(*model.divisor)
    patch = seconds_of_patch(model.network, size, model.device, divisor)
    return patch * patches(model, Work(passes=1), engine.options, shape)


def patch_shape(model: Source, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of one patch, ``(C, ...)``."""
    inside = shape[1:] if model.description.input_spec.is_2d else shape
    if model.description.windows == "whole":
        return (model.description.input_spec.channels, *whole_image_size(inside, model.divisor))
    size = window_size(inside, model.description.patch_size, model.divisor)
    return (model.description.input_spec.channels, *size)


def patches(model: Source, work: Work, options: InferenceOptions, shape: tuple[int, ...]) -> float:
    """The cost of one image in forward passes of one patch through the segmentation network."""
    patch, slices = patch_shape(model, shape), model.description.input_spec.is_2d
    flips = 2 ** (len(patch) - 1) if options.mirror else 1
    even = model.description.windows in ("even", "whole")
    passes = flips * work.passes * windows(shape, patch[1:], options.overlap, slices, even)
    overlap = options.overlap if work.sliding else 0.0
    trained = work.epochs * windows(shape, patch[1:], overlap, slices) + work.patches
    return passes + BACKWARD * work.views * trained


def windows(
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
