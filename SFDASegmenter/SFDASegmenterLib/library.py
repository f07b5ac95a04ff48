"""Where SFDALib and the shipped samples lie. Standard library alone."""

from __future__ import annotations

import sys
from pathlib import Path

MODULE = Path(__file__).resolve().parent.parent
RESOURCES = MODULE / "Resources"
SAMPLES = RESOURCES / "Samples"
EXAMPLE_BUNDLE = SAMPLES / "brain-t1w"


def root() -> Path:
    """The folder that holds SFDALib: the module's own once installed, above it in the sources.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    for folder in (MODULE, MODULE.parent):
        if (folder / "SFDALib" / "__init__.py").is_file():
            return folder
    raise FileNotFoundError(
        f"found no SFDALib in {MODULE} or above it; the extension is incomplete: install it again"
    )


def make_importable() -> None:
    """Let this interpreter import SFDALib, after everything that it has already."""
    folder = str(root())
    if folder not in sys.path:
        sys.path.append(folder)
