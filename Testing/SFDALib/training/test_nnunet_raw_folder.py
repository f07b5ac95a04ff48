"""nnU-Net's raw folder as training cases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from refusals import refusal

from SFDALib.training.manifest import load_cases, read_manifest
from SFDALib.volume.input_spec import InputSpec
from SFDALib.volume.normalisation import Normalisation


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
