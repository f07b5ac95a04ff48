"""Adaptations leave the source alone, repeat themselves and follow the options of their steps."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from paths import PARITY
from small_models import DYNUNET, TRAINED, adapt, image, model, take_the_last_state
from taught_head import RATES, adapt_head, source, targets
from torch.optim.optimizer import register_optimizer_step_pre_hook

from SFDALib.adaptation.common import (
    loop,
)
from SFDALib.adaptation.common.batch_norm import reestimate
from SFDALib.adaptation.common.model_selection import (
    evaluate,
)
from SFDALib.adaptation.common.patches import TargetPatches
from SFDALib.bundle.assembly import ensemble_of
from SFDALib.bundle.source import Source
from SFDALib.errors import Cancelled
from SFDALib.methods import registry
from SFDALib.methods.option import PUBLISHED
from SFDALib.networks.build import build_network
from SFDALib.progress import silent

SFDA = json.loads((PARITY / "sfda_losses.json").read_text())


@pytest.mark.parametrize(("dims", "classes", "count"), [(2, 2, 1), (2, 3, 2), (3, 2, 2), (3, 3, 1)])
@pytest.mark.parametrize("method", RATES)
def test_adaptation_leaves_the_source_alone_and_keeps_its_curves(
    method: str, dims: int, classes: int, count: int
) -> None:
    model = source(dims, classes)
    before = copy.deepcopy((model.network.state_dict(), model.early_head.state_dict()))

    outcome = adapt_head(method, dims, classes, count, epochs=2, learning_rate=RATES[method])

    for state, was in zip((model.network, model.early_head), before, strict=True):
        assert all(torch.equal(value, was[name]) for name, value in state.state_dict().items())
    assert not model.network.training
    assert not any(parameter.requires_grad for parameter in model.network.parameters())
    assert outcome.stopped
    assert len({len(values) for values in outcome.curves.values()}) == 1
    assert all(np.isfinite(values).all() for values in outcome.curves.values())
    assert {f"share_{k}" for k in range(1, classes)} <= set(outcome.curves)
    assert 0 <= outcome.best_epoch < len(outcome.curves["share_1"])
    adapted = copy.deepcopy(model.network)
    adapted.load_state_dict(outcome.weights)
    assert all(value.isfinite().all() for value in outcome.weights.values())


@pytest.mark.parametrize("method", RATES)
def test_settling_comes_before_the_first_step_and_only_if_asked(method: str) -> None:
    """Nothing is learnt at a rate of 0 with the statistics frozen: what moves was settled."""
    still = {"epochs": 1, "learning_rate": 0, "bn": "eval"}
    network = copy.deepcopy(source().network)
    patches = TargetPatches(source(), [image.array for image in targets(2, 2, 1)])
    temperature = source().description.temperature
    untouched = evaluate(network, patches, temperature).entropy
    reestimate(network, patches, 4)
    settled = evaluate(network, patches, temperature).entropy
    assert settled != untouched

    curves = adapt_head(method, settle_bn=False, **still).curves
    assert curves["entropy_bits"] == [untouched, untouched]
    assert adapt_head(method, **still).curves["entropy_bits"] == [untouched, settled, settled]


@pytest.mark.parametrize(("method", "dims"), [*((name, 2) for name in RATES), ("adami", 3)])
def test_the_same_seed_gives_the_same_weights_bit_for_bit(method: str, dims: int) -> None:
    options = {"epochs": 3, "learning_rate": RATES[method], "dims": dims, "batch": 2, "count": 2}
    first, second = (adapt_head(method, **options, seed=7) for _ in range(2))
    assert first.curves == second.curves
    assert first.best_epoch == second.best_epoch
    for name, value in first.weights.items():
        assert torch.equal(value, second.weights[name]), name


@pytest.mark.parametrize("method", RATES)
def test_another_seed_sees_the_slices_in_another_order(method: str) -> None:
    one, two = (
        adapt_head(method, epochs=1, learning_rate=RATES[method], seed=seed).curves
        for seed in (1, 2)
    )
    assert one["criterion"][:2] == two["criterion"][:2], "the source, and settled"
    assert one["criterion"][2] != two["criterion"][2]


def test_learning_rates_fall_as_the_originals() -> None:
    image = targets(2, 2, 1)[0]
    slice_ = replace(image, array=image.array[:, 4:5])
    method = registry.find("adami")
    options = {"learning_rate": 1e-6, "lr_decay": 0.9, "lr_decay_epochs": 20, "patience": 0}
    rates = []
    hook = register_optimizer_step_pre_hook(
        lambda optimiser, *_: rates.append(optimiser.param_groups[0]["lr"])
    )
    try:
        values = method.values({**options, "epochs": 100}, PUBLISHED)
        loop.adapt(method, source(), [slice_], values, 0, silent)
    finally:
        hook.remove()
    assert rates == pytest.approx(SFDA["lr_per_epoch"], rel=1e-6)


@pytest.mark.parametrize(
    "method", [m for m in TRAINED if not set(registry.find(m).needs) - {"batch-norm", "early-head"}]
)
def test_a_method_does_the_same_with_twice_the_logits_at_twice_the_temperature(
    method: str,
) -> None:
    """And so is calibrated; with the logits as they are it is another training."""
    plain = model(2, 3)
    network = copy.deepcopy(plain.network)
    with torch.no_grad():  # the normalisation of the logits
        network.out_path[2].weight.mul_(2)
        network.out_path[2].bias.mul_(2)
    doubled = replace(
        plain, network=network, description=replace(plain.description, temperature=2.0)
    )
    options = {"prior": "0.2,0.1", "stop_change": 0.0, "threshold": 0.4, "dropout": 0.2}
    options |= {"confidence": 0.4, "uncertainty": 0.3}

    def curve(source: Source, calibrated: bool) -> list[float]:
        return adapt(method, source, calibrated=calibrated, **options).curves["training_loss"]

    expected = curve(plain, True)[0]
    assert curve(doubled, True)[0] == pytest.approx(expected, rel=1e-4)
    assert curve(doubled, False)[0] != pytest.approx(expected, rel=1e-3)


NEW = [name for name in TRAINED if name not in ("adami", "adaent", "early-features")]


@pytest.mark.parametrize(("dims", "classes", "outputs"), [(2, 2, None), (2, 2, 2), (3, 3, None)])
@pytest.mark.parametrize("method", NEW)
def test_every_method_serves_every_kind_of_model_and_leaves_it_alone(
    method: str, dims: int, classes: int, outputs: int | None
) -> None:
    source = model(dims, classes, outputs)
    before = copy.deepcopy(source.network.state_dict())
    outcome = adapt(method, source, count=2, learning_rate=1e-4)
    after = source.network.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    assert not any(p.requires_grad for p in source.network.parameters())
    held = ensemble_of([source.network] * outcome.members).state_dict()
    assert list(outcome.weights) == list(held)
    assert len({len(curve) for curve in outcome.curves.values()}) == 1
    assert all(math.isfinite(x) for x in outcome.curves["training_loss"])


@pytest.mark.parametrize("method", NEW)
def test_every_method_repeats_itself_with_the_same_seed(method: str) -> None:
    first, second = (adapt(method, model(), seed=5, learning_rate=1e-3) for _ in range(2))
    assert first.curves == second.curves
    assert all(torch.equal(v, second.weights[k]) for k, v in first.weights.items())


@pytest.mark.parametrize("method", ["adami", "tent"])
def test_the_anchor_holds_the_weights_back(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    take_the_last_state(monkeypatch)
    source = model()
    start = dict(source.network.named_parameters())

    def moved(**options: float) -> float:
        outcome = adapt(method, source, epochs=3, bn="eval", learning_rate=1e-2, **options)
        return sum(float((outcome.weights[n] - p).square().sum()) for n, p in start.items())

    free = moved()
    assert free > 0
    assert moved(anchor=1e4) < 0.5 * free
    assert moved(ema=0.99) < 0.5 * free, "the average lags behind"


@pytest.mark.parametrize("method", NEW)
def test_progress_may_end_an_adaptation(method: str) -> None:
    described = registry.find(method)
    values = described.values({"batch": 8}, PUBLISHED)

    def cancel(*_: Any, **__: Any) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        loop.adapt(described, model(), [image()], values, 0, cancel)


@pytest.mark.parametrize("method", [m for m in NEW if m != "tent"])
def test_methods_work_on_a_network_without_batch_normalisation(method: str) -> None:
    source = model()
    description = replace(source.description, network=DYNUNET)
    torch.manual_seed(0)
    network = build_network(DYNUNET).eval().requires_grad_(False)
    other = replace(source, description=description, network=network)
    assert len(TargetPatches(other, [image().array])) == 8
    outcome = adapt(method, other, settle_bn=True)
    assert math.isfinite(outcome.curves["training_loss"][-1])
