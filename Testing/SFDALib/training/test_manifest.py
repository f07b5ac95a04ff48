"""Training cases: a manifest or nnU-Net's raw folder, checked, and cached on the model's grid."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from refusals import refusal
from training_site import Site, refused

from SFDALib.training.manifest import load_cases, read_manifest
from SFDALib.volume.input_spec import InputSpec
from SFDALib.volume.normalisation import Normalisation

# --- Interruption ------------------------------------------------------------------------------


def test_a_case_that_was_half_cached_when_killed_is_cached_anew(site: Site) -> None:
    grid = InputSpec(1, "LPS", (3.0, 3.0, None), Normalisation(), is_2d=True)
    entries, cache = read_manifest(site.manifest), site.folder / "half"
    (whole, _) = load_cases(entries, "train", grid, 2, cache)
    expected = np.array(whole.image)
    (image_file, *_) = sorted(cache.glob("*.image.npy"))
    image_file.write_bytes(image_file.read_bytes()[:200])
    for file in cache.glob("*.label.npy"):
        file.unlink()
    (again, _) = load_cases(entries, "train", grid, 2, cache)
    assert np.array_equal(again.image, expected)


def test_a_changed_image_or_another_grid_is_not_taken_from_the_cache(site: Site) -> None:
    fine = InputSpec(1, "LPS", (3.0, 3.0, None), Normalisation(), is_2d=True)
    coarse = InputSpec(1, "LPS", (6.0, 6.0, None), Normalisation(), is_2d=True)
    entries, cache = read_manifest(site.manifest), site.folder / "grids"
    shapes = [
        load_cases(entries, "train", grid, 2, cache)[0].image.shape for grid in (fine, coarse)
    ]
    assert shapes == [(1, 10, 32, 28), (1, 10, 16, 14)]


# --- Bad requests ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("image,split\na.nii.gz,train\n", "no column label"),
        ("", "no column image, label, split"),
        ("image,label,split\na.nii.gz,a-brain.nrrd,val\n", "no row with split train"),
        ("image,label,split\nz.nii.gz,a-brain.nrrd,train\n", "line 2: no such file"),
        ("image,label,split\na.nii.gz,z.nrrd,train\n", "line 2: no such file"),
        ("image,label,split\na.nii.gz,,train\n", "line 2"),
        ("image,label,split\na.nii.gz,b-brain.nrrd,train\n", "another grid"),
        ("image,label,split\na.nii.gz;a.nii.gz,a-brain.nrrd,train\n", "found 2 channel(s)"),
        ("image,label,split\na.nii.gz,a.nii.gz,train\n", "found label 300"),
        ("image,label,split\n,a-brain.nrrd,train\n", "line 2"),
    ],
)
def test_a_bad_manifest_is_refused_in_one_line(
    site: Site, content: str, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = site.write("bad.csv", content)
    line = refused(site.segmentation("bad", manifest=manifest), caplog)
    assert expected in line
    assert not (site.folder / "bad").exists()


def test_a_label_beyond_the_described_ones_is_refused(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    image = sitk.ReadImage(str(site.folder / "a-brain.nrrd"))
    image[3, 3, 3] = 2
    sitk.WriteImage(image, str(site.folder / "two.nrrd"))
    manifest = site.write("two.csv", "image,label,split\na.nii.gz,two.nrrd,train\n")
    line = refused(site.segmentation("bad", manifest=manifest), caplog)
    assert "found label 2, expected at most 1" in line


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two cases of two channels; labels 0, 1, 2 and 4, as BraTS has them."""
    folder = tmp_path / "Dataset900_Phantom"
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    described = {"channel_names": {"0": "T1", "1": "T2"}, "file_ending": ".nrrd"}
    (folder / "dataset.json").write_text(json.dumps(described))
    rng = np.random.default_rng(0)
    for case in ("a", "b"):
        for channel in range(2):
            picture = sitk.GetImageFromArray(rng.normal(size=(4, 4, 4)))
            sitk.WriteImage(picture, str(folder / f"imagesTr/{case}_000{channel}.nrrd"))
        labels = np.resize(np.array([0, 1, 2, 4], np.uint8), (4, 4, 4))
        sitk.WriteImage(sitk.GetImageFromArray(labels), str(folder / f"labelsTr/{case}.nrrd"))
    return folder


def test_a_raw_folder_is_a_manifest_whose_labels_may_mean_others(raw: Path, tmp_path: Path) -> None:
    """BraTS: 1 necrosis, 2 edema, 4 enhancing; nnU-Net's conversion: 1 edema, 2 necrosis, 3."""
    entries = read_manifest(raw, "1=2,2=1,4=3")
    assert [[image.name for image in entry.images] for entry in entries] == [
        ["a_0000.nrrd", "a_0001.nrrd"],
        ["b_0000.nrrd", "b_0001.nrrd"],
    ]
    grid = InputSpec(2, None, (None,) * 3, Normalisation("none"), is_2d=False)
    (first, _) = load_cases(entries, "train", grid, 4, tmp_path / "cache")
    assert first.labels[0, 0].tolist() == [0, 2, 1, 3]
    plain = read_manifest(raw)
    assert "found label 4" in refusal(lambda: load_cases(plain, "train", grid, 4, tmp_path / "c"))


@pytest.mark.parametrize("words", ["1", "1=2=3", "a=b", "1=300"])
def test_labels_that_mean_nothing_are_refused(raw: Path, words: str) -> None:
    assert "--relabel" in refusal(lambda: read_manifest(raw, words))


def test_a_raw_folder_with_a_channel_missing_is_refused(raw: Path) -> None:
    (raw / "imagesTr/b_0001.nrrd").unlink()
    assert "b_0001.nrrd" in refusal(lambda: read_manifest(raw))
