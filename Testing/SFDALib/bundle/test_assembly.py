"""Classes of overlapping regions are those of painting one over another."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from SFDALib.bundle.assembly import Regions
from SFDALib.volume.conform import conform
from SFDALib.volume.geometry import Geometry, Volume
from SFDALib.volume.input_spec import InputSpec, Region
from SFDALib.volume.normalisation import Normalisation


def test_class_probabilities_of_regions_are_those_of_painting_one_over_another() -> None:
    p = torch.tensor([0.9, 0.6, 0.2])
    regions = (Region(0, 1), Region(1, 3), Region(2, 2))
    logits = Regions(torch.nn.Identity(), regions)(p.logit().reshape(1, 3, 1))
    expected = [0.1 * 0.4 * 0.8, 0.9 * 0.4 * 0.8, 0.2, 0.6 * 0.8]
    assert logits.exp().flatten().tolist() == pytest.approx(expected, rel=1e-5)


def test_labels_of_regions_are_painted_as_nnunet_does() -> None:
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(3, 6, 7, 8)).astype(np.float32))
    regions = (Region(0, 1), Region(1, 3), Region(2, 2))
    geometry = Geometry((8, 7, 6), (1.0, 1.0, 1.0))
    grid = InputSpec(1, None, (None,) * 3, Normalisation("none"), False, regions=regions)
    conformed = conform(Volume(rng.normal(size=(1, 6, 7, 8)), geometry), grid)
    q = Regions(torch.nn.Identity(), regions)(logits[None])[0].exp()
    painted = np.zeros((6, 7, 8), np.uint8)
    for channel, label in enumerate((1, 3, 2)):
        painted[logits[channel].numpy() > 0] = label
    assert (conformed.restore_labels(q) == painted).all()
