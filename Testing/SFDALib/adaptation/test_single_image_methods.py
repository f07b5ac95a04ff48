"""DG-TTA, MuVi and InTEnt: what each adapts to one image, and the numbers of their formulas."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from phantoms import Phantom, write
from small_models import DYNUNET, NETWORKS, adapt, delivered, image, model, take_the_last_state
from torch import Tensor, nn
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from SFDALib.__main__ import main
from SFDALib.adaptation import dg_tta, intent, muvi
from SFDALib.adaptation.common import affine, loop, views
from SFDALib.adaptation.common.batch_norm import reestimate
from SFDALib.adaptation.common.patches import RandomPatches, TargetPatches
from SFDALib.bundle.assembly import ensemble_of
from SFDALib.bundle.source import Source
from SFDALib.errors import RequestError
from SFDALib.evaluation.metrics import dice
from SFDALib.inference.predict import predict
from SFDALib.jobs.inspect import inspect
from SFDALib.methods import registry
from SFDALib.methods.option import PUBLISHED
from SFDALib.methods.outcome import Segmented
from SFDALib.networks.build import build_network
from SFDALib.progress import silent
from SFDALib.volume.image_file import read_labels, read_volume


def with_network(definition: dict[str, Any], patch: tuple[int, ...]) -> Source:
    """A model of random weights."""
    source = model(len(patch), max(2, definition["out_channels"]))
    torch.manual_seed(0)
    network = build_network(definition).eval().requires_grad_(False)
    description = replace(source.description, network=definition, patch_size=patch)
    return replace(source, description=description, network=network)


INSTANCE_3D = {**DYNUNET, "spatial_dims": 3}


# --- DG-TTA ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [2, 3])
def test_an_affine_map_and_its_inverse_bring_a_smooth_image_back(dims: int) -> None:
    place = [torch.linspace(-1, 1, 24)] * dims
    smooth = sum(x.square() for x in torch.meshgrid(*place, indexing="ij"))[None, None]
    torch.manual_seed(0)
    maps = affine.random_maps(smooth, 0.05)
    assert maps.shape == (1, dims, dims + 1)
    assert (maps - torch.eye(dims, dims + 1)).std() == pytest.approx(0.05, rel=0.6)
    back = affine.warped(affine.warped(smooth, maps, "border"), affine.inverse(maps), "border")
    inside = (..., *[slice(8, 16)] * dims)
    torch.testing.assert_close(back[inside], smooth[inside], atol=0.02, rtol=0)


def test_a_translation_of_one_voxel_moves_the_image_by_one_voxel() -> None:
    """Coordinates run from -1 to 1 over 8 voxels: a shift of 2/8 along the last axis."""
    images = torch.arange(8.0).expand(1, 1, 8, 8)
    maps = torch.tensor([[[1.0, 0.0, 2 / 8], [0.0, 1.0, 0.0]]])
    shifted = affine.warped(images, maps, "zeros")
    torch.testing.assert_close(shifted[0, 0, 0, :7], torch.arange(1.0, 8.0))
    torch.testing.assert_close(affine.inverse(maps)[0, 0, 2], torch.tensor(-2 / 8))


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


def test_random_windows_lie_inside_the_image_and_are_drawn_anew() -> None:
    source = replace(model(3).description, patch_size=(8, 8, 8))
    whole = np.random.default_rng(0).random((1, 12, 20, 16), dtype=np.float32)
    patches = RandomPatches(
        replace(model(3), description=source), [whole], 5, np.random.default_rng(1)
    )
    assert len(patches) == 5
    first = patches.batch(range(5))
    assert first.shape == (5, 1, 8, 8, 8)
    values = set(whole.ravel().tolist())
    assert all(value in values for value in first[0].ravel().tolist())
    patches.draw()
    assert not torch.equal(first, patches.batch(range(5)))


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


# --- MuVi --------------------------------------------------------------------------------------


def test_views_are_cyclic_permutations_and_come_back() -> None:
    x = torch.rand(1, 2, 3, 4, 5)
    assert [tuple(views.permuted(x, order).shape[2:]) for order in muvi.VIEWS] == [
        (3, 4, 5),
        (5, 3, 4),
        (4, 5, 3),
    ]
    for order in muvi.VIEWS:
        assert torch.equal(views.permuted(views.permuted(x, order), views.back(order)), x)


def test_a_turned_network_sees_the_permuted_image_and_answers_in_the_images_axes() -> None:
    """A convolution along the first axis alone: in a view it runs along the axis that is first."""
    network = nn.Sequential(nn.Conv3d(1, 1, (3, 1, 1), padding=(1, 0, 0), bias=False))
    images = torch.rand(1, 1, 5, 6, 7)
    weight = network[0].weight
    for order in muvi.VIEWS:
        axis = order[0]
        logits, features = views.turned(network, images, order, (1, 1, 1), "0")
        shape, padding = [1] * 3, [0] * 3
        shape[axis], padding[axis] = 3, 1
        expected = F.conv3d(images, weight.reshape(1, 1, *shape), padding=padding)
        torch.testing.assert_close(logits, expected)
        assert torch.equal(features, logits)


def test_windows_of_a_view_are_padded_to_what_the_network_halves() -> None:
    source = with_network(INSTANCE_3D, (6, 8, 8))
    images = torch.rand(1, 1, 6, 8, 8)
    name = views.deepest(source.network, torch.rand(1, 1, 8, 8, 8))
    for order in muvi.VIEWS:
        logits, _ = views.turned(source.network, images, order, (4, 4, 4), name)
        assert logits.shape == images.shape


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        (INSTANCE_3D, "bottleneck"),
        (dict(model(3).description.network), "up3.3"),
        (
            {
                "_target_": "monai.networks.nets.UNet",
                "spatial_dims": 3,
                "in_channels": 1,
                "out_channels": 1,
                "channels": [4, 8, 8],
                "strides": [2, 2],
            },
            "model.1.submodule.1",
        ),
    ],
)
def test_the_deepest_features_are_found_in_any_network(
    definition: dict[str, Any], expected: str
) -> None:
    network = build_network(definition).eval()
    assert views.deepest(network, torch.rand(1, 1, 16, 16, 16)) == expected


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


# --- InTEnt ------------------------------------------------------------------------------------


def blended(source: Source, **options: Any) -> Segmented:
    method = registry.find("intent")
    values, target = method.values(options, PUBLISHED), image()
    p = predict(source, target.array, values)
    return registry.entry(method)(source, target, p, values, 0, silent)


def test_intent_weighs_foreground_and_background_alike() -> None:
    """One sure foreground voxel, three background voxels of 1/4: (0 + H(1/4)) / 2."""
    p = torch.tensor([1.0, 0.25, 0.25, 0.25]).view(1, 1, 4)
    bits = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    found = intent.balanced_entropy(torch.stack([1 - p, p]))
    assert found == pytest.approx(bits / 2)
    assert intent.balanced_entropy(torch.stack([1 - p[..., 1:], p[..., 1:]])) == pytest.approx(bits)


def test_intent_gives_the_surest_map_e_times_the_weight_of_the_least_sure() -> None:
    low, middle, high = intent.weights([0.1, 0.2, 0.3])
    assert low / high == pytest.approx(math.e) and middle / high == pytest.approx(math.sqrt(math.e))
    assert low + middle + high == pytest.approx(1)
    assert intent.weights([0.2, 0.2]) == pytest.approx([0.5, 0.5])


def test_intent_averages_predictions_with_blended_statistics() -> None:
    """Against networks of which every mean and variance is blended by hand."""
    source, target = model(), image()
    found = blended(source, blends=3)
    reestimated = copy.deepcopy(source.network)
    reestimate(reestimated, TargetPatches(source, [target.array]), 24)
    options, maps = registry.find("none").values({}), []
    for rate in (0, 0.5, 1):
        network = copy.deepcopy(source.network)
        for mine, theirs in zip(network.modules(), reestimated.modules(), strict=True):
            if isinstance(mine, nn.BatchNorm2d):
                mine.running_mean = (1 - rate) * mine.running_mean + rate * theirs.running_mean
                mine.running_var = (1 - rate) * mine.running_var + rate * theirs.running_var
        maps.append(predict(source, target.array, options, network=network))
    shares = intent.weights([intent.balanced_entropy(p) for p in maps])
    expected = sum(share * p for share, p in zip(shares, maps, strict=True))
    torch.testing.assert_close(found.probabilities, expected, atol=2e-3, rtol=0)
    assert [one["rate"] for one in found.report["blends"]] == [0, 0.5, 1]
    assert [one["weight"] for one in found.report["blends"]] == pytest.approx(shares, abs=1e-5)


def test_intent_changes_nothing_of_the_model_and_repeats_itself() -> None:
    source = model(3, 3)
    before = copy.deepcopy(source.network.state_dict())
    first, second = blended(source), blended(source)
    assert torch.equal(first.probabilities, second.probabilities)
    assert len(first.report["blends"]) == 6
    after = source.network.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in after.items())


def test_intent_is_refused_by_a_network_without_batch_normalisation() -> None:
    description = with_network(INSTANCE_3D, (8, 8, 8)).description
    assert "batch normalisation" in registry.lacking(description.holds)["intent"]


# --- A toy shift -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["dg-tta", "intent"])
def test_a_brighter_image_is_segmented_better(
    method: str, phantom: Callable[..., Phantom], tmp_path: Path
) -> None:
    """A gamma of 0.4: the source finds a Dice of about 0.6, and nobody told it of the labels."""
    made = phantom()
    volume = read_volume([made.image])
    brighter = 300 * (np.clip(volume.array, 0, 300) / 300) ** 0.4
    given = write(tmp_path / "bright.nrrd", brighter, volume.geometry)
    files = ["--bundle", made.bundle, "--input", given, "--output", tmp_path / "out"]
    words = ["--method", method, "--device", "cpu", "--gate", "off"]
    if method == "dg-tta":
        words += ["--option", "epochs=2", "--option", "ensemble=2"]
    assert main(["run", *map(str, files), *words]) == 0
    reference = read_labels(made.labels).array[0] > 0
    before, after = (
        dice(read_labels(tmp_path / "out" / f"{name}.seg.nrrd").array[0] > 0, reference)
        for name in ("source_segmentation", "adapted_segmentation")
    )
    assert after > before + 0.1, (before, after)
    bundle = tmp_path / "out/adapted_bundle"
    assert bundle.exists() == (method == "dg-tta")
    if bundle.exists():  # two sets of weights, without a head on features that they do not share
        facts = inspect(bundle)
        assert facts["ensemble"] == 2 and not facts["early_head"]
