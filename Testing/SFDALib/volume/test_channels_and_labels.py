"""Files that belong to one image: its channels on one grid, and labels as whole numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scene
from scene import GRID, around, image_on, labels_on, nifti, nrrd, nrrd_place

from SFDALib.errors import RequestError
from SFDALib.volume.geometry import Geometry
from SFDALib.volume.image_file import read_labels, read_volume
from SFDALib.volume.reading import Reading

TURN = scene.turned((12, -7, 20))
PLAIN = image_on(GRID)


# --- Channels ------------------------------------------------------------------------------------


def two_channels(folder: Path, second: Geometry) -> list[Path]:
    (folder / "a.nrrd").write_bytes(nrrd(nrrd_place(GRID), PLAIN))
    (folder / "b.nrrd").write_bytes(nrrd(nrrd_place(second), image_on(second)))
    return [folder / "a.nrrd", folder / "b.nrrd"]


def test_channels_may_differ_by_what_programs_round(tmp_path: Path) -> None:
    nearly = replace(GRID, origin=tuple(mm + 0.001 for mm in GRID.origin))
    volume = read_volume(two_channels(tmp_path, nearly))
    assert volume.array.shape[0] == 2 and not volume.notes


def test_channels_may_have_their_axes_in_another_order(tmp_path: Path) -> None:
    other = around((18, 40, 44), (3.0, 1.6, 1.5), (0, -1, 0, 0, 0, 1, 1, 0, 0))
    volume = read_volume(two_channels(tmp_path, other))
    assert np.array_equal(volume.array[0], volume.array[1])


def test_channels_on_another_grid_are_resampled_where_asked_for(tmp_path: Path) -> None:
    paths = two_channels(tmp_path, around((50, 50, 40), (1.1, 1.3, 1.2), tuple(TURN.ravel())))
    with pytest.raises(RequestError, match="--resample-channels"):
        read_volume(paths)
    volume = read_volume(paths, Reading(resample_channels=True))
    error = scene.error_of(volume, channel=1)
    assert min(error.dice) > 0.93 and max(error.ml) < 0.03 and error.value < 1, error
    assert "b.nrrd was resampled to the grid of a.nrrd" in " ".join(volume.notes)
    far = nrrd(nrrd_place(replace(GRID, origin=(500.0, 0.0, 0.0))), PLAIN)
    paths[1].write_bytes(far)
    with pytest.raises(RequestError, match="does not overlap"):
        read_volume(paths, Reading(resample_channels=True))


def test_the_channel_that_is_wrong_is_named(tmp_path: Path) -> None:
    paths = two_channels(tmp_path, GRID)
    bad = PLAIN.astype("<f4")
    bad[3, 4, 5] = np.nan
    for array, words in ((bad, "1 voxel(s) that are NaN"), (PLAIN * 0 + 7, "channel 2")):
        paths[1].write_bytes(nrrd(nrrd_place(GRID), array))
        with pytest.raises(RequestError) as caught:
            read_volume(paths)
        assert str(paths[1]) in str(caught.value) and words in str(caught.value)


# --- Labels --------------------------------------------------------------------------------------


def test_labels_that_were_rounded_are_whole_numbers(tmp_path: Path) -> None:
    labels = labels_on(GRID)
    off = labels.astype("<f4") * np.float32(1 - 3e-7) + np.float32(1e-7)
    (tmp_path / "a.nrrd").write_bytes(nrrd(nrrd_place(GRID), off))
    assert np.array_equal(read_labels(tmp_path / "a.nrrd").array[0], labels)
    shares = (labels * 100).astype("u1")
    (tmp_path / "a.nii").write_bytes(nifti(shares, GRID, scaling=(0.01, 0.0)))
    assert np.array_equal(read_labels(tmp_path / "a.nii").array[0], labels)
    (tmp_path / "b.nrrd").write_bytes(nrrd(nrrd_place(GRID), labels.astype("<f4") * 0.99))
    with pytest.raises(RequestError, match="whole-number labels"):
        read_labels(tmp_path / "b.nrrd")


@pytest.mark.parametrize("value", [-1, 256, 1000])
def test_the_label_that_is_wrong_is_named(value: int, tmp_path: Path) -> None:
    labels = labels_on(GRID).astype("<i2")
    labels[0, 0, 0] = value
    (tmp_path / "a.nrrd").write_bytes(nrrd(nrrd_place(GRID), labels))
    with pytest.raises(RequestError, match=f"found label {value},"):
        read_labels(tmp_path / "a.nrrd")
