"""What the methods compute, held against their originals: fixtures made with the originals' code,
figures by hand, and independent implementations of the papers' equations.
"""

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
from small_models import TRAINED, adapt, image, model
from torch import Tensor, nn
from torch.nn import functional as F

from SFDALib.adaptation import dpl, iapc, protocontra, self_training, upl
from SFDALib.adaptation.common import contrast, features, losses
from SFDALib.adaptation.common.augmentation import weak
from SFDALib.adaptation.common.batch_norm import reestimate
from SFDALib.adaptation.common.intensity_noise import random_gamma
from SFDALib.adaptation.common.patches import TargetPatches
from SFDALib.adaptation.common.prior import VolumeRatios
from SFDALib.adaptation.common.recipe import Recipe, Setting
from SFDALib.bundle.source import Source
from SFDALib.methods import registry
from SFDALib.methods.option import PUBLISHED
from SFDALib.networks.sfda_unet import SFDAUNet

DPL = json.loads((PARITY / "dpl.json").read_text())


def setting(method: str, source: Source, count: int = 1, **options: Any) -> Setting:
    """What the loop would give the method, for images of 8 slices."""
    images = [image(index + 1) for index in range(count)]
    patches = TargetPatches(source, [one.array for one in images])
    values = registry.find(method).values({"batch": 4, **options}, PUBLISHED)
    network = copy.deepcopy(source.network)
    return Setting(source, network, images, patches, values, np.random.default_rng(0))


class Linear(nn.Module):
    """Features are the image's channels; one classifier of width 1."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        outputs, inputs = weight.shape
        self.body = nn.Conv2d(inputs, inputs, 1, bias=False)
        self.body.weight.data = torch.eye(inputs)[..., None, None]
        self.head = nn.Conv2d(inputs, outputs, 1, bias=bias is not None)
        self.head.weight.data = weight[..., None, None]
        if bias is not None:
            self.head.bias.data = bias

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def loss_of(recipe: Recipe, indices: list[int]) -> float:
    """Without gradients: no augmentation and no dropout."""
    recipe.on_source()
    with torch.no_grad():
        return recipe.loss(indices).item()


# --- Temperature -------------------------------------------------------------------------------


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


# --- AdaMI and AdaEnt --------------------------------------------------------------------------


def note_of(**options: Any) -> str:
    """1200 mm2 a slice, of 16 x 16 pixels of 3 x 3 x 4 mm: 9.216 ml."""
    return adapt("adami", model(), epochs=1, learning_rate=0, **options).notes[0]


def test_a_volume_in_ml_is_spread_over_the_tagged_slices() -> None:
    """9.216 ml in 4 of 8 slices: a quarter of each; the source's own prediction has no say."""
    assert "Brain 25.0 %" in note_of(prior="9.216 ml", presence="tags", tags="00111100")
    assert "Brain 50.0 %" in note_of(prior="9.216 ml", presence="tags", tags="00011000")
    assert "Brain 12.5 %" in note_of(prior="9.216 ml", presence="all")


@pytest.mark.parametrize("method", ["adami", "adaent"])
def test_the_loss_by_the_whole_volume_does_not_depend_on_the_batch(method: str) -> None:
    """Of a fixed network: the entropy is a mean, and the ratio is that of all eight slices, of
    which the middle four show a block.
    """
    source = replace(model(), network=Linear(torch.tensor([[8.0]]), torch.tensor([-4.0])))
    found = []
    for batch in (1, 2, 8):
        options = {"prior": "0.2", "learning_rate": 0, "bn": "eval", "settle_bn": False}
        found.append(adapt(method, source, batch=batch, **options).curves["training_loss"])
    assert np.ptp(found, axis=0) == pytest.approx(0, abs=1e-5)
    one = setting(method, source, prior="0.2", bn="eval")
    with torch.no_grad():
        p = one.probabilities(one.patches.batch(range(8)))
    ratio = losses.class_ratio(p).mean(0, keepdim=True)
    tau = torch.tensor([[0.8, 0.2]])
    term = losses.ratio_given_prior if method == "adami" else losses.prior_given_ratio
    weights = torch.tensor([0.2, 0.8])  # the inverse sizes
    expected = losses.weighted_entropy(p, weights) + term(ratio, tau)
    assert found[0][0] == pytest.approx(expected.item(), rel=1e-5)


