"""Free and peak main memory of this process (standard library alone)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from SFDALib.errors import OutOfMemoryError

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

CGROUPS = Path("/sys/fs/cgroup")
# Limit and use of a control group (v2, v1): containers and schedulers limit memory by it
CGROUP_FILES = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)


def available() -> int | None:
    """Bytes that this process can still allocate within the system's free memory and its own limits
    (control group, ``ulimit -v``); None where the system does not say.
    """
    return min(_bounds(), default=None)


def peak() -> int | None:
    """Peak memory of this process in bytes; None where the system does not say."""
    try:
        return _field("/proc/self/status", "VmHWM:")
    except (OSError, LookupError, ValueError):  # not Linux
        pass
    if resource is None:
        return None
    # On Linux ru_maxrss is inherited from the parent process, hence VmHWM there.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def refuse_beyond(need: float, what: str, remedy: str) -> None:
    """Refuse work that needs more memory than is free.

    Args:
        need: bytes.
        what: the beginning of the message: which input, and which work on it.
        remedy: the end of the message: what the user can do.

    Raises:
        OutOfMemoryError: fewer bytes are available.
    """
    free = available()
    if free is not None and need > free:
        raise OutOfMemoryError(
            f"{what}: needs about {need / 2**30:.1f} GiB of memory, {free / 2**30:.1f} GiB are"
            f" free; {remedy}"
        )


def _bounds() -> Iterator[int]:
    """Free bytes by each of the limits that the system states."""
    try:
        yield _field("/proc/meminfo", "MemAvailable:")
    except (OSError, LookupError, ValueError):  # not Linux
        try:
            yield os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, ValueError, OSError):
            return
    for limit, used in CGROUP_FILES:
        try:
            yield max(0, int((CGROUPS / limit).read_text()) - int((CGROUPS / used).read_text()))
        except (OSError, ValueError):  # no such group, or "max": no limit
            continue
    try:
        if resource is not None:
            address_space, _ = resource.getrlimit(resource.RLIMIT_AS)
            if address_space != resource.RLIM_INFINITY:
                yield max(0, address_space - _field("/proc/self/status", "VmSize:"))
    except (OSError, LookupError, ValueError):  # not Linux
        return


def _field(file: str, name: str) -> int:
    """Bytes of a line such as "MemAvailable:  1234 kB"."""
    lines = Path(file).read_text(encoding="ascii", errors="replace").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])
