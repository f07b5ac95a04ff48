"""UPL: its loss by hand, its batches, its copies of the decoder."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from recipe_settings import setting
from small_models import adapt, model
from torch import Tensor, nn

from SFDALib.adaptation import upl
from SFDALib.adaptation.common.batch_norm import reestimate
from SFDALib.bundle.source import Source


def test_the_largest_part_of_upl_is_that_of_the_stack_of_slices() -> None:
    """3 pixels in slice 0 are one part; 2 + 2 above each other in slices 1 and 2 are a larger one,
    although each of its slices holds less.
    """
    label = torch.zeros(3, 1, 4, 4)
    label[0, 0, 0, :3] = 1
    label[1, 0, 3, :2] = label[2, 0, 3, :2] = 1
    kept = upl.largest_parts(label)
    assert kept.flatten(1).sum(1).tolist() == [0, 2, 2]
    blocks = torch.zeros(2, 1, 2, 4, 4)  # each block its own
    blocks[0, 0, 0, 0, 0] = blocks[0, 0, 1, 3, 2:] = blocks[1, 0, 0, 0, :2] = 1
    assert upl.largest_parts(blocks).flatten(1).sum(1).tolist() == [2, 2]


@pytest.mark.parametrize("settled", [True, False])
def test_the_copies_of_upl_have_the_statistics_that_the_network_has(settled: bool) -> None:
    """With the loss as of one network: four decoders of the same weights and no dropout."""
    options = {"bn": "eval", "settle_bn": settled, "dropout": 0.0, "learning_rate": 0}
    curve = adapt("upl", model(), **options).curves["training_loss"]
    one = setting("upl", model(), bn="eval", dropout=0.0)
    if settled:
        reestimate(one.network, one.patches, 4)
    recipe = upl.UPL(one)
    recipe.on_source()
    states = [network.state_dict() for network in recipe.networks]
    for state in states:
        assert all(torch.equal(value, state[name]) for name, value in states[0].items())
    with torch.no_grad():
        parts = one.patches.stacks(4, np.random.default_rng(0))
        expected = sum(recipe.loss(run).item() * len(run) for run in parts) / 8
    assert curve[1 if settled else 0] == pytest.approx(expected, rel=1e-5)


class Squarely(nn.Module):
    """Refuses what is no multiple of 4 down and of 2 across; otherwise passes it on."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-2] % 4 == 0 and x.shape[-1] % 2 == 0
        return 3 * x


@pytest.mark.parametrize("turns", range(4))
def test_upl_pads_a_turned_patch_to_what_the_network_accepts(
    turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Source, "divisor", (4, 2))
    one = setting("upl", model())
    images = torch.randn(2, 1, 8, 6)
    p = upl.turned(one, Squarely(), images, turns)
    torch.testing.assert_close(p[:, 1:], torch.sigmoid(3 * images))


def test_upl_labels_and_learns_in_passes_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """With gradients the loss alone: the pseudo-label is of another draw of the dropout."""
    passes = []
    inner = upl.turned

    def noted(*arguments: Any) -> Tensor:
        passes.append(torch.is_grad_enabled())
        return inner(*arguments)

    monkeypatch.setattr(upl, "turned", noted)
    upl.UPL(setting("upl", model(), decoders=2)).loss([0, 1])
    assert passes == [False, False, True, True]


def test_upl_does_not_punish_what_lies_beyond_its_label() -> None:
    label = torch.tensor([[[1.0, 1.0, 0.0, 0.0]]])
    inside = torch.tensor([[[0.5, 0.5, 0.0, 0.0]]])
    beyond = torch.tensor([[[0.5, 0.5, 1.0, 1.0]]])
    value = upl.masked_dice_loss(inside, label).item()
    assert value == pytest.approx(1 - 2 / 2.5, abs=1e-4)
    assert upl.masked_dice_loss(beyond, label).item() == pytest.approx(value)
    half = torch.full((1, 2, 3), 0.5)
    assert upl.entropy_bits(half).item() == pytest.approx(0.5)  # 1 bit over 2 classes
