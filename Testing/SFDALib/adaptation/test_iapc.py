"""IAPC: labels, weights and loss against an independent implementation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from recipe_settings import Linear, given, loss_of, setting
from small_models import model
from torch import Tensor, nn
from torch.nn import functional as F

from SFDALib.adaptation import iapc
from SFDALib.adaptation.common import features
from SFDALib.adaptation.common.recipe import Setting
from SFDALib.methods import registry
from SFDALib.methods.option import PUBLISHED


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
        {"calibrated": False, "several_scales": False, "batch": 2, "small_size": 20}, PUBLISHED
    )

    one = Setting(source, network, (), given(images), values, None)
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
