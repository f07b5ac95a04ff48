"""What an imported model lacks is trained for it, and the methods that want it then work: an early
head and a diffusion model, for nnU-Net's and MONAI's models as they lie there.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from monai_models import CONFIGURATIONS, write_published
from monai_models import network as network_of
from nnunet_models import SETTINGS, image, write_model
from training_site import DIFFUSION_NETWORK

from SFDALib.__main__ import main
from SFDALib.bundle.open_model import open_model
from SFDALib.jobs.inspect import inspect
from SFDALib.volume.geometry import Volume
from SFDALib.volume.image_file import read_labels

pytest.importorskip("dynamic_network_architectures", reason="nnU-Net's networks")
FLAT = replace(SETTINGS["2d plain, thick slices"], image_size=(4, 30, 28))
DIFFUSION = {
    "network": DIFFUSION_NETWORK,
    "spacing": [2.0, 2.0, None],
    "timesteps": 20,
}


def nnunet(folder: Path) -> Path:
    return write_model(folder / "nnUNetTrainer__nnUNetPlans__2d", FLAT, steps=10)


def nnunet_with_regions(folder: Path) -> Path:
    setting = replace(SETTINGS["2d residual, regions"], image_size=FLAT.image_size)
    return write_model(folder / "nnUNetTrainer__nnUNetPlans__2d", setting, steps=10)


def monai(folder: Path) -> Path:
    """A 2D SegResNet, which has early stages."""
    network = {"_target_": "SegResNet", "spatial_dims": 2, "in_channels": 1, "out_channels": 4}
    network |= {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]}
    short = {**CONFIGURATIONS["short axis"], "network_def": network}
    return write_published(folder / "short_axis", "short axis", short, network_of(short))


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    volume, labels = image(FLAT)
    sitk.WriteImage(volume.to_sitk(), str(tmp_path / "image.nrrd"))
    reference = Volume(labels[None], volume.geometry).to_sitk()
    sitk.WriteImage(reference, str(tmp_path / "labels.nrrd"))
    path = tmp_path / "cases.csv"
    path.write_text("image,label,split\nimage.nrrd,labels.nrrd,train\n")
    return path


def run(bundle: Path, folder: Path, method: str, *options: str) -> dict[str, Any]:
    output = folder / f"{method} result"
    files = ["--bundle", bundle, "--input", folder / "image.nrrd", "--output", output]
    words = [*map(str, files), "--method", method, "--device", "cpu", "--gate", "off"]
    words += [word for each in options for word in ("--option", each)]
    assert main(["run", *words]) == 0
    labels = read_labels(output / "segmentation.seg.nrrd").array
    assert labels.shape[1:] == FLAT.image_size and np.isin(labels, range(4)).all()
    return json.loads((output / "report.json").read_text(encoding="utf-8"))


def train(kind: str, model: Path, cases: Path, *words: str) -> Path:
    output = cases.parent / f"with {kind}"
    files = ["--manifest", cases, "--bundle", model, "--output", output]
    words = ("--steps", "2", "--batch", "2", "--device", "cpu", *words)
    assert main(["train", kind, *map(str, files), *words]) == 0
    return output


@pytest.mark.parametrize("model", [nnunet, monai])
def test_a_model_with_a_head_trained_for_it_adapts_its_early_features(
    tmp_path: Path, cases: Path, model: Any
) -> None:
    folder = model(tmp_path)
    assert "early-features" in inspect(folder)["unavailable"]
    headed = train("early-head", folder, cases)
    report = run(headed, tmp_path, "early-features", "epochs=1")
    assert report["adaptation"]["curves"]
    assert report["bundle"]["imported"]["from"] in ("nnU-Net v2", "MONAI bundle")
    theirs, ours = (open_model(path).describe() for path in (folder, headed))
    assert ours.input_spec == theirs.input_spec and ours.network == theirs.network


@pytest.mark.parametrize("model", [nnunet, nnunet_with_regions, monai])
def test_a_model_with_a_diffusion_model_trained_for_it_serves_heal(
    tmp_path: Path, cases: Path, model: Any
) -> None:
    folder = model(tmp_path)
    classes = len(inspect(folder)["labels"])
    network = {**DIFFUSION["network"], "condition_channels": classes}
    config = tmp_path / "diffusion.json"
    config.write_text(json.dumps({**DIFFUSION, "network": network}))
    complete = train("diffusion", folder, cases, "--config", str(config), "--patch-size", "16,16")
    sure = ("tau1=10", "tau2=1000")  # that something is left of what such a model says
    report = run(complete, tmp_path, "heal", "samples=1", "steps=2", *sure)
    assert len(report["details"]["samples"]) == 1
    assert (tmp_path / "heal result/samples/sample_0.nrrd").exists()
