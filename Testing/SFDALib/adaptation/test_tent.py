"""TENT against the numbers of the original's code."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from original_weights import fill
from paths import ROOT
from recipe_settings import given
from small_models import adapt, delivered, model, take_the_last_state
from torch import nn

from SFDALib.adaptation import tent
from SFDALib.adaptation.common import losses
from SFDALib.adaptation.common.batch_norm import affine_parameters
from SFDALib.adaptation.common.recipe import Setting
from SFDALib.methods import registry
from SFDALib.methods.option import PUBLISHED

TENT = json.loads((ROOT / "Testing/parity/tent.json").read_text())


def test_tent_has_the_originals_entropy() -> None:
    case = TENT["softmax_entropy"]
    p = torch.softmax(torch.tensor(case["logits"]), dim=1)
    entropy = torch.special.entr(p).sum(1)
    torch.testing.assert_close(entropy, torch.tensor(case["out"]), rtol=1e-5, atol=1e-6)
    assert losses.mean_entropy(p).item() == pytest.approx(entropy.mean().item())


def test_a_step_of_tent_is_the_originals() -> None:
    """Loss, gradients, and parameters after one step of Adam; all other weights stay."""
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 1)
    )
    fill(network, TENT["names_shapes"])
    before = copy.deepcopy(network.state_dict())
    patches = given(torch.tensor(TENT["seg_step"]["input"]))
    options = registry.find("tent").values({"calibrated": False}, PUBLISHED)
    recipe = tent.Tent(Setting(None, network, (), patches, options, None))

    optimiser = recipe.optimiser()
    recipe.train_mode()
    loss = recipe.loss([0, 1])
    loss.backward()
    optimiser.step()

    expected = TENT["seg_step"]
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-5)
    trained = {id(p) for group in optimiser.param_groups for p in group["params"]}
    parameters = dict(network.named_parameters())
    assert [n for n, p in parameters.items() if id(p) in trained] == expected["params_updated"]
    for name in expected["params_updated"]:
        found = parameters[name]
        assert found.grad.tolist() == pytest.approx(expected["grad"][name], rel=1e-4, abs=1e-7)
        assert found.tolist() == pytest.approx(TENT["after_adam_step"][name], rel=1e-5)
    for name in set(parameters) - set(expected["params_updated"]):
        assert torch.equal(parameters[name], before[name])


def test_tent_trains_scale_and_shift_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    take_the_last_state(monkeypatch)
    source = model()
    names = delivered(adapt("tent", source, bn="eval"), source)
    ids = {id(p) for p in affine_parameters(source.network)}
    affine = {name for name, p in source.network.named_parameters() if id(p) in ids}
    assert names and names <= affine
