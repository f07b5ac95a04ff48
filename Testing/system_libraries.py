"""Which of the system's libraries the stand-in for Slicer needs and this machine lacks.

Standard library alone, readable by Python 3.9: Testing/dev.py asks before an environment exists.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

# Linked by PySide6 and VTK and in none of their wheels: file, Debian's package.
LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libfreetype.so.6": "libfreetype6",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libxkbcommon.so.0": "libxkbcommon0",
}
# What draws without a graphics card; VTK crashes where there is none.
RENDERERS = ("swrast_dri.so", "libdril_dri.so")
RENDERER_PACKAGE = "libgl1-mesa-dri"


def missing_packages() -> list[str]:
    """Debian's packages that are to be installed; empty on other systems, which bring them."""
    if sys.platform != "linux":
        return []
    packages = [package for file, package in LIBRARIES.items() if not _loads(file)]
    folders = [*Path("/usr").glob("lib*/dri"), *Path("/usr").glob("lib*/*/dri")]
    if not any((folder / name).exists() for folder in folders for name in RENDERERS):
        packages.append(RENDERER_PACKAGE)
    return packages


def _loads(file: str) -> bool:
    try:
        ctypes.CDLL(file)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    print(" ".join(missing_packages()))
