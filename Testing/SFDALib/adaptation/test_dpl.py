"""DPL against the numbers of the original's code, and by hand."""

from __future__ import annotations

import copy
import json
import math

import pytest
import torch
from paths import PARITY
from recipe_settings import setting
from small_models import model
from torch import Tensor

from SFDALib.adaptation import dpl

DPL = json.loads((PARITY / "dpl.json").read_text())


def test_the_trust_and_the_loss_of_dpl_are_the_originals() -> None:
    """Features at half the resolution; mask fraction .5586, loss .8207830."""
    logits, seen = torch.tensor(DPL["mc_logits"]), torch.tensor(DPL["mc_features"])
    spread = torch.sigmoid(logits / 2).std(0)
    torch.testing.assert_close(spread, torch.tensor(DPL["std_map"]), rtol=1e-4, atol=1e-6)
    label, mask = dpl.denoised(torch.sigmoid(logits).mean(0), spread, seen.mean(0), 0.75, 0.05)
    assert torch.equal(label.float(), torch.tensor(DPL["pseudo_label"]))
    assert torch.equal(mask.float(), torch.tensor(DPL["mask"]))
    assert mask.float().mean().item() == pytest.approx(0.55859375)
    loss = dpl.masked_bce(torch.tensor(DPL["student_prob"]), label, mask).item()
    assert loss == pytest.approx(0.8207830, rel=1e-5)


def test_dropout_of_dpl_is_the_largest_that_leaves_half_of_each_structure_trusted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of rates .5, .2, .1 the last leaves 1 of 2 labelled pixels; then the second."""
    left = {0.5: 0, 0.2: 1, 0.1: 1}
    tried = []

    def labels(_: dpl.DenoisedPseudoLabels, rate: float) -> list[tuple[Tensor, Tensor]]:
        tried.append(rate)
        label = torch.tensor([[True, True, False]])
        mask = torch.tensor([[left[rate] > 0, False, True]])
        return [(label, mask)]

    monkeypatch.setattr(dpl.DenoisedPseudoLabels, "pseudo_labels", labels)
    monkeypatch.setattr(dpl, "RATES", (0.5, 0.2, 0.1))
    recipe = dpl.DenoisedPseudoLabels(setting("dpl", model()))
    recipe.on_source()
    assert tried == [0.5, 0.2]
    assert recipe.notes == ["labelled pixels that are reliable, by dropout 0.2: Brain 50%"]
    recipe = dpl.DenoisedPseudoLabels(setting("dpl", model(), dropout=0.5))
    recipe.on_source()
    assert "no reliable pixel of Brain" in recipe.notes[1]


def test_dpl_labels_by_the_statistics_of_the_batch_and_keeps_the_running_ones() -> None:
    source = model()
    with torch.no_grad():
        source.network.init_path[2].path[0].norm.running_mean.fill_(3)  # far from any image
    found = {}
    for bn in ("train", "eval"):
        one = setting("dpl", source, bn=bn, confidence=0.5, uncertainty=1.0)
        before = copy.deepcopy(one.network.state_dict())
        found[bn] = dpl.DenoisedPseudoLabels(one).pseudo_labels(0.1)
        after = one.network.state_dict()
        assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert any(not torch.equal(a[0], b[0]) for a, b in zip(*found.values(), strict=True))


def test_dpl_trusts_what_is_steady_and_near_its_own_prototype() -> None:
    """Four pixels: two steady of each class, then one unsteady, then one with the other's looks."""
    p = torch.tensor([[[[0.9, 0.1, 0.9, 0.1, 0.9, 0.9]]]])
    spread = torch.tensor([[[[0.0, 0.0, 0.0, 0.0, 0.1, 0.0]]]])
    seen = torch.tensor([[[[1.0, -1.0, 1.0, -1.0, 1.0, -0.9]]]])
    label, trusted = dpl.denoised(p, spread, seen, 0.75, 0.05)
    assert label.flatten().tolist() == [True, False, True, False, True, True]
    assert trusted.flatten().tolist() == [True, True, True, True, False, False]
    value = dpl.masked_bce(p, label, trusted).item()
    assert value == pytest.approx(-math.log(0.9), rel=1e-5)
