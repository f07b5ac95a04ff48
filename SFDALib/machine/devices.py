"""Which device computes, without ever falling back in silence."""

from __future__ import annotations

import gc
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from SFDALib.errors import RequestError
from SFDALib.machine import main_memory
from SFDALib.machine.batch_size import known_free_bytes

MPS_SINCE = (2, 11)  # earlier versions lack 3D operations there, or compute them wrongly
OLD_MPS = "found torch %s, expected at least 2.11 for an Apple GPU"
log = logging.getLogger(__name__)


def resolve(name: str) -> torch.device:
    """The torch device of "auto", "cpu", "cuda" (the first), "cuda:1" or "mps".

    Raises:
        RequestError: a device was asked for that this machine, or its torch, does not have.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda:0")
        if torch.backends.mps.is_available():
            if _mps_is_sound():
                return torch.device("mps")
            log.warning("%s: computing on the CPU", OLD_MPS % torch.__version__)
            return torch.device("cpu")
        log.warning(
            "no GPU that torch %s can use was found: computing on the CPU", torch.__version__
        )
        return torch.device("cpu")
    device = torch.device("cuda:0" if name == "cuda" else name)
    if device.type == "cuda" and device.index >= torch.cuda.device_count():
        raise RequestError(
            f"device: found {torch.cuda.device_count()} CUDA device(s) that torch"
            f" {torch.__version__} can use, expected {name}; choose another or --device cpu"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise RequestError("device: found no Apple GPU, expected mps; choose --device cpu")
    if device.type == "mps" and not _mps_is_sound():
        raise RequestError(
            f"device: {OLD_MPS % torch.__version__}; update torch, or choose --device cpu"
        )
    return device


def _mps_is_sound() -> bool:
    """Whether this torch computes on Apple GPUs what it computes elsewhere."""
    numbers = torch.__version__.split("+")[0].split(".")[:2]
    return tuple(int("".join(filter(str.isdigit, n)) or 0) for n in numbers) >= MPS_SINCE


def listed() -> list[dict[str, Any]]:
    """What this machine has to compute on: name as typed, title as shown, free memory in MB (None
    where the system does not say).
    """
    found = [torch.device("cpu")]
    found += [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available() and _mps_is_sound():
        found.append(torch.device("mps"))
    return [
        {"name": str(device), "title": describe(device), "free_mb": free_mb(device)}
        for device in found
    ]


def free_mb(device: torch.device) -> float | None:
    """Free memory of a device; None where the system does not say."""
    free = known_free_bytes(device)
    return None if free is None else round(free / 2**20, 1)


def describe(device: torch.device) -> str:
    """The device in words, for the report."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"cpu ({threads} thread{'s' if threads != 1 else ''})"
    return str(device)


def release(device: torch.device) -> None:
    """Give back what is cached on the device, and what a failure left in memory."""
    gc.collect()  # a failure that was told still holds the tensors of its frames, in a cycle
    if device.type == "cuda":
        torch.cuda.empty_cache()


def start_afresh(device: torch.device) -> None:
    """Give back what is cached on the device, and let ``peak_memory_mb`` begin anew.

    Of the process it does on Linux alone; elsewhere its peak remains that since the start.
    """
    release(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def peak_memory_mb(device: torch.device) -> dict[str, float]:
    """Largest memory since the start, or since ``start_afresh``: of the process, and of the GPU."""
    peaks = {}
    if device.type == "cuda":
        peaks["gpu"] = round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    process = main_memory.peak()
    if process is not None:
        peaks["process"] = round(process / 2**20, 1)
    return peaks