def test_slices_outside_the_batch_keep_their_latest_ratio_and_the_batch_has_the_gradient() -> None:
    """Two images of two and one patches. d mean / d ratio is 1 over the patches in the batch."""
    ratios = VolumeRatios([0, 0, 1])
    ratios.renew([0, 1, 2], torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]]))
    now = torch.tensor([[0.7, 0.3]], requires_grad=True)
    estimate = ratios.estimate([1], now)
    assert estimate.tolist() == [pytest.approx([0.8, 0.2])]
    estimate[0, 1].backward()
    assert now.grad.tolist() == [[0, 1]]
    both = ratios.estimate([0, 2], torch.tensor([[0.9, 0.1], [0.0, 1.0]]))
    assert both[0].tolist() == pytest.approx([0.8, 0.2])
    assert both[1].tolist() == pytest.approx([0.0, 1.0])


# --- DPL ---------------------------------------------------------------------------------------


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


def test_the_gamma_of_dpl_is_the_inverse() -> None:
    """x^(1/2) of .25 in a range of 0 to 1: brighter."""
    images = torch.tensor([[[[0.0, 0.25, 1.0]]]])
    assert random_gamma(images, 2.0, 2.0, 1.0, inverse=True)[0, 0, 0, 1] == pytest.approx(0.5)


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


# --- UPL ---------------------------------------------------------------------------------------


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


def test_the_batches_of_upl_are_neighbouring_slices_of_one_image() -> None:
    source = model()
    patches = setting("upl", source, count=2).patches
    runs = patches.stacks(3, np.random.default_rng(0))
    assert sorted(index for run in runs for index in run) == list(range(16))
    assert sorted(len(run) for run in runs) == [2, 2, 3, 3, 3, 3]
    for run in runs:
        assert run == list(range(run[0], run[0] + len(run))), "one above the other"
        assert len({patches.image_of[index] for index in run}) == 1


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


# --- ProtoContra -------------------------------------------------------------------------------


class Given:
    """Patches that are these images."""

    def __init__(self, images: Tensor) -> None:
        self._images = images

    def batch(self, _: Any) -> Tensor:
        return self._images

    def __len__(self) -> int:
        return len(self._images)


def protocontra_loss(network: nn.Module, images: Tensor, **options: Any) -> float:
    source = replace(model(), network=network)
    values = registry.find("protocontra").values({"calibrated": False, **options}, PUBLISHED)
    one = Setting(source, network, (), Given(images), values, None)
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


def test_the_contrast_leaves_out_a_class_that_the_model_is_sure_of_everywhere() -> None:
    """Entropies of .5004 nat: 9 pixels are 4.5 in all, and 10 are 5.004."""
    p = torch.tensor([[0.8, 0.2]])
    entropy = -(0.8 * math.log(0.8) + 0.2 * math.log(0.2))
    assert 9 * entropy < 5 < 10 * entropy
    for count, shown in ((9, False), (10, True)):
        sure, unsure = contrast.masks(p.expand(count, 2), 1.0)
        assert bool(sure.any()) is bool(unsure.any()) is shown


def test_the_cross_entropy_of_the_contrast_drops_the_most_uncertain_of_each_class() -> None:
    """20 pixels, all of class 0, the last four most uncertain: 20 % of them are dropped, and the
    mean over the 16 is multiplied by 20 / 16.
    """
    best = torch.tensor([*[0.6] * 16, *[0.55] * 4])
    p = torch.stack([best, 1 - best])[None]
    logits = torch.stack([torch.zeros(20), torch.arange(20.0)])[None]
    each = torch.log1p(torch.exp(torch.arange(20.0)))
    found = contrast.sure_cross_entropy(logits, p, 20.0).item()
    assert found == pytest.approx((each[:16].mean() * 20 / 16).item(), rel=1e-5)
    sure = torch.tensor([0.99, 0.01]).view(1, 2, 1).expand(1, 2, 20)  # 1.1 nat in all
    assert contrast.sure_cross_entropy(logits, sure, 20.0).item() == pytest.approx(each.mean())


