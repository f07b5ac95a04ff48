"""Source models that really segment: the head of conftest.py, its labels, a bundle trained on it.

Trained through the command line within seconds, small and good enough: Dice about 0.9 on their own
image. What random weights predict is nothing, and nothing shows no mistake.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from bundles import describe
from heads import OBLIQUE, geometry_around_head, head

from SFDALib.__main__ import main
from SFDALib.bundle import metadata as metadata_json
from SFDALib.volume.geometry import Geometry, Volume


@dataclass(frozen=True)
class Phantom:
    """A file with a head, its reference segmentation, and the bundle trained on both."""

    image: Path
    labels: Path
    bundle: Path


def make(folder: Path, spatial_dims: int, classes: int, channels: int) -> Phantom:
    """Write a head and train a segmentation network, an early head and a diffusion network on it.

    Of three classes the second is a lesion: an ellipsoid of half axes 12, 14, 12 mm, brighter than
    the brain around it. Of three channels the second and third are dimmer copies.
    """
    volume = head(geometry_around_head((36, 40, 14), (2.5, 2.2, 6.0), OBLIQUE))
    image, geometry = volume.array.copy(), volume.geometry
    labels = (image[0] > 200).astype(np.uint8)
    if classes == 3:
        index = np.indices(geometry.shape)[::-1].reshape(3, -1)
        place = np.array([geometry.to_lps(voxel) for voxel in index.T])
        inside = (((place - (11.0, -1.0, 8.0)) / (12.0, 14.0, 12.0)) ** 2).sum(1) < 1
        lesion = inside.reshape(geometry.shape)
        image[0][lesion] = 500
        labels[lesion] = 2
    if channels == 3:
        image = np.concatenate([image, 0.5 * image, 0.8 * image])
    folder.mkdir(parents=True)
    write(folder / "head.nrrd", image, geometry)
    sitk.WriteImage(Volume(labels[None], geometry).to_sitk(), str(folder / "labels.nrrd"))
    _train(folder, spatial_dims, classes, channels)
    return existing(folder)


def existing(folder: Path) -> Phantom:
    """What ``make`` wrote into this folder."""
    return Phantom(folder / "head.nrrd", folder / "labels.nrrd", folder / "bundle")


def write(path: Path, image: np.ndarray, geometry: Geometry) -> Path:
    """Write intensities (C, K, J, I) as 16-bit numbers, as scanners do."""
    pixels = sitk.sitkInt16 if len(image) == 1 else sitk.sitkVectorInt16
    sitk.WriteImage(sitk.Cast(Volume(image, geometry).to_sitk(), pixels), str(path))
    return path


def _train(folder: Path, spatial_dims: int, classes: int, channels: int) -> None:
    description = describe(spatial_dims, classes, channels)
    metadata, inference = metadata_json.to_json(description)
    measured = ("early_head", "diffusion", "provenance", "temperature")
    config = {key: value for key, value in metadata["sfda"].items() if key not in measured}
    config |= {"name": "Phantom", "network": inference["network_def"]}
    config["labels"] = [
        {key: label[key] for key in ("value", "name", "color")} for label in config["labels"]
    ]
    (folder / "segmentation.json").write_text(json.dumps(config))
    (folder / "diffusion.json").write_text(json.dumps(asdict(description.diffusion)))
    (folder / "manifest.csv").write_text("image,label,split\nhead.nrrd,labels.nrrd,train\n")

    def train(kind: str, output: str, steps: int, rate: float, *words: str) -> None:
        common = ["--manifest", f"{folder}/manifest.csv", "--output", f"{folder}/{output}"]
        batch = "8" if spatial_dims == 2 else "2"
        schedule = ["--steps", str(steps), "--learning-rate", str(rate), "--batch", batch]
        status = main(["train", kind, *common, *schedule, "--device", "cpu", *words])
        assert status == 0, kind

    patch = "24,24" if spatial_dims == 2 else "16,24,24"
    base, headed = f"{folder}/base", f"{folder}/headed"
    train("segmentation", "base", 100, 1e-2, "--config", f"{folder}/segmentation.json")
    train("early-head", "headed", 20, 1e-2, "--bundle", base)
    config = ["--config", f"{folder}/diffusion.json", "--patch-size", patch]
    train("diffusion", "bundle", 10, 1e-3, "--bundle", headed, *config)
