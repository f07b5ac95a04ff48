"""How much memory is free, and how many patches fit."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from SFDALib.machine import main_memory

SHARE = 0.6  # of the free memory that a batch may take
LARGEST = 6 << 30  # bytes that it may take, however much is free: more gains nothing
# On a CPU, whatever is free: another batch gives other last digits. Larger ones gain nothing.
CPU_BATCH = 8
CPU_ROOM = 1 << 30  # bytes
GPU_BATCH = 64
UNKNOWN = 4 << 30
_sparing: ContextVar[bool] = ContextVar("sparing", default=False)

# By network and the shapes of its input: the count takes a tenth of a second, and an adaptation
# asks after every epoch.
_known: WeakKeyDictionary[nn.Module, dict[tuple[tuple[int, ...], ...], int]] = WeakKeyDictionary()


def known_free_bytes(device: torch.device) -> int | None:
    """Free memory of a device; None where the system does not say.

    Of a GPU also what torch keeps for later, which counts as taken there.
    """
    if device.type != "cuda":
        return main_memory.available()
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept


def free_bytes(device: torch.device) -> int:
    """Free memory of a device; a cautious constant where the system does not say."""
    known = known_free_bytes(device)
    return UNKNOWN if known is None else known


@contextmanager
def sparing() -> Iterator[None]:
    """Inside, patches go through networks one by one: for a second attempt after memory ran out."""
    token = _sparing.set(True)
    try:
        yield
    finally:
        _sparing.reset(token)


def activation_bytes(
    network: nn.Module, patch: tuple[int, ...], extra: tuple[Tensor, ...] = ()
) -> int:
    """Bytes of everything that the layers put out for one patch ``(C, ...)``, counted on the meta
    device: what training must keep and an upper bound for inference.

    Args:
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
    """How many patches ``(C, ...)`` go through the network at once.

    On a CPU this depends on the network and the patch alone, so that the same run gives the same
    result bit for bit; on a GPU it follows the memory that is free.
    """
    if _sparing.get():
        return 1
    if device.type == "cuda":
        most, room = GPU_BATCH, min(SHARE * free_bytes(device), LARGEST)
    else:
        most, room = CPU_BATCH, CPU_ROOM
    fits = int(room / max(activation_bytes(network, patch, extra), 1))
    return max(1, min(most, fits))