def test_weak_augmentation_changes_a_part_and_keeps_the_rest() -> None:
    torch.manual_seed(0)
    images = torch.rand(40, 1, 12, 16)
    assert torch.allclose(weak(images, 0.0), images, atol=1e-5)
    changed = [
        not torch.allclose(a, b, atol=1e-4) for a, b in zip(weak(images), images, strict=True)
    ]
    assert 0.45 < np.mean(changed) < 0.9  # 1 - .75^4 = .68
    block = torch.rand(2, 1, 4, 12, 16)
    assert torch.allclose(weak(block, 0.0), block, atol=1e-5)
    assert weak(block, 1.0).shape == block.shape


# --- IAPC --------------------------------------------------------------------------------------


def test_the_class_weights_of_iapc_are_those_of_the_batch() -> None:
    """Two images of 4 pixels; below 2 pixels an image, 4 in all, a class is small."""
    label = torch.tensor([[0, 0, 0, 1], [0, 1, 1, 1]])
    weights, rarity = iapc.class_weights(label, torch.ones(3), 2, 7.0)
    assert rarity.tolist() == pytest.approx([1, 1, 1.6])  # .9 + .1 * 7
    assert weights.tolist() == pytest.approx([1, 1, 7 * 1.6])
    weights, rarity = iapc.class_weights(label, rarity, 3, 7.0)
    assert rarity.tolist() == pytest.approx([1, 1, 0.9 * 1.6 + 0.7])
    assert weights[:2].tolist() == pytest.approx([7, 7])


def test_the_loss_of_iapc_is_the_published_one() -> None:
    """An independent implementation; student, source and memory are the same network here."""
    torch.manual_seed(2)
    network, images = Linear(torch.randn(3, 5)), torch.randn(2, 5, 6, 8)
    source = replace(model(2, 3), network=network)
    values = registry.find("iapc").values(
        {"calibrated": False, "several_scales": False, "batch": 2, "small_size": 20},
        PUBLISHED,
    )

    class Ordered(Given):
        def ordered(self, _: int) -> list[list[int]]:
            return [[0, 1]]

    one = Setting(source, network, (), Ordered(images), values, None)
    found = loss_of(iapc.IAPC(one), [0, 1])

    z = network(images).detach()
    p = torch.softmax(z, 1)
    label = z.argmax(1)
    top = p.topk(2, dim=1).values
    importance = 1 - top[:, 1] / top[:, 0]
    factor = torch.tensor(
        [
            (7.0 if (label == k).sum() < 40 else 1.0) * (1.6 if (label == k).sum() == 0 else 1.0)
            for k in range(3)
        ]
    )
    ce = F.cross_entropy(z, label, weight=factor, reduction="none")
    cosine = torch.zeros_like(z)
    for b in range(2):
        for k in range(3):
            where = label[b] == k
            if where.any():
                mean = images[b][:, where].mean(1)
                cosine[b, k] = F.cosine_similarity(images[b], mean[:, None, None], dim=0)
    nearest = cosine.argmax(1)
    agreed = torch.where(nearest == label, label, 255)
    prototype = F.cross_entropy(z, agreed, weight=factor, ignore_index=255, reduction="none")
    symmetric = F.cross_entropy(z, nearest) + F.cross_entropy(cosine, label)
    entropy = -(p * torch.log(p + 1e-5)).sum(1).mean()
    expected = (
        0.2 * (ce * importance).mean()
        + 0.5 * prototype.mean()  # over all pixels, also those that disagree
        + 0.04 * symmetric
        + 2.0 * entropy
    )
    assert (nearest != label).any()
    assert found == pytest.approx(expected.item(), rel=1e-5)


