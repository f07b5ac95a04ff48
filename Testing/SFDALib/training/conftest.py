"""A source site, and the trainings that tests share; made once for each file of tests."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import SimpleITK as sitk
from heads import head
from training_site import DIFFUSION, GEOMETRIES, SEGMENTATION, Site, sfda


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = Site(tmp_path_factory.mktemp("site"))
    rows = [("image", "label", "split")]
    splits = {"a": "train", "b": "train", "c": "val", "d": "test"}
    for name, geometry in GEOMETRIES.items():
        volume = head(geometry)
        sitk.WriteImage(
            sitk.Cast(volume.to_sitk(), sitk.sitkInt16), str(site.folder / f"{name}.nii.gz")
        )
        brain = sitk.Cast(volume.to_sitk() > 200, sitk.sitkUInt8)
        sitk.WriteImage(brain, str(site.folder / f"{name}-brain.nrrd"))
        rows.append((f"{name}.nii.gz", f"{name}-brain.nrrd", splits[name]))
    with open(site.manifest, "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(rows)
    site.write("segmentation.json", SEGMENTATION)
    site.write("diffusion.json", DIFFUSION)
    return site


@pytest.fixture(scope="module")
def segmented(site: Site) -> Path:
    """A bundle with a segmentation network, by a training of 60 steps without interruption."""
    sfda(site.segmentation("one"))
    return site.folder / "one"


@pytest.fixture(scope="module")
def trained(site: Site, segmented: Path) -> Path:
    """A complete bundle: segmentation, early head, diffusion, each a training of its own."""
    short = ["--manifest", str(site.manifest), "--batch", "4", "--device", "cpu"]
    one, two, three = (str(site.folder / name) for name in ("one", "two", "three"))
    sfda(["train", "early-head", "--bundle", one, "--output", two, "--steps", "20", *short])
    config = str(site.folder / "diffusion.json")
    grid = ["--config", config, "--patch-size", "24,24", "--corruption", "0.5"]
    grid += ["--half", "--augment", "intensity"]
    sfda(["train", "diffusion", "--bundle", two, "--output", three, "--steps", "4", *grid, *short])
    return site.folder / "three"
