"""What the tests share: a head with a brain in it, and small bundles with random weights.

Nothing here imports torch before a test asks for a model: many tests need none, and the import
takes seconds in each process.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from phantoms import Phantom

pytest_plugins = [
    "slicer_standin.fixtures",
    "recorded_jobs",
    "command_words",
    "jobs_here",
    "panel_bench",
    "scene_bench",
]


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 2D binary bundle with early head and diffusion model, random weights. Read only."""
    from bundles import describe, write_bundle

    return write_bundle(tmp_path_factory.mktemp("bundles") / "tiny", describe())


@pytest.fixture(scope="session")
def head_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An oblique, anisotropic head, 36x40x14 voxels of 2.5x2.2x6 mm, as NRRD. Read only."""
    import SimpleITK as sitk
    from heads import OBLIQUE, geometry_around_head, head

    volume = head(geometry_around_head((36, 40, 14), (2.5, 2.2, 6.0), OBLIQUE))
    path = tmp_path_factory.mktemp("images") / "head.nrrd"
    image = sitk.Cast(volume.to_sitk(), sitk.sitkInt16)
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Phantom]:
    """``phantom(spatial_dims=2, classes=2, channels=1)``: made once each. Read only.

    Training one takes about 5 s: the processes of pytest-xdist share them.
    """
    import phantoms
    from filelock import FileLock

    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "phantoms"
    folder.mkdir(exist_ok=True)

    @functools.cache
    def made(spatial_dims: int, classes: int, channels: int) -> Phantom:
        name = f"{spatial_dims}d-{classes}-classes-{channels}-channels"
        with FileLock(folder / f"{name}.lock"):
            if not (folder / name / "bundle").exists():  # written whole or not at all
                return phantoms.make(folder / name, spatial_dims, classes, channels)
        return phantoms.existing(folder / name)

    def phantom(spatial_dims: int = 2, classes: int = 2, channels: int = 1) -> Phantom:
        return made(spatial_dims, classes, channels)

    return phantom
