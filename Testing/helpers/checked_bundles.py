"""Bundles of every kind for the tests of bundles, and the one line that refuses a damaged one."""

from __future__ import annotations

import dataclasses
import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from bundles import describe

from SFDALib.bundle import bundle_files, source
from SFDALib.bundle.description import Description
from SFDALib.bundle.open_model import open_model
from SFDALib.errors import RequestError
from SFDALib.jobs.inspect import inspect
from SFDALib.volume.input_spec import InputSpec, Region, Resampling
from SFDALib.volume.normalisation import Normalisation

CPU = torch.device("cpu")
METADATA, INFERENCE, MODEL = bundle_files.METADATA, bundle_files.INFERENCE, bundle_files.MODEL


def dynunet(spatial_dims: int = 3, outputs: int = 3) -> dict[str, Any]:
    return {
        "_target_": "monai.networks.nets.DynUNet",
        "spatial_dims": spatial_dims,
        "in_channels": 1,
        "out_channels": outputs,
        "kernel_size": [3, 3, 3],
        "strides": [1, 2, [2] * spatial_dims],
        "upsample_kernel_size": [2, [2] * spatial_dims],
        "filters": [4, 8, 16],
        "norm_name": ["INSTANCE", {"affine": True}],
        "res_block": True,
    }


def describe_dynunet() -> Description:
    return replace(describe(3, 3), network=dynunet())


DESCRIPTIONS = {
    "2D, binary": describe(),
    "2D, binary, 2 outputs": replace(describe(), network=describe().network | {"out_channels": 2}),
    "2D, three channels": describe(2, 4, channels=3),
    "3D, three classes": describe(3, 3),
    "3D DynUNet": describe_dynunet(),
    "as nnU-Net": replace(
        describe_dynunet(),
        network=dynunet(outputs=2),
        early_head=None,
        diffusion=None,
        input_spec=InputSpec(
            1,
            None,
            (1.5, 1.5, 3.0),
            (
                Normalisation("zscore", within="body", channels=(0,)),
                Normalisation("fixed", 0.0, 255.0, 0.0, 255.0),
            ),
            is_2d=False,
            axes=(1, 0, 2),
            crop="nonzero",
            resampling=Resampling(3, False, True, True, "logits"),
            regions=(Region(1, 1), Region(0, 2)),
        ),
        windows="even",
        mirror_axes=(0, 2),
        ensemble=5,
    ),
    "plain": dataclasses.replace(
        describe(),
        early_head=None,
        diffusion=None,
        temperature=1.7,
        input_spec=dataclasses.replace(
            describe().input_spec,
            orientation=None,
            normalisation=Normalisation("fixed", -160.0, 240.0, 40.5, 99.25),
        ),
        provenance={"cases": 12, "seed": 0, "curve": [0.5, 0.25]},
        licence="CC-BY 4.0",
    ),
}


def zipped(bundle: Path, archive: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(bundle.rglob("*")):
            if file.is_file():
                packed.write(file, prefix + file.relative_to(bundle).as_posix())
    return archive


def change(bundle: Path, name: str, edit: Callable[[dict[str, Any]], object]) -> Path:
    """Edit one of the bundle's JSON files."""
    content = json.loads((bundle / name).read_text())
    edit(content)
    (bundle / name).write_text(json.dumps(content))
    return bundle


def refusal(path: Path, action: Callable[[Path], object] = inspect) -> str:
    """The one line with which an unusable bundle is refused; it names the bundle."""
    with pytest.raises(RequestError) as caught:
        action(path)
    line = str(caught.value)
    assert caught.value.exit_status == 2
    assert len(line.splitlines()) == 1
    assert str(path) in line
    return line


def load(path: Path) -> source.Source:
    return open_model(path).load(CPU)


def set_field(*path: str | int) -> Callable[[dict[str, Any], object], None]:
    def edit(content: dict[str, Any], value: object) -> None:
        for key in path[:-1]:
            content = content[key]
        if value is ...:
            del content[path[-1]]
        else:
            content[path[-1]] = value

    return edit


RESIDUAL = describe().network
DIFFUSION = describe().diffusion.network


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bundle, to be damaged."""
    return shutil.copytree(tiny_bundle, tmp_path / "copy")
