"""Run the command line twice: on a disk with a fault, and again when the fault is mended.

    python faulty_disk.py FAULT FOLDER AGAIN WORD...

In ``FOLDER`` something is mounted, limited or forbidden, so this is for a process of its own, and
where it mounts for one with mounts of its own (``unshare --mount``). The words are carried out with
``{out}`` for ``FOLDER/out``, then once more for ``FOLDER/AGAIN``. The last line on standard output
is JSON: the two exit statuses, and the names that were in ``FOLDER`` in between.

FAULT is one of

    small=KB    a disk of so many KB; then a large one
    read-only   a disk that may not be written; then it may
    forbidden   a folder without permission to write; then with it
    limit=KB    files may not grow beyond so many KB (``ulimit -f``); then they may
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

sys.dont_write_bytecode = True  # a compiled module would be cut short by the limit, and kept

from SFDALib.__main__ import main  # noqa: E402


def _mount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)


def _limit(kilobytes: int | None) -> None:
    import resource  # of POSIX systems alone

    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    soft = hard if kilobytes is None else 1024 * kilobytes
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))  # Python ignores the signal


def _break(fault: str, folder: Path) -> Callable[[], object]:
    """Bring the fault about; what is returned mends it."""
    kind, _, size = fault.partition("=")
    if kind == "small":
        _mount(folder, f"size={size}k")
        return lambda: _mount(folder, "remount,size=1g")
    if kind == "read-only":
        _mount(folder, "ro")
        return lambda: _mount(folder, "remount,rw")
    if kind == "forbidden":
        folder.chmod(0o500)
        return lambda: folder.chmod(0o700)
    assert kind == "limit", fault
    _limit(int(size))
    return lambda: _limit(None)


if __name__ == "__main__":
    fault, place, again, *words = sys.argv[1:]
    folder = Path(place)
    mend = _break(fault, folder)
    first = main([word.replace("{out}", f"{folder}/out") for word in words])
    left = sorted(entry.relative_to(folder).as_posix() for entry in folder.rglob("*"))
    mend()
    second = main([word.replace("{out}", f"{folder}/{again}") for word in words])
    print(json.dumps({"first": first, "left": left, "second": second}))
