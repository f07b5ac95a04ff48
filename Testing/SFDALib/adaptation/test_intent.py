"""InTEnt: predictions with blended statistics, and their weights."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from small_models import (
    INSTANCE_3D,
    image,
    model,
    with_network,
)
from torch import nn

from SFDALib.adaptation import intent
from SFDALib.adaptation.common.batch_norm import reestimate
from SFDALib.adaptation.common.patches import TargetPatches
from SFDALib.bundle.source import Source
from SFDALib.inference.predict import predict
from SFDALib.methods import registry
from SFDALib.methods.option import PUBLISHED
from SFDALib.methods.outcome import Segmented
from SFDALib.progress import silent


def blended(source: Source, **options: Any) -> Segmented:
    method = registry.find("intent")
    values, target = method.values(options, PUBLISHED), image()
    p = predict(source, target.array, values)
    return registry.entry(method)(source, target, p, values, 0, silent)


def test_intent_weighs_foreground_and_background_alike() -> None:
    """One sure foreground voxel, three background voxels of 1/4: (0 + H(1/4)) / 2."""
    p = torch.tensor([1.0, 0.25, 0.25, 0.25]).view(1, 1, 4)
    bits = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    found = intent.balanced_entropy(torch.stack([1 - p, p]))
    assert found == pytest.approx(bits / 2)
    assert intent.balanced_entropy(torch.stack([1 - p[..., 1:], p[..., 1:]])) == pytest.approx(bits)


def test_intent_gives_the_surest_map_e_times_the_weight_of_the_least_sure() -> None:
    low, middle, high = intent.weights([0.1, 0.2, 0.3])
    assert low / high == pytest.approx(math.e) and middle / high == pytest.approx(math.sqrt(math.e))
    assert low + middle + high == pytest.approx(1)
    assert intent.weights([0.2, 0.2]) == pytest.approx([0.5, 0.5])


def test_intent_averages_predictions_with_blended_statistics() -> None:
    """Against networks of which every mean and variance is blended by hand."""
    source, target = model(), image()
    found = blended(source, blends=3)
    reestimated = copy.deepcopy(source.network)
    reestimate(reestimated, TargetPatches(source, [target.array]), 24)
    options, maps = registry.find("none").values({}), []
    for rate in (0, 0.5, 1):
        network = copy.deepcopy(source.network)
        for mine, theirs in zip(network.modules(), reestimated.modules(), strict=True):
            if isinstance(mine, nn.BatchNorm2d):
                mine.running_mean = (1 - rate) * mine.running_mean + rate * theirs.running_mean
                mine.running_var = (1 - rate) * mine.running_var + rate * theirs.running_var
        maps.append(predict(source, target.array, options, network=network))
    shares = intent.weights([intent.balanced_entropy(p) for p in maps])
    expected = sum(share * p for share, p in zip(shares, maps, strict=True))
    torch.testing.assert_close(found.probabilities, expected, atol=2e-3, rtol=0)
    assert [one["rate"] for one in found.report["blends"]] == [0, 0.5, 1]
    assert [one["weight"] for one in found.report["blends"]] == pytest.approx(shares, abs=1e-5)


def test_intent_changes_nothing_of_the_model_and_repeats_itself() -> None:
    source = model(3, 3)
    before = copy.deepcopy(source.network.state_dict())
    first, second = blended(source), blended(source)
    assert torch.equal(first.probabilities, second.probabilities)
    assert len(first.report["blends"]) == 6
    after = source.network.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in after.items())


def test_intent_is_refused_by_a_network_without_batch_normalisation() -> None:
    description = with_network(INSTANCE_3D, (8, 8, 8)).description
    assert "batch normalisation" in registry.lacking(description.holds)["intent"]
