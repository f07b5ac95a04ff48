"""The compared methods: each loss by hand or against the originals, and how all of them behave."""

from __future__ import annotations

import copy
import json
import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from bundles import describe
from original_weights import fill
from paths import ROOT
from small_models import DYNUNET, TRAINED, adapt, delivered, image, model, take_the_last_state
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from SFDALib.adaptation import dpl, iapc, protocontra, tent, upl
from SFDALib.adaptation.common import contrast, features, loop, losses, pseudo_labels
from SFDALib.adaptation.common.batch_norm import affine_parameters
from SFDALib.adaptation.common.intensity_noise import random_erasing, random_gamma, salt_and_pepper
from SFDALib.adaptation.common.patches import TargetPatches
from SFDALib.adaptation.common.recipe import Setting
from SFDALib.bundle.assembly import ensemble_of
from SFDALib.errors import Cancelled, RequestError
from SFDALib.gin import random_convolutions
from SFDALib.methods import registry
from SFDALib.methods.option import PUBLISHED
from SFDALib.networks import catalogue
from SFDALib.networks.build import build_network

TENT = json.loads((ROOT / "Testing/parity/tent.json").read_text())
NEW = [name for name in TRAINED if name not in ("adami", "adaent", "early-features")]


# --- Losses ------------------------------------------------------------------------------------


def test_tent_has_the_originals_entropy() -> None:
    case = TENT["softmax_entropy"]
    p = torch.softmax(torch.tensor(case["logits"]), dim=1)
    entropy = torch.special.entr(p).sum(1)
    torch.testing.assert_close(entropy, torch.tensor(case["out"]), rtol=1e-5, atol=1e-6)
    assert losses.mean_entropy(p).item() == pytest.approx(entropy.mean().item())


