"""What the tests share: a head with a brain in it, and small bundles with random weights."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from SFDALib.bundle import source
from SFDALib.bundle.description import (
    Description,
    DiffusionDescription,
    EarlyHeadDescription,
    Label,
)
from SFDALib.networks import catalogue
from SFDALib.networks.residual_unet import EarlyHead
from SFDALib.volume.geometry import Geometry, Volume
from SFDALib.volume.specification import Grid, Normalisation

if TYPE_CHECKING:
    from phantoms import Phantom

pytest_plugins = ["slicer_standin.fixtures", "recorded_jobs", "panel_bench"]

OBLIQUE = (0.96, -0.28, 0.0, 0.28 * 0.8, 0.96 * 0.8, -0.6, 0.28 * 0.6, 0.96 * 0.6, 0.8)
LEFT_HANDED = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def head(geometry: Geometry) -> Volume:
    """A bright brain (intensity 300) in a dimmer head (100) in air (0), with smooth borders.

    Its shape lives in LPS millimetres, so that any grid over the same box shows the same head: the
    brain is an ellipsoid of half axes 24, 30, 20 mm around (5, -3, 8), off-centre and so not
    symmetric.
    """
    index = np.indices(geometry.shape)[::-1].reshape(3, -1)
    direction = np.array(geometry.direction).reshape(3, 3)
    place = np.array(geometry.origin)[:, None] + direction @ (
        np.array(geometry.spacing)[:, None] * index
    )

    def inside(centre: tuple[float, ...], axes: tuple[float, ...]) -> np.ndarray:
        offset = (place - np.array(centre)[:, None]) / np.array(axes)[:, None]
        distance = (1 - np.sqrt((offset**2).sum(0))) * min(axes)  # about mm, positive inside
        return np.clip(distance + 0.5, 0, 1)

    skin = inside((5.0, -3.0, 4.0), (34.0, 42.0, 34.0))
    brain = inside((5.0, -3.0, 8.0), (24.0, 30.0, 20.0))
    return Volume((100 * skin + 200 * brain).reshape(1, *geometry.shape), geometry)


def geometry_around_head(
    size: tuple[int, int, int],
    spacing: tuple[float, float, float],
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
) -> Geometry:
    """A grid whose centre lies in the head's."""
    centre = np.array(direction).reshape(3, 3) @ (np.array(spacing) * (np.array(size) - 1) / 2)
    origin = np.array((5.0, -3.0, 4.0)) - centre
    return Geometry(size, spacing, tuple(float(mm) for mm in origin), direction)


def describe(spatial_dims: int = 2, classes: int = 2, channels: int = 1) -> Description:
    """A bundle's description with everything in it, for networks as small as they get."""
    outputs = 1 if classes == 2 else classes
    patch_size = (32, 32) if spatial_dims == 2 else (16, 32, 32)
    spacing = (3.0, 3.0, None) if spatial_dims == 2 else (3.0, 3.0, 4.0)
    colors = ((250, 170, 70), (70, 170, 250), (120, 220, 90))
    names = ("Brain", "Lesion", "Ventricle")
    return Description(
        name="Tiny test model",
        modality="synthetic head",
        network={
            "_target_": "SFDALib.networks.residual_unet.ResidualUNet",
            "spatial_dims": spatial_dims,
            "in_channels": channels,
            "out_channels": outputs,
            "features": 4,
        },
        grid=Grid(channels, "LPS", spacing, Normalisation(), slices=spatial_dims == 2),
        patch_size=patch_size,
        labels=tuple(
            Label(value, names[value - 1], colors[value - 1], None, (10.0, 200.0), 60.0, 1200.0)
            for value in range(1, classes)
        ),
        early_head=EarlyHeadDescription(level=0, channels=4),
        diffusion=DiffusionDescription(
            network={
                "_target_": "SFDALib.networks.diffusion_unet.ConditionalDiffusionUNet",
                "spatial_dims": spatial_dims,
                "image_channels": channels,
                "condition_channels": classes,  # foreground classes and the body
                "channels": [8, 8],
                "num_res_blocks": 1,
                "attention_levels": [False, False],
                "num_head_channels": [0, 8],
                "norm_num_groups": 4,
            },
            spacing=(4.0, 4.0, None),
            timesteps=50,
            foreground=True,
        ),
    )


def write_bundle(path: Path, description: Description, seed: int = 0) -> Path:
    """A complete bundle with random weights."""
    torch.manual_seed(seed)
    network = catalogue.build(description.network)
    outputs = description.out_channels
    head_weights = EarlyHead(description.spatial_dims, 4, outputs).state_dict()
    diffusion = catalogue.build(description.diffusion.network)
    path.mkdir(parents=True)
    source.write(path, description, network.state_dict(), head_weights, diffusion.state_dict())
    return path


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 2D binary bundle with early head and diffusion model, random weights. Read only."""
    return write_bundle(tmp_path_factory.mktemp("bundles") / "tiny", describe())


@pytest.fixture(scope="session")
def head_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An oblique, anisotropic head, 36x40x14 voxels of 2.5x2.2x6 mm, as NRRD. Read only."""
    import SimpleITK as sitk

    volume = head(geometry_around_head((36, 40, 14), (2.5, 2.2, 6.0), OBLIQUE))
    path = tmp_path_factory.mktemp("images") / "head.nrrd"
    image = sitk.Cast(volume.to_sitk(), sitk.sitkInt16)
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Phantom]:
    """``phantom(spatial_dims=2, classes=2, channels=1)``: made once each. Read only."""
    import phantoms

    folder = tmp_path_factory.mktemp("phantoms")

    @functools.cache
    def made(spatial_dims: int, classes: int, channels: int) -> Phantom:
        name = f"{spatial_dims}d-{classes}-classes-{channels}-channels"
        return phantoms.make(folder / name, spatial_dims, classes, channels)

    def phantom(spatial_dims: int = 2, classes: int = 2, channels: int = 1) -> Phantom:
        return made(spatial_dims, classes, channels)

    return phantom
