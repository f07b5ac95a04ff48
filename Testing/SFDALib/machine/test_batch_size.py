"""How many patches fit into the memory."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from SFDALib.machine.batch_size import (
    CPU_BATCH,
    GPU_BATCH,
    SHARE,
    activation_bytes,
    batch_that_fits,
    one_patch_at_a_time,
)
from SFDALib.networks.residual_unet import ResidualUNet

CPU = torch.device("cpu")


def test_activations_are_counted_layer_by_layer() -> None:
    """conv 1 -> 4 and ReLU on 8 x 8 floats: 2 x 4 x 64 x 4 bytes."""
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU())
    assert activation_bytes(network, (1, 8, 8)) == 2 * 4 * 64 * 4
    assert next(network.parameters()).device.type == "cpu", "the network itself stays"


@pytest.mark.parametrize("dims", [2, 3])
def test_the_estimate_grows_with_the_patch(dims: int) -> None:
    network = ResidualUNet(dims, 1, 1, features=4)
    small, large = (activation_bytes(network, (1, *(side,) * dims)) for side in (16, 32))
    assert large == small * 2**dims


def test_on_a_gpu_as_many_patches_go_through_at_once_as_fit_into_the_free_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = ResidualUNet(2, 1, 1, features=4)
    need = activation_bytes(network, (1, 32, 32))
    for free, expected in ((0, 1), (3.5, 3), (5.0, 5), (1e6, GPU_BATCH)):
        free_bytes = math.ceil(free * need / SHARE)
        monkeypatch.setattr("SFDALib.machine.batch_size.free_bytes", lambda device, n=free_bytes: n)
        assert batch_that_fits(network, (1, 32, 32), torch.device("cuda")) == expected


def test_on_a_cpu_the_batch_does_not_follow_the_free_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So that the same run gives the same result bit for bit."""
    network = ResidualUNet(2, 1, 1, features=4)
    for free in (0, 10**6, 10**12):
        monkeypatch.setattr("SFDALib.machine.batch_size.free_bytes", lambda device, n=free: n)
        assert batch_that_fits(network, (1, 32, 32), CPU) == CPU_BATCH
    room = 3 * activation_bytes(network, (1, 32, 32))
    monkeypatch.setattr("SFDALib.machine.batch_size.CPU_ROOM", room)
    assert batch_that_fits(network, (1, 32, 32), CPU) == 3


def test_after_memory_ran_out_patches_go_through_one_by_one() -> None:
    network = nn.Conv2d(1, 4, 3, padding=1)
    with one_patch_at_a_time():
        assert batch_that_fits(network, (1, 32, 32), CPU) == 1
    assert batch_that_fits(network, (1, 32, 32), CPU) == CPU_BATCH
