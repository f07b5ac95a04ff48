"""The training loop that all trainings share.

Batches are drawn ahead for a GPU; mixed precision, an exponential moving average (EMA) of the
weights, checkpoints from which a training goes on, and several processes.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from SFDALib.errors import RequestError
from SFDALib.progress import Progress
from SFDALib.training.checkpoint import Checkpoint, Curve, State

LOSS_POINTS = 200  # of a loss curve, about; each is the mean since the point before
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
        ema: decay a step of the exponential moving average of the weights, which is then what is
            delivered; 0 for none.
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
    """The processes of a ``torchrun``; a single one without it.

    Args:
        rank: of this process, from 0.
        count: of processes.
        device: of this process.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes files and reports progress."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until every process has arrived here."""
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
    checkpoint: Checkpoint,
    workers: Workers,
    progress: Progress,
) -> tuple[dict[str, Tensor], Curve]:
    """Minimise ``loss(network, *draw(step))`` with Adam, from the checkpoint on if there is one.

    Args:
        network: on any device; it is moved to that of ``workers`` and trained in place.
        draw: the batch of a step. It must depend on the step alone, and may be called in several
            threads.
        loss: of the network and the tensors of a batch on the device; a scalar.
        options: steps, learning rate and the like.
        checkpoint: where the state is saved, and of which training; the options and the number of
            processes are added to its identity.
        workers: the processes that train together.
        progress: informed of each point of the curve.

    Returns:
        The state dict on the CPU, of the moving average where there is one, and the loss curve.

    Raises:
        RequestError: the checkpoint is of another training, the loss is no longer finite, or the
            disk is full.
    """
    identity = {**checkpoint.identity, **asdict(options), "processes": workers.count}
    identity.pop("checkpoint_minutes")
    checkpoint = replace(checkpoint, identity=identity)
    state, trained = _prepare(network, options, workers)
    first = checkpoint.load(state)
    saved = time.monotonic()
    losses: list[float] = []
    steps = range(first, options.steps)
    for step, batch in zip(steps, draw_ahead(draw, steps, workers.device), strict=True):
        # set anew at each step, so that a checkpoint need not hold a scheduler's state
        for group in state.optimiser.param_groups:
            group["lr"] = options.learning_rate * _factor(options, step)
        losses.append(_step(trained, state, batch, loss, options, workers.device))
        if not math.isfinite(losses[-1]):
            raise RequestError(
                f"training: found a loss of {losses[-1]} at step {step + 1}, expected a number;"
                " lower the learning rate or look for wrong images in the manifest"
            )
        if (step + 1) % max(1, options.steps // LOSS_POINTS) == 0 or step + 1 == options.steps:
            state.curve.append((step + 1, sum(losses) / len(losses)))
            losses = []
            if workers.leads:
                progress("training", step + 1, options.steps, loss=round(state.curve[-1][1], 5))
        if workers.leads and time.monotonic() - saved > 60 * options.checkpoint_minutes:
            checkpoint.save(state, step + 1)
            saved = time.monotonic()
    if workers.leads:
        checkpoint.save(state, options.steps)
    workers.wait()
    return state.weights(), state.curve


def _prepare(network: nn.Module, options: LoopOptions, workers: Workers) -> tuple[State, nn.Module]:
    """The state at the start, and the module to call: the network or its parallel wrapper."""
    network = network.to(workers.device).train()
    if not any(p.ndim == 5 for p in network.parameters()):  # torch refuses it for 3D convolutions
        # halves a step's time on CPUs
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub
    trained = network if workers.count == 1 else DistributedDataParallel(network)
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
    return State(network, optimiser, average), trained


def _step(
    trained: nn.Module,
    state: State,
    batch: Batch,
    loss: Callable[..., Tensor],
    options: LoopOptions,
    device: torch.device,
) -> float:
    """One step of the optimiser and of the moving average; the loss before it."""
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=options.mixed_precision):
        value = loss(trained, *(tensor.to(device) for tensor in batch))
    state.optimiser.zero_grad(set_to_none=True)
    value.backward()
    state.optimiser.step()
    if state.average is not None:
        state.average.update_parameters(state.network)
    return value.item()


def draw_ahead(
    draw: Callable[[int], Batch], steps: Iterable[int], device: torch.device
) -> Iterator[Batch]:
    """The batches of the steps in their order; for a GPU, threads draw them before they are needed.

    On the CPU threads would compete with the network. PyTorch's ``DataLoader`` would need ``draw``
    to be sent to other processes, which closures cannot be on Windows and macOS.
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
    """The learning rate of a step as a share of that at the start."""
    if options.schedule == "constant":
        return 1.0
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / options.steps))
