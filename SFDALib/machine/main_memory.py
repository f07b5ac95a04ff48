"""How much main memory this process may still take, and has taken. Standard library alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from SFDALib.errors import OutOfMemoryError

CGROUPS = Path("/sys/fs/cgroup")
# v2 and v1: the limit and the use of a control group, by which containers and schedulers bound it
CGROUP_FILES = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)


def available() -> int | None:
    """Bytes that the system can give, within the limits set to this process (control group,
    ``ulimit -v``); None where the system does not say.
    """
    return min(_bounds(), default=None)


def peak() -> int | None:
    """Most bytes that this process has taken; None where the system does not say."""
    try:
        return _field("/proc/self/status", "VmHWM:")
    except (OSError, LookupError, ValueError):  # not Linux
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    # On Linux this begins with what the program that started us had taken.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
        1 if sys.platform == "darwin" else 1024
    )


def refuse_beyond(need: float, what: str, remedy: str) -> None:
    """Refuse before anything is loaded.

    Args:
        need: bytes.
        what: of what and for what, in words.

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
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            yield max(0, limit - _field("/proc/self/status", "VmSize:"))
    except (ImportError, OSError, LookupError, ValueError):  # Windows; not Linux
        return


def _field(file: str, name: str) -> int:
    """Bytes of a line such as "MemAvailable:  1234 kB"."""
    lines = Path(file).read_text(encoding="ascii", errors="replace").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])
