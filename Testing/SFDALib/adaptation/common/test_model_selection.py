"""The best state is returned: no collapse, no impossible volume, no lost patience."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from small_models import adapt, model
from taught_head import RATES, adapt_head, changed, later_is_better, one_thread, source, targets

from SFDALib.adaptation.common import (
    batch_norm,
)
from SFDALib.adaptation.common.model_selection import (
    Expected,
    ModelSelection,
    State,
    evaluate,
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
        one_thread(),  # how far so high a rate drives it depends on their number
    ):
        outcome = adapt_head("adami", epochs=15, **options)
    assert outcome.best_epoch == 16
    patches = TargetPatches(source(), [image.array for image in targets(2, 2, 1)])
    (expected,) = expected_shares(source().description, patches, targets(2, 2, 1))
    share = outcome.curves["share_1"][-1]
    low, high = expected.plausible
    assert share < 0.25 * low or share > 2 * high


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


# --- Single slices -----------------------------------------------------------------------------


class Bright(torch.nn.Module):
    """Finds the class, almost surely, where the image is brighter than a half."""

    def __init__(self) -> None:
        super().__init__()
        self.steepness = torch.nn.Parameter(torch.tensor(100.0))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.steepness * (image - 0.5)


def bright(pixels: int) -> np.ndarray:
    """A slice of 32 x 32 pixels of which so many are bright."""
    image = np.zeros((1, 1, 32, 32), np.float32)
    image.reshape(-1)[:pixels] = 1
    return image


def test_many_single_slices_are_expected_to_show_the_bundles_mean_area() -> None:
    """1200 mm2 of 96 x 96 mm. Of seven slices it varies too much, and a volume has none."""
    image = targets(2, 2, 1)[0]
    slice_ = replace(image, array=image.array[:, 4:5])

    def expected(images: list[Any]) -> tuple[Expected | None, ...]:
        patches = TargetPatches(source(), [one.array for one in images])
        return expected_shares(source().description, patches, images)

    (found,) = expected([slice_] * 8)
    assert found is not None and found.plausible is None
    assert found.mean == pytest.approx(1200 / (96 * 96))
    assert expected([slice_] * 7) == (None,)
    (of_volume,) = expected([image] * 8)
    assert of_volume is not None and of_volume.plausible is not None
    (mixed,) = expected([image, *[slice_] * 7])
    assert mixed is not None and mixed.plausible is not None
    label = replace(source().description.labels[0], slice_area_mm2=None)
    unknown = replace(source().description, labels=(label,))
    patches = TargetPatches(source(), [slice_.array] * 8)
    assert expected_shares(unknown, patches, [slice_] * 8) == (None,)


def test_the_area_counts_where_a_slice_shows_the_class_at_all() -> None:
    """64 and 192 of 1024 pixels, and none: a twelfth of all, an eighth of the two that show it."""
    patches = TargetPatches(source(), [bright(64), bright(0), bright(192)])
    state = evaluate(Bright(), patches, 1.0)
    assert state.shares == pytest.approx((256 / 3072,))
    assert state.shown == pytest.approx((256 / 2048,))
    selection = ModelSelection([Expected(0.25, None)])
    assert selection.criterion(state) == pytest.approx(0.1 * math.log(2), abs=1e-4)
    nothing = evaluate(Bright(), TargetPatches(source(), [bright(0)] * 2), 1.0)
    assert nothing.shares == nothing.shown == (0.0,)


@pytest.mark.parametrize(("expected", "best"), [(Expected(0.2, None), 0), (None, 1)])
def test_a_shrinking_mask_does_not_win_by_its_low_entropy(
    expected: Expected | None, best: int
) -> None:
    selection = ModelSelection([expected])
    for state in (State(0.30, (0.1,), (0.2,)), State(0.25, (0.03,), (0.06,))):
        assert selection.update(torch.nn.Linear(1, 1), state)
    assert selection.best_epoch == best


def test_single_slices_whose_class_vanishes_or_floods_are_noticed() -> None:
    for share, told in ((0.02, "shrank"), (0.41, "grew")):
        selection = ModelSelection([Expected(0.2, None)])
        assert selection.update(torch.nn.Linear(1, 1), State(0.3, (0.1,), (0.2,)))
        assert not selection.update(torch.nn.Linear(1, 1), State(0.3, (share,), (0.2,)))
        assert f"label 1 {told} from 10.0%" in str(selection.stopped)


@pytest.mark.parametrize(("expected", "best"), [(Expected(0.287, None), 1), (None, 0)])
def test_growth_to_the_expected_area_is_no_flood(expected: Expected | None, best: int) -> None:
    """Measured on slices of the demo's T2W head, where the source model finds next to nothing."""
    selection = ModelSelection([expected])
    selection.update(torch.nn.Linear(1, 1), State(0.1402, (0.045,), (0.068,)))
    selection.update(torch.nn.Linear(1, 1), State(0.1342, (0.217,), (0.217,)))
    assert (selection.best_epoch, selection.collapsed) == (best, best == 0)
