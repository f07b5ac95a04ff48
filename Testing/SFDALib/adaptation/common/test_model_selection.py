"""The best state is returned: no collapse, no impossible volume, no lost patience."""

from __future__ import annotations

import copy
import math
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from small_models import adapt, model
from taught_head import RATES, adapt_head, changed, later_is_better, source, targets

from SFDALib.adaptation.common import (
    batch_norm,
)
from SFDALib.adaptation.common.model_selection import (
    ModelSelection,
    expected_shares,
)
from SFDALib.adaptation.common.patches import TargetPatches


@pytest.mark.parametrize("method", RATES)
def test_a_collapse_by_settling_ends_the_adaptation_with_the_source(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(network: torch.nn.Module, *_: Any) -> None:
        for part in network.buffers():
            part.fill_(float("nan") if part.is_floating_point() else 1)

    monkeypatch.setattr(batch_norm, "reestimate", spoil)
    outcome = adapt_head(method, epochs=3)
    assert outcome.stopped == "collapse after epoch 1: the predictions are no numbers"
    assert len(outcome.curves["criterion"]) == 2
    assert outcome.best_epoch == 0
    assert not changed(outcome, source())


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("adami", {"learning_rate": 1.0}),
        ("adaent", {"learning_rate": 1.0}),
        ("early-features", {"learning_rate": 1.0, "stop_change": 0}),
        ("adami", {"learning_rate": 1e-2, "prior": "0.9"}),
        ("adaent", {"learning_rate": 1e-2, "prior": "0.9"}),
    ],
)
def test_a_collapse_is_noticed_and_a_state_before_it_returned(
    method: str, options: dict[str, Any]
) -> None:
    outcome = adapt_head(method, epochs=60, **options)
    assert outcome.stopped.startswith("collapse after epoch"), outcome
    last = len(outcome.curves["criterion"]) - 1
    assert outcome.best_epoch < last
    network = copy.deepcopy(source().network)
    network.load_state_dict(outcome.weights)
    patches = TargetPatches(source(), [image.array for image in targets(2, 2, 1)])
    with torch.no_grad():
        logits = network.eval()(patches.batch(range(len(patches))))
    found = (logits > 0).float().mean().item()
    share = outcome.curves["share_1"][outcome.best_epoch]
    assert found == pytest.approx(share, abs=1e-3), "the weights are those of the best epoch"
    volume = found * patches.voxels * np.prod(targets(2, 2, 1)[0].geometry.spacing) / 1000
    low, high = source().description.labels[0].size_ml
    assert low <= volume <= high


@pytest.mark.parametrize(
    "options", [{"learning_rate": 1.0}, {"learning_rate": 1e-2, "prior": "0.9"}]
)
def test_without_the_watch_the_same_adaptations_end_in_an_impossible_volume(
    options: dict[str, Any],
) -> None:
    """What the test above guards against does happen: a far too high rate, and a wrong prior."""
    with (
        mock.patch.object(ModelSelection, "criterion", later_is_better),
        mock.patch.object(ModelSelection, "collapse", lambda *_: None),
    ):
        outcome = adapt_head("adami", epochs=15, **options)
    assert outcome.best_epoch == 16
    patches = TargetPatches(source(), [image.array for image in targets(2, 2, 1)])
    (expected,) = expected_shares(source().description, patches, targets(2, 2, 1))
    share = outcome.curves["share_1"][-1]
    assert share < 0.25 * expected.low or share > 2 * expected.high


def test_patience_ends_an_adaptation_that_gains_nothing() -> None:
    outcome = adapt_head(
        "adami", epochs=50, learning_rate=0, patience=2, bn="eval", settle_bn=False
    )
    assert outcome.stopped == "no better state for 2 epochs"
    assert outcome.best_epoch == 0
    assert not changed(outcome, source())


@pytest.mark.parametrize("method", ["tent", "cbst", "iapc", "dpl"])
def test_a_far_too_high_rate_is_noticed_and_the_source_state_returned(method: str) -> None:
    source = model()
    outcome = adapt(method, source, epochs=4, rounds=1, learning_rate=1.0)
    last = len(outcome.curves["criterion"]) - 1
    best = outcome.curves["criterion"][outcome.best_epoch]
    seen = [x for x in outcome.curves["criterion"] if math.isfinite(x)]
    assert best == min(seen[:-1] if "collapse" in outcome.stopped else seen)
    assert "collapse" in outcome.stopped or last == 4
