"""DG-TTA: consistency, steps, ensembles, and what it trains."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from small_models import (
    INSTANCE_3D,
    adapt,
    delivered,
    model,
    take_the_last_state,
    with_network,
)
from torch import Tensor, nn
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
)

from SFDALib.adaptation import dg_tta
from SFDALib.bundle.assembly import ensemble_of
from SFDALib.bundle.source import Source
from SFDALib.errors import RequestError


def test_consistency_is_the_released_dice_of_each_class() -> None:
    """Class 0: a = (1, .5), b = (1, .5): 1. Class 1: a = (0, .5), b = (.5, .5): mean 2ab = .25,
    mean (a+b)^2/2 = (.125 + .5) / 2 = .3125: .8. A class that neither shows: 1.
    """
    a = torch.tensor([[[1.0, 0.5], [0.0, 0.5], [0.0, 0.0]]])
    b = torch.tensor([[[1.0, 0.5], [0.5, 0.5], [0.0, 0.0]]])
    assert dg_tta.consistency(a, b)[0].tolist() == pytest.approx([1.0, 0.8, 1.0])


def test_dg_tta_takes_one_step_an_epoch_by_the_mean_gradient_of_its_patches() -> None:
    """Whatever the batch, which changes the memory alone: 2 steps in 2 epochs of 6 patches."""
    source = with_network(INSTANCE_3D, (8, 8, 8))
    steps: list[int] = []
    hook = register_optimizer_step_post_hook(lambda *_: steps.append(1))
    outcomes = [
        adapt("dg-tta", source, epochs=2, patches=6, ensemble=1, batch=batch, bn="eval")
        for batch in (1, 6)
    ]
    hook.remove()
    assert len(steps) == 4
    assert all(len(outcome.curves["criterion"]) == 3 for outcome in outcomes)


def test_dg_tta_delivers_the_mean_logits_of_independent_adaptations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take_the_last_state(monkeypatch)
    source = model()
    options = {"epochs": 1, "patches": 4, "bn": "eval", "learning_rate": 1e-2}
    together = adapt("dg-tta", source, ensemble=2, **options)
    alone = [adapt("dg-tta", source, ensemble=1, seed=seed, **options) for seed in (0, 1)]
    assert together.members == 2 and alone[0].members == 1
    images = torch.rand(1, 1, 16, 16)

    def logits(weights: dict[str, Tensor], count: int) -> Tensor:
        network = ensemble_of([copy.deepcopy(source.network) for _ in range(count)])
        network.load_state_dict(weights)
        return network.eval()(images)

    expected = sum(logits(one.weights, 1) for one in alone) / 2
    torch.testing.assert_close(logits(together.weights, 2), expected)
    assert not torch.allclose(logits(alone[0].weights, 1), logits(alone[1].weights, 1))
    mean = [sum(pair) / 2 for pair in zip(*(o.curves["criterion"] for o in alone), strict=True)]
    assert together.curves["criterion"] == pytest.approx(mean)


@pytest.mark.parametrize("parameters", ["all", "norms", "encoder"])
def test_dg_tta_trains_what_is_asked_for_alone(
    parameters: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_the_last_state(monkeypatch)
    source = model()
    options = {"bn": "eval", "ensemble": 1, "patches": 4, "learning_rate": 1e-2}
    changed = delivered(adapt("dg-tta", source, parameters=parameters, **options), source)
    every = dict(source.network.named_parameters())
    norms = {
        f"{name}.{own}"
        for name, part in source.network.named_modules()
        if isinstance(part, nn.BatchNorm2d)
        for own in ("weight", "bias")
    }
    encoder = {name for name in every if name.split(".")[0] in ("init_path", *DOWN)}
    assert changed == {"all": set(every), "norms": norms, "encoder": encoder}[parameters]


DOWN = ("down1", "down2", "down3")


def test_dg_tta_refuses_what_it_cannot_do_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match="strength=0 and contrast=none"):
        adapt("dg-tta", model(), strength=0)
    monkeypatch.setattr(Source, "encoder", lambda *_: ())  # of a network whose parts are unknown
    with pytest.raises(RequestError, match="encoder for ResidualUNet"):
        adapt("dg-tta", model(), parameters="encoder")
    with pytest.raises(RequestError, match="option ensemble: found 10 for a model of 5"):
        many = replace(model().description, ensemble=5)
        adapt("dg-tta", replace(model(), description=many), ensemble=10)


def test_the_released_mask_counts_voxels_where_the_logits_add_up_to_more_than_0() -> None:
    source = with_network(INSTANCE_3D, (8, 8, 8))
    inside, logits = (
        adapt("dg-tta", source, ensemble=1, patches=2, valid=valid).curves["training_loss"]
        for valid in ("inside", "logits")
    )
    assert inside != logits and all(map(math.isfinite, (*inside, *logits)))
