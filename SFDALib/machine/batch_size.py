"""How much memory a device has free, and how many patches fit into a batch."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from SFDALib.machine import main_memory

SHARE = 0.6  # of a GPU's free memory that a batch may take
LARGEST = 6 << 30  # bytes that a batch may take on a GPU: larger batches are not faster
# On a CPU the batch must not depend on the free memory: another batch size changes the last digits.
# Larger batches are not faster.
CPU_BATCH = 8
CPU_ROOM = 1 << 30  # bytes that a batch may take on a CPU
GPU_BATCH = 64
UNKNOWN = 4 << 30  # bytes assumed free where the system does not say
_single: ContextVar[bool] = ContextVar("one_patch_at_a_time", default=False)

# Cache by network and input shapes: counting takes 0.1 s, and adaptation asks after every epoch.
_known: WeakKeyDictionary[nn.Module, dict[tuple[tuple[int, ...], ...], int]] = WeakKeyDictionary()


def known_free_bytes(device: torch.device) -> int | None:
    """Free memory of a device in bytes; None where the system does not say.

    On a GPU, memory that torch has reserved but not allocated counts as free.
    """
    if device.type != "cuda":
        return main_memory.available()
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + cached


def free_bytes(device: torch.device) -> int:
    """Free memory of a device in bytes; ``UNKNOWN`` where the system does not say."""
    known = known_free_bytes(device)
    return UNKNOWN if known is None else known


@contextmanager
def one_patch_at_a_time() -> Iterator[None]:
    """Within this context ``batch_that_fits`` returns 1: to retry after an out-of-memory error."""
    token = _single.set(True)
    try:
        yield
    finally:
        _single.reset(token)


def activation_bytes(
    network: nn.Module, patch: tuple[int, ...], extra: tuple[Tensor, ...] = ()
) -> int:
    """Bytes of the outputs of all layers for one patch, counted on the meta device.

    Training must keep them; for inference they are an upper bound.

    Args:
        patch: shape ``(C, ...)``.
        extra: further arguments of the network's forward, on the meta device.
    """
    known = _known.setdefault(network, {})
    shapes = (patch, *(tuple(tensor.shape) for tensor in extra))
    if shapes not in known:
        known[shapes] = _count(network, patch, extra)
    return known[shapes]


def _count(network: nn.Module, patch: tuple[int, ...], extra: tuple[Tensor, ...]) -> int:
    counted = 0

    def count(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal counted
        if isinstance(output, Tensor):
            counted += output.numel() * output.element_size()

    shadow = copy.deepcopy(network).to("meta")
    for module in shadow.modules():
        if not list(module.children()):
            module.register_forward_hook(count)
    with torch.no_grad():
        shadow(torch.empty((1, *patch), device="meta"), *extra)
    return counted


def batch_that_fits(
    network: nn.Module,
    patch: tuple[int, ...],
    device: torch.device,
    extra: tuple[Tensor, ...] = (),
) -> int:
    """How many patches go through the network at once, at least 1.

    On a CPU this depends on the network and the patch alone, so that the same run gives the same
    result bit for bit; on a GPU it depends on the free memory.

    Args:
        patch: shape ``(C, ...)``.
        extra: as for ``activation_bytes``.
    """
    if _single.get():
        return 1
    if device.type == "cuda":
        most, room = GPU_BATCH, min(SHARE * free_bytes(device), LARGEST)
    else:
        most, room = CPU_BATCH, CPU_ROOM
    fits = int(room / max(activation_bytes(network, patch, extra), 1))
    return max(1, min(most, fits))
