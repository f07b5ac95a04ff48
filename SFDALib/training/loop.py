"""The one training loop: batches drawn ahead, mixed precision, EMA, checkpoints, resume, several
processes.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from SFDALib.errors import RequestError
from SFDALib.progress import Progress
from SFDALib.results.folder import writing

LOSS_POINTS = 200  # a curve keeps about so many points, each a mean
DRAWING = 4  # threads that draw the next batches while a GPU works on this one
AHEAD = 8  # batches drawn at most before they are needed
Batch = tuple[Tensor, ...]


@dataclass(frozen=True)
class LoopOptions:
    """How a network is trained.

    Args:
        steps: optimiser steps.
        learning_rate: of Adam at the start.
        schedule: "cosine" falls to a hundredth at the end, "constant" stays.
        weight_decay: L2 in Adam.
        ema: decay a step of the moving average that is kept as the weights; 0 for none.
        mixed_precision: bfloat16 autocast.
        seed: of weights and patches.
        checkpoint_minutes: between two checkpoints.
    """

    steps: int
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    weight_decay: float = 0.0
    ema: float = 0.0
    mixed_precision: bool = False
    seed: int = 0
    checkpoint_minutes: float = 2.0

    def __post_init__(self) -> None:
        ranges = {
            "steps": (1, math.inf),
            "learning_rate": (1e-12, 1e3),
            "weight_decay": (0, 1e3),
            "ema": (0, 1),
            "seed": (0, 2**63),
            "checkpoint_minutes": (0, math.inf),
        }
        for name, (low, high) in ranges.items():
            found = getattr(self, name)
            if not low <= found <= high:  # NaN is not, either
                raise RequestError(
                    f"--{name.replace('_', '-')}: found {found}, expected {low:g} to {high:g}"
                )


@dataclass(frozen=True)
class Workers:
    """The processes of a ``torchrun``; one alone without."""

    rank: int
    count: int
    device: torch.device

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def wait(self) -> None:
        if self.count > 1:
            torch.distributed.barrier()


def start_workers(device: torch.device) -> Workers:
    """Join the process group that torchrun's environment variables describe, if any."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return Workers(0, 1, device)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Workers(torch.distributed.get_rank(), count, device)


def fit(
    network: nn.Module,
    draw: Callable[[int], Batch],
    loss: Callable[..., Tensor],
    options: LoopOptions,
    identity: dict[str, Any],
    checkpoint: Path,
    workers: Workers,
    progress: Progress,
) -> tuple[dict[str, Tensor], list[tuple[int, float]]]:
    """Minimise ``loss(network, *draw(step))`` and return the weights and the loss curve.

    ``draw`` must be a function of the step alone and safe in several threads; the loss gets its
    tensors on the device. ``identity`` says what is being trained: a checkpoint of the same
    training is gone on with, one of another is refused.
    """
    network = network.to(workers.device).train()
    if not any(p.ndim == 5 for p in network.parameters()):  # torch refuses it for 3D convolutions
        network = network.to(memory_format=torch.channels_last)  # halves a step's time on CPUs
    trained = network
    if workers.count > 1:
        trained = DistributedDataParallel(network)
    optimiser = torch.optim.Adam(
        [p for p in network.parameters() if p.requires_grad],
        lr=options.learning_rate,
        weight_decay=options.weight_decay,
    )
    average = None
    if options.ema:
        average = AveragedModel(
            network, multi_avg_fn=get_ema_multi_avg_fn(options.ema), use_buffers=True
        )
    identity = {**identity, **asdict(options), "processes": workers.count}
    identity.pop("checkpoint_minutes")
    first, curve = _resume(checkpoint, network, optimiser, average, identity, workers)
    saved = time.monotonic()
    losses: list[float] = []
    steps = range(first, options.steps)
    for step, batch in zip(steps, _drawn(draw, steps, workers.device), strict=True):
        for group in optimiser.param_groups:
            group["lr"] = options.learning_rate * _factor(options, step)
        with torch.autocast(
            workers.device.type, dtype=torch.bfloat16, enabled=options.mixed_precision
        ):
            value = loss(trained, *(tensor.to(workers.device) for tensor in batch))
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        optimiser.step()
        if average is not None:
            average.update_parameters(network)
        losses.append(value.item())
        if not math.isfinite(losses[-1]):
            raise RequestError(
                f"training: found a loss of {losses[-1]} at step {step + 1}, expected a number;"
                " lower the learning rate or look for wrong images in the manifest"
            )
        if (step + 1) % max(1, options.steps // LOSS_POINTS) == 0 or step + 1 == options.steps:
            curve.append((step + 1, sum(losses) / len(losses)))
            losses = []
            if workers.leads:
                progress("training", step + 1, options.steps, loss=round(curve[-1][1], 5))
        if workers.leads and time.monotonic() - saved > 60 * options.checkpoint_minutes:
            _save(checkpoint, network, optimiser, average, identity, step + 1, curve)
            saved = time.monotonic()
    if workers.leads:
        _save(checkpoint, network, optimiser, average, identity, options.steps, curve)
    workers.wait()
    kept = average.module if average is not None else network
    return {k: v.detach().cpu().contiguous() for k, v in kept.state_dict().items()}, curve


def _drawn(
    draw: Callable[[int], Batch], steps: Iterable[int], device: torch.device
) -> Iterator[Batch]:
    """The batches of the steps in their order; beside a GPU, drawn by threads before they are due.

    On the CPU they would only take what the network computes with.
    """
    if device.type == "cpu":
        yield from map(draw, steps)
        return
    waiting: deque[Future[Batch]] = deque()
    with ThreadPoolExecutor(DRAWING) as pool:
        for step in steps:
            waiting.append(pool.submit(draw, step))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _factor(options: LoopOptions, step: int) -> float:
    if options.schedule == "constant":
        return 1.0
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / options.steps))


def _save(
    path: Path,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: AveragedModel | None,
    identity: dict[str, Any],
    step: int,
    curve: list[tuple[int, float]],
) -> None:
    state = {
        "identity": identity,
        "step": step,
        "curve": curve,
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "average": average.state_dict() if average is not None else None,
    }
    partial = path.with_suffix(".partial")
    try:
        with writing(path.parent), open(partial, "wb") as stream:  # which tells why it cannot be
            torch.save(state, stream)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _resume(
    path: Path,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: AveragedModel | None,
    identity: dict[str, Any],
    workers: Workers,
) -> tuple[int, list[tuple[int, float]]]:
    if not path.exists():
        return 0, []
    # not to the GPU, where Adam would have to fetch its count of steps for every weight
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["identity"] != identity:
        differing = [key for key in identity if state["identity"].get(key) != identity[key]]
        raise RequestError(
            f"{path.parent}: found the checkpoint of another training (other"
            f" {', '.join(differing) or 'fields'}), expected none or one of this; repeat the"
            " command that made it to go on, or remove the folder to start anew"
        )
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    if average is not None:
        average.load_state_dict(state["average"])
    return state["step"], [tuple(point) for point in state["curve"]]
