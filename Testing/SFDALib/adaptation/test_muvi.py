"""MuVi: its losses by hand, its pseudo-label, its steps."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from small_models import (
    INSTANCE_3D,
    NETWORKS,
    adapt,
    delivered,
    image,
    model,
    take_the_last_state,
    with_network,
)
from torch import nn
from torch.optim.optimizer import (
    register_optimizer_step_pre_hook,
)

from SFDALib.adaptation import muvi
from SFDALib.adaptation.common import loop, views
from SFDALib.methods import registry
from SFDALib.methods.option import PUBLISHED
from SFDALib.progress import silent


def test_features_are_compared_as_vectors_at_the_same_place() -> None:
    """Cosines 1, 0 and -1: distances 0, 1 and 2."""
    first = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]).view(1, 2, 3, 1, 1)
    second = torch.tensor([[2.0, 0.0, -3.0], [0.0, 5.0, 0.0]]).view(1, 2, 3, 1, 1)
    assert views.cosine_distance(first, second).item() == pytest.approx(1.0)
    assert views.cosine_distance(first, first).item() == pytest.approx(0.0)


def test_the_released_feature_term_has_no_gradient() -> None:
    """Cosines of single numbers are 1 or -1: the reason for comparing vectors instead."""
    a, b = torch.randn(50, 1, requires_grad=True), torch.randn(50, 1)
    nn.CosineEmbeddingLoss()(a, b, torch.ones(50)).backward()
    assert a.grad.abs().max() < 1e-4


def test_the_pseudo_label_is_the_union_of_what_the_views_are_sure_of() -> None:
    """Entropies in nats: p = .9 has .325, p = .95 has .199, p = .99 has .056. The first view may
    have .4, the others .2. Where two disagree the surer one labels.
    """
    foreground = torch.tensor(
        [
            [0.90, 0.10, 0.60, 0.90, 0.05],  # the first view
            [0.10, 0.95, 0.90, 0.05, 0.05],
            [0.10, 0.10, 0.90, 0.05, 0.94],  # .227: not sure enough
        ]
    )
    predictions = [torch.stack([1 - p, p]).view(2, 1, 1, 5) for p in foreground]
    label = muvi.pseudo_label(predictions, (0.4, 0.2, 0.2))
    assert label.flatten().tolist() == [1, 1, 0, 1, 0]
    one, two = (torch.tensor(p).view(3, 1, 1, 1) for p in ([0.05, 0.95, 0], [0.01, 0, 0.99]))
    assert muvi.pseudo_label([one, two], (0.4, 0.2)).item() == 2


def test_the_loss_is_nnunets_dice_and_cross_entropy() -> None:
    """p = 1/2 everywhere, y = 1 on one of four voxels: ln 2 - 2 * .5 / (2 + 1)."""
    logits, labels = torch.zeros(1, 2, 1, 1, 4), torch.tensor([1, 0, 0, 0]).view(1, 1, 1, 4)
    value = muvi.dice_ce(logits, labels).item()
    assert value == pytest.approx(math.log(2) - 1 / 3, rel=1e-4)


def test_muvi_steps_once_over_the_overlapping_windows_and_clips_the_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """8 x 16 x 16 voxels in windows of 8 x 8 x 8 that overlap by half: 1 x 3 x 3."""
    take_the_last_state(monkeypatch)
    norms: list[float] = []

    def noted(optimiser: torch.optim.Optimizer, *_: Any) -> None:
        gradients = [p.grad for group in optimiser.param_groups for p in group["params"]]
        norms.append(float(torch.stack([g.norm() for g in gradients if g is not None]).norm()))

    hook = register_optimizer_step_pre_hook(noted)
    source = with_network(INSTANCE_3D, (8, 8, 8))
    outcome = adapt("muvi", source, batch=1, clip=0.01)
    hook.remove()
    assert len(norms) == 9 and max(norms) <= 0.01 * (1 + 1e-4)
    every = source.network.named_parameters(remove_duplicate=False)  # DynUNet names some twice
    assert delivered(outcome, source) == {name for name, _ in every}


@pytest.mark.parametrize("classes", [2, 3])
def test_muvi_serves_every_normalisation_and_repeats_itself(classes: int) -> None:
    for source in (
        model(3, classes),
        with_network({**INSTANCE_3D, "out_channels": classes}, (8, 8, 8)),
    ):
        before = copy.deepcopy(source.network.state_dict())
        first, second = (adapt("muvi", source, batch=2, settle_bn=True) for _ in range(2))
        assert first.curves == second.curves
        assert all(
            torch.equal(value, second.weights[name]) for name, value in first.weights.items()
        )
        after = source.network.state_dict()
        assert all(torch.equal(value, before[name]) for name, value in after.items())


@pytest.mark.parametrize("name", ["SFDAUNet", "PlainConvUNet", "SegResNet", "UNet", "BasicUNet"])
def test_muvi_trains_every_weight_of_every_3d_network(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step on one window; deviations of features and labels both reach the weights."""
    take_the_last_state(monkeypatch)
    side = 32 if name == "BasicUNet" else 16
    definition = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, **NETWORKS[name][0]}
    source = with_network(definition, (side,) * 3)
    method = registry.find("muvi")
    whole = image()
    array = np.random.default_rng(0).random((1, side, side, side), dtype=np.float32)
    values = method.values(
        {"settle_bn": False, "learning_rate": 1e-2, "threshold": 10.0}, PUBLISHED
    )
    outcome = loop.adapt(method, source, [replace(whole, array=array)], values, 0, silent)
    every = {name for name, _ in source.network.named_parameters(remove_duplicate=False)}
    assert delivered(outcome, source) <= every and len(delivered(outcome, source)) > 0.9 * len(
        every
    )


def test_muvi_is_refused_by_a_model_of_slices() -> None:
    reason = registry.lacking(model().description.holds)["muvi"]
    assert "3D" in reason and registry.lacking(model(3).description.holds)["muvi"] is None
