"""The residual U-Net against UDAS's own numbers, and its 3D sibling."""

from __future__ import annotations

import json

import pytest
import torch
from original_weights import fill
from paths import PARITY
from torch import nn

from SFDALib.adaptation.early_features import early_logits, refinement_loss, set_mode
from SFDALib.networks.residual_unet import EarlyHead, ResidualUNet

FIXTURE = json.loads((PARITY / "udas_net.json").read_text())
RESIDUAL = "SFDALib.networks.residual_unet.ResidualUNet"
IMAGES = torch.tensor(FIXTURE["input"])


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def batch_norms(module: nn.Module) -> list[nn.Module]:
    kinds = (nn.BatchNorm2d, nn.BatchNorm3d)
    return [part for part in module.modules() if isinstance(part, kinds)]


def filled() -> tuple[ResidualUNet, EarlyHead]:
    """The fixture's network (4 features) and its head of level 0; only init_path is trained."""
    network, head = ResidualUNet(2, 1, 1, features=4), EarlyHead(2, 4, 1)
    fill(network, FIXTURE["names_shapes"])
    fill(head, FIXTURE["head_names_shapes"])
    network.requires_grad_(False).init_path.requires_grad_(True)
    return network.eval(), head.requires_grad_(False).eval()


def assert_summary(tensor: torch.Tensor, name: str) -> None:
    """`tensor` is the one that the fixture gives the sums and the ends of, to rtol 1e-4."""
    summary = FIXTURE[name]
    assert list(tensor.shape) == summary["shape"]
    values = tensor.detach().double().flatten()
    assert values.sum().item() == pytest.approx(summary["sum"], rel=1e-4)
    assert values.abs().sum().item() == pytest.approx(summary["abs_sum"], rel=1e-4)
    assert values.square().sum().item() == pytest.approx(summary["sq_sum"], rel=1e-4)
    assert values[:6].tolist() == pytest.approx(summary["first"], rel=1e-4, abs=1e-6)
    assert values[-3:].tolist() == pytest.approx(summary["last"], rel=1e-4, abs=1e-6)


def test_every_part_of_the_published_network_has_as_many_parameters_as_the_original() -> None:
    expected = FIXTURE["params"]
    network = ResidualUNet(2, 1, 1, features=16)

    assert count(network) == expected["total"] == 2434771
    for name, part in network.named_children():
        assert count(part) == expected[name], name
    assert set(dict(network.named_children())) == set(expected) - {
        *("total", "total_4class", "head_level0", "head_level1"),
        *("init_path_bn_affine", "n_bn_init_path", "n_bn_total"),
    }
    assert count(ResidualUNet(2, 1, 4, features=16)) == expected["total_4class"]
    assert count(EarlyHead(2, 16, 1)) == expected["head_level0"]
    assert count(EarlyHead(2, 32, 1)) == expected["head_level1"]
    assert len(batch_norms(network)) == expected["n_bn_total"]
    assert len(batch_norms(network.init_path)) == expected["n_bn_init_path"]
    assert sum(map(count, batch_norms(network.init_path))) == expected["init_path_bn_affine"]


def test_logits_are_the_originals() -> None:
    network, _ = filled()
    with torch.no_grad():
        assert_summary(network(IMAGES), "final_eval")


def test_features_before_the_first_down_sampling_are_the_originals() -> None:
    network, _ = filled()
    assert_summary(network.init_path(IMAGES), "x0_eval")


def test_early_logits_of_level_0_are_the_originals() -> None:
    network, head = filled()
    assert_summary(early_logits([network.init_path], head, IMAGES), "early_eval")


def test_early_logits_of_level_1_are_enlarged_to_the_originals() -> None:
    network, _ = filled()
    head = EarlyHead(2, 8, 1)
    names_shapes = [
        (name, [size, 8, 3, 3] if name == "conv1.weight" else [size, *rest])
        for name, (size, *rest) in FIXTURE["head_names_shapes"]
    ]
    fill(head, names_shapes)
    logits = early_logits([network.init_path, network.down1], head, IMAGES)
    assert_summary(logits, "early_level1_eval")


