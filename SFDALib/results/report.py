"""report.json: what was run, on what, with which versions, and what came of it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from SFDALib import NOTICE, __version__
from SFDALib.errors import shown
from SFDALib.json_file import plain

REVIEW = (
    f"{NOTICE} Results must be reviewed by a qualified person and must not be the sole basis of a"
    " clinical decision."
)

_PACKAGES = ("torch", "monai", "numpy", "scikit-image", "SimpleITK")


def write_report(path: str | os.PathLike[str], report: Mapping[str, Any]) -> None:
    """Write ``report`` with the notice as JSON, keys sorted, so that equal runs compare equal.

    NumPy scalars and arrays become numbers and lists, paths become text, bytes of file names that
    are no text become escapes, and floats that JSON has no word for (NaN, infinities) null.
    """
    content = plain({**report, "notice": REVIEW}, shown)
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")


def software_versions() -> dict[str, str | None]:
    """Versions of Python, SFDA and of the packages that compute; None for one not installed."""
    versions: dict[str, str | None] = {"python": platform.python_version(), "SFDA": __version__}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return versions