class OneBatch:
    """Patches of which every batch is the same."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def batch(self, _: list[int]) -> Tensor:
        return self.images


def test_a_step_of_tent_is_the_originals() -> None:
    """Loss, gradients, and parameters after one step of Adam; all other weights stay."""
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 1)
    )
    fill(network, TENT["names_shapes"])
    before = copy.deepcopy(network.state_dict())
    patches = OneBatch(torch.tensor(TENT["seg_step"]["input"]))
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


def test_self_training_thresholds_are_those_of_the_most_confident_pixels() -> None:
    """Class 0 has 4 pixels, of which 50 % are 2: the second largest, 0.8. Class 1 has one, of which
    50 % are none: 1. Together, 2 of 5: 0.8 again.
    """
    confidence = torch.tensor([0.9, 0.6, 0.8, 0.7, 0.6])
    winner = torch.tensor([0, 0, 0, 0, 1])
    by_class = pseudo_labels.thresholds(confidence, winner, 2, 0.5)
    assert by_class.tolist() == pytest.approx([0.8, 1.0])
    assert pseudo_labels.thresholds(confidence, None, 2, 0.5).tolist() == pytest.approx([0.8, 0.8])
    assert pseudo_labels.thresholds(confidence, None, 2, 0.0).tolist() == [1, 1]


def test_cbst_labels_by_the_ratio_to_the_threshold_and_ignores_the_rest() -> None:
    """p / threshold = (.75, 1.5), (1.125, .25), (.75, .67)."""
    p = torch.tensor([[0.6, 0.9, 0.6], [0.6, 0.1, 0.267]]).T.reshape(1, 3, 2).transpose(1, 2)
    label = pseudo_labels.pseudo_label(p, torch.tensor([0.8, 0.4]))
    assert label.tolist() == [[1, 0, pseudo_labels.IGNORED]]


def test_crst_softens_the_labels_by_the_weight_of_their_entropy() -> None:
    """Ratios (.75, 1.5) and (1.125, .25): with a weight of 1 the shares of their sum, with 1/2
    those of their squares; a pixel whose ratios stay below 1 has no label.
    """
    p = torch.tensor([[0.6, 0.9, 0.6], [0.6, 0.1, 0.267]])[None]
    limits = torch.tensor([0.8, 0.4])
    soft = pseudo_labels.soft_label(p, limits, 1.0)
    assert soft[0, 0].tolist() == pytest.approx([1 / 3, 1.125 / 1.375, 0])
    assert soft[0, 1].tolist() == pytest.approx([2 / 3, 0.25 / 1.375, 0])
    squared = pseudo_labels.soft_label(p, limits, 0.5)
    assert squared[0, 1, 0].item() == pytest.approx(0.8)


def test_crst_losses_are_means_over_what_is_labelled() -> None:
    logits = torch.tensor([[[0.0, math.log(3), 5.0]]])  # p of the foreground: 1/2, 3/4
    target = torch.tensor([[[0.5, 0.25, 0.0], [0.5, 0.75, 0.0]]])
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    value = losses.masked_soft_cross_entropy(logits, target).item()
    assert value == pytest.approx((math.log(2) + entropy) / 2)
    labelled = torch.tensor([[True, True, False]])
    uniform = -(math.log(0.25) + math.log(0.75)) / 2
    value = losses.uniform_cross_entropy(logits, labelled).item()
    assert value == pytest.approx((math.log(2) + uniform) / 2)


def test_masked_cross_entropy_is_the_mean_over_what_is_labelled() -> None:
    logits = torch.tensor([[[0.0, 2.0, 5.0]]])  # one output: a sigmoid
    labels = torch.tensor([[1, 0, 255]])
    expected = (math.log(2) + math.log(1 + math.exp(2))) / 2
    assert losses.masked_cross_entropy(logits, labels, 255).item() == pytest.approx(expected)
    assert losses.masked_cross_entropy(logits, torch.full((1, 3), 255), 255).item() == 0


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


def test_upl_does_not_punish_what_lies_beyond_its_label() -> None:
    label = torch.tensor([[[1.0, 1.0, 0.0, 0.0]]])
    inside = torch.tensor([[[0.5, 0.5, 0.0, 0.0]]])
    beyond = torch.tensor([[[0.5, 0.5, 1.0, 1.0]]])
    value = upl.masked_dice_loss(inside, label).item()
    assert value == pytest.approx(1 - 2 / 2.5, abs=1e-4)
    assert upl.masked_dice_loss(beyond, label).item() == pytest.approx(value)
    half = torch.full((1, 2, 3), 0.5)
    assert upl.entropy_bits(half).item() == pytest.approx(0.5)  # 1 bit over 2 classes


def test_protocontra_is_zero_on_the_prototypes_and_half_beside_them() -> None:
    mu = torch.eye(2)
    pi = torch.tensor([0.5, 0.5])
    sure = torch.tensor([[100.0, -100.0], [-100.0, 100.0]])
    assert protocontra.alignment(3 * mu, mu, sure, pi).item() == pytest.approx(0, abs=1e-6)
    crossed = protocontra.alignment(mu.flip(0), mu, sure, pi).item()
    assert crossed == pytest.approx(0.5 + 0.5)  # cos 0: 1/2 in each direction


def test_contrast_tells_sure_from_unsure_pixels_within_each_class() -> None:
    """11 pixels of each class, entropies rising with the index: percentiles 70 and 80 are those of
    the 8th and the 9th. The background's share of unsure pixels is a quarter: 85 and 95, between
    the 9th to the 11th. At the end of the training: 90 and 100.
    """
    best = torch.linspace(0.99, 0.6, 11)
    rest = (1 - best) / 2
    background, first = torch.stack([best, rest, rest], 1), torch.stack([rest, best, rest], 1)
    sure, unsure = contrast.masks(torch.cat([background, first]), 1.0)
    assert sure.view(2, 11).sum(1).tolist() == [9, 8]
    assert unsure.view(2, 11).sum(1).tolist() == [1, 3]
    sure, unsure = contrast.masks(torch.cat([background, first]), 0.0)
    assert sure.view(2, 11).sum(1).tolist() == [10, 10]
    assert unsure.view(2, 11).sum(1).tolist() == [1, 1]


def test_contrast_weighs_the_positive_against_the_negatives() -> None:
    """Cosines 1 and 0, 0 at temperature 1: - ln e / (e + 2)."""
    anchors = torch.tensor([[2.0, 0.0]])
    negatives = torch.tensor([[[0.0, 1.0], [0.0, -3.0]]])
    value = contrast.info_nce(anchors, torch.tensor([5.0, 0.0]), negatives, 1.0).item()
    assert value == pytest.approx(-math.log(math.e / (math.e + 2)))


def test_contrast_moves_the_sure_pixels_of_images_that_show_two_classes_or_more() -> None:
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False))
    teacher[0].weight.data = torch.eye(3)[..., None, None]  # features are logits
    images = torch.randn(2, 3, 8, 8)
    seen = images.clone().requires_grad_(True)
    loss = contrast.Contrast(teacher, "0", 4, 0.1).loss(images, seen)
    loss.backward()
    assert loss > 0
    sure, _ = contrast.masks(images.softmax(1).movedim(1, -1).reshape(-1, 3), 1.0)
    moved = seen.grad.abs().sum(1).flatten() > 0
    assert moved.any() and not (moved & ~sure).any()
    alone = images - 10 * torch.tensor([0.0, 1.0, 1.0]).view(1, 3, 1, 1)  # one class everywhere
    assert contrast.Contrast(teacher, "0", 4, 0.1).loss(alone, seen) == 0


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


def test_iapc_labels_by_the_sum_over_sizes_and_mirror_images() -> None:
    """A network that is a sigmoid of its input less 1/2, on a bright left half: every size and its
    mirror image say the same. One that is bright only at the published size is outvoted.
    """

    class Brighter(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 8 * (x - 0.5) if x.shape[-1] != self.blind else torch.full_like(x, -9.0)

    network = Brighter()
    source = replace(model(), network=network)  # divisor 8
    source = Setting(
        source,
        network,
        (),
        None,
        registry.find("iapc").values({"calibrated": False}, PUBLISHED),
        None,
    )
    images = torch.zeros(1, 1, 16, 32)
    images[..., :16] = 1
    network.blind = 0
    expected = (images[:, 0] > 0.5).byte()
    for scales in ((), iapc.SCALES):
        assert torch.equal(iapc.source_labels(source, images, scales), expected)
    network.blind = 40  # 1.25 of 32; its vote of .0001 is outweighed by two of .98
    assert torch.equal(iapc.source_labels(source, images, iapc.SCALES), expected)
    network.blind = 32
    assert iapc.source_labels(source, images, ()).sum() == 0


def test_iapc_weighs_a_pixel_by_its_margin() -> None:
    logits = torch.log(torch.tensor([0.6, 0.3, 0.1])).view(1, 3, 1)
    assert iapc.importance(logits, "probability").item() == pytest.approx(0.5)
    raw = torch.tensor([2.0, 1.0, 0.0]).view(1, 3, 1)
    assert iapc.importance(raw, "logit").item() == pytest.approx(0.5)
    seen = torch.tensor([[[3.0, 0.0], [0.0, 2.0]]])  # (1, F, N)
    centroids = iapc.image_centroids(seen, torch.tensor([[0, 1]]), 3)
    assert centroids.tolist() == [[[1, 0], [0, 1], [0, 0]]]
    assert iapc.cosines(seen, centroids)[0, :, 0].tolist() == [1, 0, 0]


@pytest.mark.parametrize("dims", [2, 3])
def test_random_intensities_keep_shape_and_norm_and_follow_the_seed(dims: int) -> None:
    images = torch.rand(3, 2, *[8] * dims)
    torch.manual_seed(3)
    first = random_convolutions(images)
    torch.manual_seed(3)
    assert torch.equal(first, random_convolutions(images))
    assert first.shape == images.shape and not torch.allclose(first, images)
    norms = [t.flatten(1).norm(dim=1) for t in (first, images)]
    torch.testing.assert_close(*norms)
    bright = random_gamma(images, 2.0, 2.0, chance=1)
    assert bright.amin() == pytest.approx(images.amin().item(), abs=1e-5)
    assert bright.mean() < images.mean()


def test_specks_are_salt_or_pepper_on_as_many_pixels_as_published() -> None:
    """Salt on a fifth, pepper on four fifths of .4 % of 250,000 pixels: 200 or 800."""
    images = torch.full((8, 1, 500, 500), 0.5)
    images[..., 0, 0], images[..., 0, 1] = 0, 1
    torch.manual_seed(0)
    noisy = salt_and_pepper(images, 1.0)
    changes = (noisy - images)[:, 0].flatten(1)
    salt, pepper = (changes > 0).sum(1).tolist(), (changes < 0).sum(1).tolist()
    assert all((150 < s < 250) != (700 < p < 900) for s, p in zip(salt, pepper, strict=True))
    assert any(s > 150 for s in salt) and any(p > 700 for p in pepper)
    assert torch.equal(salt_and_pepper(images, 0.0), images)


@pytest.mark.parametrize("dims", [2, 3])
def test_erasing_takes_a_rectangle_of_the_published_size(dims: int) -> None:
    torch.manual_seed(0)
    images = 0.4 + 0.2 * torch.rand(6, 1, *[4] * (dims - 2), 100, 100)
    erased = random_erasing(images, 1.0)
    for one, was in zip(erased, images, strict=True):
        changed = (one != was).reshape(-1, 100, 100)
        assert (changed == changed[0]).all(), "the same on all slices"
        rows, columns = changed[0].any(1).sum().item(), changed[0].any(0).sum().item()
        assert changed[0].sum() == rows * columns, "a rectangle"
        assert 0.015 <= rows * columns / 10_000 <= 0.06
        assert 0.25 <= rows / columns <= 0.65
        value = one.reshape(-1, 100, 100)[:, changed[0]]
        assert value.min() == value.max() and was.min() <= value.min() <= was.max()
    assert torch.equal(random_erasing(images, 0.0), images)


# --- Features ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [2, 3])
def test_the_classifier_is_the_convolution_applied_last_and_its_weights_are_the_prototypes(
    dims: int,
) -> None:
    """In eval mode logits = (w f + b - mean) g / sd + shift: a direction w g / sd."""
    network = model(dims, 3).network
    images = torch.rand(1, 1, *[16] * dims)
    name = features.classifier(network, images)
    assert name == "out_path.1.convolution"
    seen, logits = features.forward(network, name, images)
    torch.testing.assert_close(logits, network(images))
    norm, weight = network.out_path[2], network.get_submodule(name).weight.flatten(1)
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    directions = features.prototypes(network, name, images)
    torch.testing.assert_close(directions, weight * scale[:, None], rtol=1e-4, atol=1e-6)
    assert seen.shape == (1, 4, *[16] * dims)


def test_a_sigmoids_prototypes_point_to_either_side() -> None:
    network = model().network
    images = torch.rand(1, 1, 16, 16)
    background, foreground = features.prototypes(
        network, features.classifier(network, images), images
    )
    torch.testing.assert_close(background, -foreground)


def test_dropout_is_the_networks_own_or_put_before_the_classifier() -> None:
    images = torch.ones(1, 1, 16, 16)
    without, own = model().network, nn.Sequential(nn.Conv2d(1, 4, 1), nn.Dropout(0.5))
    for network in (without, own.append(nn.Conv2d(4, 1, 1)).eval()):
        name = features.classifier(network, images)
        before = network(images)
        with features.dropout(network, name, 0.5):
            assert not torch.equal(network(images), before)
        assert torch.equal(network(images), before)


def test_the_classifier_may_learn_faster_than_the_rest() -> None:
    network = model().network
    name = features.classifier(network, torch.rand(1, 1, 16, 16))
    body, head = features.with_head_rate(network, name, 0.1, 10.0)
    assert head["params"] == list(network.get_submodule(name).parameters()) and head["lr"] == 1.0
    assert len(body["params"]) + len(head["params"]) == len(list(network.parameters()))


# --- Behaviour ---------------------------------------------------------------------------------


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


def test_tent_trains_scale_and_shift_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    take_the_last_state(monkeypatch)
    source = model()
    names = delivered(adapt("tent", source, bn="eval"), source)
    ids = {id(p) for p in affine_parameters(source.network)}
    affine = {name for name, p in source.network.named_parameters() if id(p) in ids}
    assert names and names <= affine


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


@pytest.mark.parametrize("method", ["tent", "cbst", "iapc", "dpl"])
def test_a_far_too_high_rate_is_noticed_and_the_source_state_returned(method: str) -> None:
    source = model()
    outcome = adapt(method, source, epochs=4, rounds=1, learning_rate=1.0)
    last = len(outcome.curves["criterion"]) - 1
    best = outcome.curves["criterion"][outcome.best_epoch]
    seen = [x for x in outcome.curves["criterion"] if math.isfinite(x)]
    assert best == min(seen[:-1] if "collapse" in outcome.stopped else seen)
    assert "collapse" in outcome.stopped or last == 4


@pytest.mark.parametrize("method", NEW)
def test_progress_may_end_an_adaptation(method: str) -> None:
    described = registry.find(method)
    values = described.values({"batch": 8}, PUBLISHED)

    def cancel(*_: Any, **__: Any) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        loop.adapt(described, model(), [image()], values, 0, cancel)


def test_batch_statistics_mix_with_the_sources_by_their_share() -> None:
    source = model()
    kept = adapt("bn-statistics", source, source_share=1.0)
    assert not {n for n in delivered(kept, source) if "num_batches" not in n}
    assert len(adapt("bn-statistics", source).curves["criterion"]) == 2


# --- Needs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("norm", "has"),
    [("batch", True), (["BATCH", {"affine": True}], True), ("instance", False), (None, False)],
)
def test_batch_normalisation_is_told_by_the_arguments_as_the_network_has_it(
    norm: Any, has: bool
) -> None:
    definition = {**DYNUNET, **({} if norm is None else {"norm_name": norm})}
    assert catalogue.has_batch_norm(definition) is has
    built = build_network(definition)
    assert any(isinstance(m, nn.BatchNorm2d) for m in built.modules()) is has


def test_a_bundle_without_batch_normalisation_is_told_so() -> None:
    description = replace(describe(), network=DYNUNET)
    reasons = registry.lacking(description.holds)
    assert {n for n, why in reasons.items() if why and "batch normalisation" in why} == {
        "tent",
        "bn-statistics",
        "intent",
    }
    assert registry.lacking(describe().holds)["tent"] is None


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


def test_the_registry_needs_the_standard_library_alone() -> None:
    code = "import sys; from SFDALib.methods import registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
