"""Adaptation of early features: what it trains, what teaches it, and when it stops."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
import torch
from paths import PARITY
from taught_head import (
    adapt_head,
    changed,
    last_state,
    later_is_better,
    source,
    statistics,
    targets,
)
from torch import Tensor

from SFDALib.adaptation import early_features
from SFDALib.adaptation.common import loop
from SFDALib.adaptation.common.batch_norm import affine_parameters
from SFDALib.adaptation.common.model_selection import (
    ModelSelection,
)
from SFDALib.bundle.description import EarlyHeadDescription
from SFDALib.methods import registry
from SFDALib.methods.option import PUBLISHED
from SFDALib.networks.residual_unet import EarlyHead
from SFDALib.progress import silent

UDAS = json.loads((PARITY / "udas_losses.json").read_text())


def test_the_dice_of_the_stop_rule_is_the_originals() -> None:
    binary, multi = UDAS["dice_binary"], UDAS["dice_multi"]
    a, b = (torch.tensor(binary[side])[:, 0] for side in "ab")
    assert early_features.mask_dice(a, b, 2) == pytest.approx(binary["dice"], rel=1e-5)
    empty = torch.zeros(2, 3, 3)
    assert early_features.mask_dice(empty, empty, 2) == binary["dice_empty"] == 1
    a, b = (torch.tensor(multi[side]) for side in "ab")
    assert early_features.mask_dice(a, b, 4) == pytest.approx(multi["dice"], rel=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_early_features_change_the_first_layers_alone(dims: int) -> None:
    outcome = last_state("early-features", dims=dims, epochs=4, bn="train_updated", settle_bn=False)
    names = changed(outcome, source(dims))
    assert names
    assert all(name.startswith("init_path.") for name in names)
    convolutions = {n for n, v in outcome.weights.items() if "init_path" in n and v.ndim > 1}
    assert convolutions <= names


@pytest.mark.parametrize("bn", ["train_all", "train_updated", "eval"])
def test_early_features_let_the_named_batch_norms_learn_and_no_others(bn: str) -> None:
    outcome = last_state("early-features", epochs=4, bn=bn, settle_bn=False)
    names = changed(outcome, source())
    every = statistics(outcome.weights)
    expected = {
        "train_all": every,
        "train_updated": {name for name in every if name.startswith("init_path.")},
        "eval": set(),
    }
    assert statistics(names) == expected[bn]
    assert all(name.startswith("init_path.") for name in names - every), "deep weights stay"


@pytest.mark.parametrize(
    ("layers", "stages"), [("all", ("init_path", "down1")), ("last", ("down1",))]
)
@pytest.mark.parametrize("weights", ["all", "batch-norm"])
def test_early_features_train_the_named_layers_and_weights_and_leave_the_rest_bit_for_bit(
    layers: str, weights: str, stages: tuple[str, ...]
) -> None:
    """A head on level 1 lies behind two stages. Statistics are frozen: what moves was trained."""
    torch.manual_seed(0)
    description = replace(source().description, early_head=EarlyHeadDescription(1, 8))
    head_ = EarlyHead(2, 8, description.out_channels).requires_grad_(False)
    model = replace(source(), description=description, early_head=head_)
    parts = [model.network.get_submodule(stage) for stage in stages]
    of = affine_parameters if weights == "batch-norm" else torch.nn.Module.parameters
    expected = {id(p) for part in parts for p in of(part)}
    options = {"layers": layers, "weights": weights, "bn": "eval", "settle_bn": False}
    options |= {"epochs": 2, "batch": 4, "stop_change": 0, "learning_rate": 1e-3}
    method = registry.find("early-features")
    with mock.patch.object(ModelSelection, "criterion", later_is_better):
        outcome = loop.adapt(
            method, model, targets(2, 2, 1), method.values(options, PUBLISHED), 0, silent
        )
    names = {name for name, p in model.network.named_parameters() if id(p) in expected}
    assert outcome.best_epoch == 2
    assert changed(outcome, model) == names


@pytest.mark.parametrize(("calibrate", "expected"), [(True, 2.5), (False, 1.0)])
def test_the_teacher_is_as_sure_as_the_bundles_temperature_says_if_asked(
    calibrate: bool, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught_with = []
    loss = early_features.refinement_loss

    def noted(*args: Any) -> Tensor:
        taught_with.append(args[-1])
        return loss(*args)

    monkeypatch.setattr(early_features, "refinement_loss", noted)
    description = replace(source().description, temperature=2.5)
    model = replace(source(), description=description)
    method = registry.find("early-features")
    values = method.values({"epochs": 1, "batch": 4, "calibrated": calibrate}, PUBLISHED)
    loop.adapt(method, model, targets(2, 2, 1), values, 0, silent)
    assert set(taught_with) == {expected}


def test_early_features_stop_when_the_agreement_settles() -> None:
    outcome = adapt_head("early-features", epochs=50, stop_change=1)
    assert len(outcome.curves["agreement"]) == 3, "source, settled; the first change is below 1"
    assert "changed by less than 1" in outcome.stopped
    outcome = adapt_head("early-features", epochs=3, stop_change=0, learning_rate=1e-4)
    assert outcome.stopped == "all 3 epochs done"


def test_early_features_work_with_fewer_slices_than_a_batch() -> None:
    outcome = adapt_head("early-features", epochs=1, batch=20, stop_images="batches")
    assert len(outcome.curves["agreement"]) == 3
