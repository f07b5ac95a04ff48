"""Choose the device that computes, and its memory. A fall-back to the CPU is always reported."""

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

MPS_SINCE = (2, 11)  # earlier torch lacks 3D operations on Apple GPUs or computes them wrongly
OLD_MPS = "found torch %s, expected at least 2.11 for an Apple GPU"
log = logging.getLogger(__name__)


def resolve(name: str) -> torch.device:
    """The torch device for "auto", "cpu", "cuda" (the first), "cuda:1" or "mps".

    Raises:
        RequestError: a device that this machine, or its torch, does not have.
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
    """Whether this torch computes correctly on Apple GPUs."""
    numbers = torch.__version__.split("+")[0].split(".")[:2]
    return tuple(int("".join(filter(str.isdigit, n)) or 0) for n in numbers) >= MPS_SINCE


def listed() -> list[dict[str, Any]]:
    """The devices of this machine.

    Returns:
        For each "name" as typed, "title" as shown, and "free_mb", its free memory in MiB (None
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
    """Free memory of a device in MiB; None where the system does not say."""
    free = known_free_bytes(device)
    return None if free is None else round(free / 2**20, 1)


def describe(device: torch.device) -> str:
    """The device as the report names it, such as "cpu (8 threads)"."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"cpu ({threads} thread{'s' if threads != 1 else ''})"
    return str(device)


def release(device: torch.device) -> None:
    """Free memory cached by torch, and tensors that a caught exception still references."""
    gc.collect()  # its traceback and frames form a cycle
    if device.type == "cuda":
        torch.cuda.empty_cache()


def reset_peak_memory(device: torch.device) -> None:
    """Free cached memory, and reset what ``peak_memory_mb`` measures.

    The peak of the process can be reset on Linux only; elsewhere it is that since the start.
    """
    release(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def peak_memory_mb(device: torch.device) -> dict[str, float]:
    """Peak memory in MiB since the start or ``reset_peak_memory``: "process", and "gpu" on CUDA."""
    peaks = {}
    if device.type == "cuda":
        peaks["gpu"] = round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    process = main_memory.peak()
    if process is not None:
        peaks["process"] = round(process / 2**20, 1)
    return peaks
