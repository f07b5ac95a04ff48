"""ProtoContra's alignment against the published equation, and its two stages."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from recipe_settings import Linear, given, loss_of
from small_models import adapt, model
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from SFDALib.adaptation import protocontra
from SFDALib.adaptation.common import contrast
from SFDALib.adaptation.common.recipe import Setting
from SFDALib.errors import RequestError
from SFDALib.methods import registry
from SFDALib.methods.option import PUBLISHED


def protocontra_loss(network: nn.Module, images: Tensor, **options: Any) -> float:
    source = replace(model(), network=network)
    values = registry.find("protocontra").values({"calibrated": False, **options}, PUBLISHED)
    one = Setting(source, network, (), given(images), values, None)
    return loss_of(protocontra.ProtoContra(one), list(range(len(images))))


def published_alignment(seen: np.ndarray, mu: np.ndarray, temperature: float = 0.1) -> float:
    """METHODS' equation in numpy: features (N, F), prototypes (K, F), uniform proportions."""
    sim = mu @ seen.T / temperature
    pi = np.full(len(mu), 1 / len(mu))
    lengths = [np.linalg.norm(x, axis=1, keepdims=True) for x in (mu, seen)]
    distance = (1 - (mu / lengths[0]) @ (seen / lengths[1]).T) / 2
    given = sim + np.log(pi + 1e-6)[:, None]
    to_prototypes = np.exp(given - given.max(0))
    to_prototypes /= to_prototypes.sum(0)
    to_target = np.exp(sim - sim.max(1, keepdims=True))
    to_target /= to_target.sum(1, keepdims=True)
    one = (distance * to_prototypes).sum(0).mean()
    return one + (pi * (distance * to_target).sum(1)).sum()


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("similarity", ["logits", "product"])
def test_the_alignment_of_protocontra_is_the_published_one(outputs: int, similarity: str) -> None:
    """A sigmoid of weights w is two prototypes, -w/2 and w/2, and (-z/2, z/2) the similarities."""
    torch.manual_seed(1)
    weight, images = torch.randn(outputs, 5), torch.randn(2, 5, 6, 7)
    mu = weight.numpy() if outputs > 1 else np.concatenate([-weight / 2, weight / 2])
    expected = published_alignment(images.permute(0, 2, 3, 1).reshape(-1, 5).numpy(), mu)
    found = protocontra_loss(Linear(weight), images, similarity=similarity)
    assert found == pytest.approx(expected, rel=1e-5)


def test_the_similarities_of_protocontra_hold_the_bias_or_not() -> None:
    torch.manual_seed(1)
    weight, images = torch.randn(1, 5), torch.randn(2, 5, 6, 7)
    biased = Linear(weight, torch.tensor([2.0]))
    without = protocontra_loss(Linear(weight), images)
    assert protocontra_loss(biased, images, similarity="product") == pytest.approx(without)
    assert protocontra_loss(biased, images) != pytest.approx(without, rel=1e-3)


def test_protocontra_is_zero_on_the_prototypes_and_half_beside_them() -> None:
    mu = torch.eye(2)
    pi = torch.tensor([0.5, 0.5])
    sure = torch.tensor([[100.0, -100.0], [-100.0, 100.0]])
    assert protocontra.alignment(3 * mu, mu, sure, pi).item() == pytest.approx(0, abs=1e-6)
    crossed = protocontra.alignment(mu.flip(0), mu, sure, pi).item()
    assert crossed == pytest.approx(0.5 + 0.5)  # cos 0: 1/2 in each direction


def test_protocontra_contrasts_for_as_many_epochs_after_the_alignment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """2 + 2 epochs of 2 steps; the rate falls anew, by .95 every second epoch; Adam starts anew;
    the teacher is the model as aligned.
    """
    steps, teachers = [], []
    loss, begun = contrast.Contrast.loss, contrast.Contrast.__init__

    def noted(*arguments: Any) -> Tensor:
        steps.append(loss(*arguments))
        return steps[-1]

    def started(self: contrast.Contrast, *arguments: Any, **more: Any) -> None:
        begun(self, *arguments, **more)
        teachers.append((copy.deepcopy(arguments[0].state_dict()), arguments[2], self))

    monkeypatch.setattr(contrast.Contrast, "loss", noted)
    monkeypatch.setattr(contrast.Contrast, "__init__", started)
    rates, remembered = [], []

    def note(optimiser: torch.optim.Optimizer, *_: Any) -> None:
        rates.append(optimiser.param_groups[0]["lr"])
        remembered.append(bool(optimiser.state))

    hook = register_optimizer_step_pre_hook(note)
    outcome = adapt("protocontra", model(2, 3), epochs=3, stages=2, learning_rate=1e-3)
    hook.remove()
    first = [1e-3, 1e-3, 8e-4, 8e-4, 6.4e-4, 6.4e-4]
    assert rates == pytest.approx([*first, 1e-3, 1e-3, 1e-3, 1e-3, 9.5e-4, 9.5e-4])
    assert remembered == 2 * [False, *5 * [True]]
    assert len(outcome.curves["criterion"]) == 7 and len(steps) == 6
    ((aligned, total, kept),) = teachers
    assert total == 6
    after = kept.teacher.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in aligned.items())
    described = registry.find("protocontra")
    assert described.work(described.values({"epochs": 2, "stages": 2}, PUBLISHED)).epochs == 4


def test_contrast_of_two_classes_is_refused_with_the_reason() -> None:
    with pytest.raises(RequestError, match="found 2 for a model of one structure"):
        adapt("protocontra", model(), stages=2)
