"""Labels and their probabilities from small maps, by hand: thresholds, cleaning, regions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from SFDALib.volume.cleaning import Cleaning
from SFDALib.volume.conform import conform
from SFDALib.volume.geometry import Geometry, Volume
from SFDALib.volume.input_spec import InputSpec, Region, Resampling
from SFDALib.volume.label_rules import least_byte
from SFDALib.volume.labelling import byte_maps
from SFDALib.volume.normalisation import Normalisation


def two_blobs(grid: InputSpec) -> tuple[Any, torch.Tensor]:
    """A block of 27 voxels with a hole of 1, and one of 8; of these one voxel is less certain."""
    geometry = Geometry((9, 8, 7), (1.0, 1.0, 2.0))
    conformed = conform(Volume(np.zeros((1, 7, 8, 9), np.float32), geometry), grid)
    p = torch.full((7, 8, 9), 0.1)
    p[1:4, 1:4, 1:4] = 0.9
    p[2, 2, 2] = 0.2
    p[5:7, 5:7, 5:7] = 0.9
    p[6, 6, 6] = 0.6
    return conformed, torch.stack([1 - p, p])


GRID = InputSpec(1, None, (None, None, None), Normalisation("none"), False)


@pytest.mark.parametrize("on", ["model", "input"])
@pytest.mark.parametrize(
    ("steps", "voxels"),
    [
        ([], 34),
        ([("KeepLargestConnectedComponent", {})], 26),
        ([("KeepLargestConnectedComponent", {}), ("FillHoles", {})], 27),
        ([("RemoveSmallObjects", {"min_size": 9})], 26),
        ([("RemoveSmallObjects", {"min_size": 20, "by_measure": True})], 26),  # 16 mm3 of 2 each
        ([("RemoveSmallObjects", {"min_size": 13, "by_measure": True})], 34),
        ([("LabelFilter", {"applied_labels": [2]})], 0),
    ],
)
def test_labels_are_cleaned_as_monai_cleans_them(
    on: str, steps: list[tuple[str, dict[str, Any]]], voxels: int
) -> None:
    cleaning = tuple(Cleaning(name, arguments, on) for name, arguments in steps)
    conformed, p = two_blobs(InputSpec(**{**vars(GRID), "cleaning": cleaning}))
    labels = conformed.restore_labels(p)
    assert int(labels.sum()) == voxels
    maps, of = byte_maps(conformed, p)
    assert of == [0, 1] and (maps.argmax(-1) == labels).all()


def test_a_threshold_of_the_models_own_decides() -> None:
    conformed, p = two_blobs(InputSpec(**{**vars(GRID), "threshold": 0.7}))
    labels = conformed.restore_labels(p)
    assert int(labels.sum()) == 33  # without the less certain voxel
    maps, _ = byte_maps(conformed, p)
    assert ((maps[..., 1] >= least_byte(conformed.input_spec)) == (labels > 0)).all()


def test_the_largest_byte_is_the_label_also_where_rounding_makes_them_equal() -> None:
    rng = np.random.default_rng(0)
    volume = Volume(np.zeros((1, 7, 8, 9), np.float32), Geometry((9, 8, 7), (1.0, 1.0, 2.0)))
    p = torch.softmax(torch.from_numpy(rng.normal(0, 0.02, (5, 7, 8, 9))).float(), 0)
    for maps_are in ("probabilities", "logits"):
        grid = InputSpec(**{**vars(GRID), "resampling": Resampling(maps=maps_are)})
        conformed = conform(volume, grid)
        maps, _ = byte_maps(conformed, p)
        assert (maps.argmax(-1) == conformed.restore_labels(p)).all()
        assert np.abs(maps / 255 - p.numpy().transpose(1, 2, 3, 0)).max() < 1.6 / 255


def test_regions_are_where_their_bytes_are_large_enough() -> None:
    """Painted in order they give the labels, whatever was cleaned away."""
    rng = np.random.default_rng(0)
    cleaning = (Cleaning("KeepLargestConnectedComponent", {"applied_labels": [0, 1]}, "input"),)
    regions = (Region(1, 1), Region(0, 2))
    grid = InputSpec(**{**vars(GRID), "regions": regions, "cleaning": cleaning})
    volume = Volume(np.zeros((1, 7, 8, 9), np.float32), Geometry((9, 8, 7), (1.0, 1.0, 2.0)))
    conformed = conform(volume, grid)
    inside, nested = torch.from_numpy(rng.random((2, 7, 8, 9))).float()
    p = torch.stack([(1 - inside) * (1 - nested), inside * (1 - nested), nested])
    maps, of = byte_maps(conformed, p)
    assert of == [1, 2] and least_byte(grid) == 128
    painted = np.zeros((7, 8, 9), np.uint8)
    for channel, label in enumerate(of):
        painted[maps[..., channel] >= 128] = label
    assert (painted == conformed.restore_labels(p)).all()
