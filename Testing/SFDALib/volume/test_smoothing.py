"""Probabilities of a 2D model, averaged across slices with weights by mm."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from heads import OBLIQUE

from SFDALib.volume.cleaning import PROBABILITIES, SMOOTH_SLICES, Cleaning
from SFDALib.volume.conform import conform
from SFDALib.volume.geometry import Geometry, Volume
from SFDALib.volume.input_spec import InputSpec
from SFDALib.volume.labelling import byte_maps
from SFDALib.volume.normalisation import Normalisation
from SFDALib.volume.smoothing import smooth_slices


@pytest.mark.parametrize("mm", [2.0, 3.5, 5.0])
def test_a_slices_weight_falls_with_its_distance_in_mm(mm: float) -> None:
    p = torch.zeros(1, 21, 2, 3)
    p[0, 10] = 1
    smoothed = smooth_slices(p, mm, 3.0)[0, :, 0, 0]
    assert smoothed.sum() == pytest.approx(1)
    for steps in (1, 2):
        expected = math.exp(-((steps * mm) ** 2) / 18)
        for way in (-steps, steps):
            assert float(smoothed[10 + way] / smoothed[10]) == pytest.approx(expected, abs=1e-5)


def test_slices_far_apart_a_single_one_and_equal_ones_stay_as_they_are() -> None:
    p = torch.rand(3, 5, 2, 2)
    assert smooth_slices(p, 9.1, 3.0) is p
    assert smooth_slices(p[:, :1], 1.0, 3.0).shape == (3, 1, 2, 2)
    assert torch.equal(smooth_slices(p[:, :1], 1.0, 3.0), p[:, :1])
    equal = torch.full((2, 5, 2, 2), 0.3)
    assert torch.allclose(smooth_slices(equal, 4.0, 3.0), equal), "also the first and the last"


def test_a_missing_slice_is_filled_along_the_axis_that_the_model_sees_slice_by_slice() -> None:
    """The input's slices of 3 mm lie along I; a 2D model that wants "SLA" sees them along k."""
    step = Cleaning(SMOOTH_SLICES, {"sigma_mm": 3.0}, PROBABILITIES)
    p = np.zeros((8, 9, 7), np.float32)
    p[2:6, 2:7, 1:6] = 0.9
    p[:, :, 3] = 0.1
    volume = Volume(p[None], Geometry((7, 9, 8), (3.0, 1.0, 2.0), direction=OBLIQUE))
    found = []
    for cleaning in ((), (step,)):
        spec = InputSpec(
            *(1, None, (None, None, None), Normalisation("none"), True),
            axes=(2, 0, 1),
            cleaning=cleaning,
        )
        conformed = conform(volume, spec)
        assert conformed.geometry.spacing_kji[0] == 3.0
        map_ = torch.from_numpy(conformed.array)
        probabilities = torch.cat([1 - map_, map_])
        found.append(conformed.restore_labels(probabilities))
        maps, _ = byte_maps(conformed, probabilities)
        assert (maps.argmax(-1) == found[-1]).all()
    before, after = found
    assert not before[:, :, 3].any()
    # weights 1, 0.607, 0.135, 0.011: 0.1 * 1 + 0.9 * 2 * 0.742 of 2.506 is more than half
    assert after[2:6, 2:7, 3].all()
    assert int(after.sum()) == 4 * 5 * 5