@pytest.mark.parametrize("bn", ["train_all", "eval"])
@pytest.mark.parametrize("detached", [True, False])
def test_one_refinement_step_is_the_originals(detached: bool, bn: str) -> None:
    teacher = "detached" if detached else "original_no_detach"
    expected = FIXTURE[f"refine_step_{teacher}_{'train' if bn == 'train_all' else 'eval'}_bn"]
    network, head = filled()
    head.requires_grad_(True)  # as the original has it: its gradient is known, but nobody steps
    stages = (network.init_path,)
    trained = list(network.init_path.parameters())
    optimiser = torch.optim.Adam(trained, 1e-3)
    deep = [p for name, p in network.named_parameters() if "init_path" not in name]
    deep_before = [parameter.clone() for parameter in deep]

    set_mode(network, stages, bn)
    loss = refinement_loss(network, stages, head, IMAGES, detach_teacher=detached)
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-5)
    loss.backward()
    assert expected["grad_other_params"] == 0
    assert all(parameter.grad is None for parameter in deep)
    head_sum = sum(parameter.grad.abs().sum().item() for parameter in head.parameters())
    assert head_sum == pytest.approx(expected["grad_head"], rel=1e-4)
    norm = torch.cat([parameter.grad.flatten() for parameter in trained]).norm().item()
    assert norm == pytest.approx(expected["grad_norm"], rel=1e-4)
    first = trained[0].grad.flatten()[:5].tolist()
    assert first == pytest.approx(expected["grad_first"], rel=1e-4, abs=1e-7)

    optimiser.step()
    counted = {}
    for name, part in network.named_children():
        if batch_norms(part):
            (counted[name],) = {int(norm.num_batches_tracked) for norm in batch_norms(part)}
    assert counted == dict(expected["num_batches_tracked"])
    assert all(map(torch.equal, deep, deep_before))

    network.eval()
    with torch.no_grad():
        after = refinement_loss(network, stages, head, IMAGES, detach_teacher=True)
    assert after.item() == pytest.approx(expected["loss_after_eval"], rel=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_temperature_divides_the_teachers_logits_alone(temperature: float) -> None:
    network, head = filled()
    early = early_logits((network.init_path,), head, IMAGES)
    teacher = torch.sigmoid(network(IMAGES) / temperature)
    p = torch.sigmoid(early)
    expected = -(teacher * torch.log(p) + (1 - teacher) * torch.log(1 - p)).mean()
    loss = refinement_loss(network, (network.init_path,), head, IMAGES, True, temperature)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("detached", [True, False])
def test_refinement_gives_the_frozen_deep_part_and_head_no_gradient(detached: bool) -> None:
    network, head = filled()
    refinement_loss(network, (network.init_path,), head, IMAGES, detached).backward()
    frozen = [p for name, p in network.named_parameters() if "init_path" not in name]
    assert all(parameter.grad is None for parameter in (*frozen, *head.parameters()))
    assert all(parameter.grad is not None for parameter in network.init_path.parameters())


@pytest.mark.parametrize(
    ("bn", "early_updates", "deep_updates"),
    [("train_all", 2, 1), ("train_updated", 2, 0), ("eval", 0, 0)],
)
def test_batch_norm_modes_update_the_statistics_they_name(
    bn: str, early_updates: int, deep_updates: int
) -> None:
    network, head = filled()
    set_mode(network, (network.init_path,), bn)
    refinement_loss(network, (network.init_path,), head, IMAGES, detach_teacher=True)
    early = batch_norms(network.init_path)
    for norm in batch_norms(network):
        wanted = early_updates if any(norm is one for one in early) else deep_updates
        assert int(norm.num_batches_tracked) == wanted


@pytest.mark.parametrize("size", [(8, 16, 24), (16, 8, 8)])
@pytest.mark.parametrize("outputs", [1, 3])
def test_the_3d_sibling_runs_on_sides_that_are_multiples_of_8_and_learns(
    size: tuple[int, ...], outputs: int
) -> None:
    torch.manual_seed(0)
    network = ResidualUNet(3, 2, outputs, features=4)
    images = torch.randn(2, 2, *size)
    target = torch.rand(2, outputs, *size)
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(2):
        logits = network(images)
        assert logits.shape == (2, outputs, *size)
        losses.append((logits - target).square().mean())
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert losses[1] < losses[0]


def test_the_3d_sibling_has_the_parts_of_the_2d_network() -> None:
    flat, solid = ResidualUNet(2, 1, 1, 4).state_dict(), ResidualUNet(3, 1, 1, 4).state_dict()
    assert list(flat) == list(solid)
    for name, value in flat.items():
        kernel = value.shape[2:3]  # each kernel gains a third side
        assert solid[name].shape == (*value.shape, *kernel)