def test_the_memory_of_iapc_is_in_the_mode_of_the_student(monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    inner = features.forward

    def noted(network: nn.Module, *arguments: Any) -> tuple[Tensor, Tensor]:
        modes.append(network.training)
        return inner(network, *arguments)

    for bn, training in (("train", True), ("eval", False)):
        one = setting("iapc", model(), bn=bn)
        recipe = iapc.IAPC(one)
        recipe.on_source()
        recipe.train_mode()
        monkeypatch.setattr(features, "forward", noted)
        recipe.loss([0, 1])
        monkeypatch.undo()
        assert modes == [training, training], "memory, student"
        modes.clear()


# --- Self-training and CBST --------------------------------------------------------------------


@pytest.mark.parametrize("axes", [None, (0,), (0, 1)])
def test_self_training_mirrors_patches_with_their_labels_where_the_bundle_allows(
    axes: tuple[int, ...] | None,
) -> None:
    """A network that passes on what it sees, and labels of the same: the loss is that of patches
    that were not mirrored; the network has seen them so.
    """
    source = model()
    description = replace(source.description, mirror_axes=axes)
    seen = []

    class Passing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Conv2d(1, 1, 1)
            self.head.weight.data.fill_(8.0)
            self.head.bias.data.fill_(-4.0)

        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.detach())
            return self.head(x)

    source = replace(source, description=description, network=Passing())
    one = setting("self-training", source, portion=1.0, portion_max=1.0, flips=1.0)
    skewed = torch.linspace(0, 1, 16).expand(8, 1, 16, 16)
    one.patches._patches = list(skewed)
    recipe = self_training.SelfTraining(one)
    recipe.on_source()
    seen.clear()
    mirrored = recipe.loss([0, 1])
    (shown,) = seen
    allowed = axes is None or 1 in axes
    assert torch.equal(shown, skewed[:2].flip(-1) if allowed else skewed[:2])
    with torch.no_grad():
        assert mirrored.item() == pytest.approx(recipe.loss([0, 1]).item(), rel=1e-6)


# --- The authors' network of AdaMI -------------------------------------------------------------


def test_the_network_of_adami_has_the_published_size() -> None:
    network = SFDAUNet(2, 1, 2)
    assert sum(p.numel() for p in network.parameters()) == 4_678_775
    assert sum(isinstance(part, nn.BatchNorm2d) for part in network.modules()) == 22
    slopes = [part for part in network.modules() if isinstance(part, nn.PReLU)]
    assert len(slopes) == 21 and all(part.weight.tolist() == [0.25] for part in slopes)


def test_the_weights_of_adamis_network_have_the_names_and_meaning_of_its_code() -> None:
    """The forward pass written down anew, from the names in a checkpoint of that code alone."""
    torch.manual_seed(0)
    network = SFDAUNet(2, 1, 3, features=4).eval()
    for value in network.buffers():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5)
    w = network.state_dict()

    def norm(x: Tensor, name: str) -> Tensor:
        return F.batch_norm(
            x, w[f"{name}.running_mean"], w[f"{name}.running_var"], w[f"{name}.weight"],
            w[f"{name}.bias"],
        )  # fmt: skip

    def block(x: Tensor, name: str, stride: int = 1) -> Tensor:
        x = F.conv2d(x, w[f"{name}.0.weight"], stride=stride, padding=1)
        return F.prelu(norm(x, f"{name}.1"), w[f"{name}.2.weight"])

    def level(x: Tensor, name: str, stride: int = 1) -> Tensor:
        return block(block(x, f"{name}.0", stride), f"{name}.1")

    def up(x: Tensor, name: str) -> Tensor:
        x = x.repeat_interleave(2, -1).repeat_interleave(2, -2)
        return block(block(x, f"{name}.1"), f"{name}.2")

    x = torch.randn(2, 1, 16, 24)
    x0 = level(x, "conv0")
    x1 = level(x0, "conv1", 2)
    x2 = level(x1, "conv2", 2)
    b = block(x2, "bridge.0", 2)
    inner = block(b, "bridge.1.convs.0")
    inner = F.conv2d(inner, w["bridge.1.convs.1.weight"], w["bridge.1.convs.1.bias"], padding=1)
    b = block(F.leaky_relu(norm(inner, "bridge.1.convs.2") + b, 0.2), "bridge.2")
    y = up(level(torch.cat([up(b, "deconv1"), x2], 1), "conv5"), "deconv2")
    y = up(level(torch.cat([y, x1], 1), "conv6"), "deconv3")
    y = level(torch.cat([y, x0], 1), "conv7")
    expected = F.conv2d(y, w["final.weight"], w["final.bias"])
    with torch.no_grad():
        torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-5)
