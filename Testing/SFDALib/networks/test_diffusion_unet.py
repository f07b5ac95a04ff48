"""The diffusion network has the original's time steps and refuses what it cannot halve."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets.diffusion_model_unet import get_timestep_embedding
from original_diffusion import tiny_network
from original_weights import fixture_tensor

from SFDALib.errors import RequestError


def test_timestep_embedding_has_the_originals_period() -> None:
    embedding = get_timestep_embedding(torch.tensor([17]), 32, tiny_network().max_period)
    expected = fixture_tensor("timestep_embedding_17_dim32")
    torch.testing.assert_close(embedding, expected, rtol=1e-5, atol=1e-6)


def test_network_refuses_a_grid_that_it_cannot_halve() -> None:
    x = torch.zeros(1, 1, 8, 9, 8)
    with pytest.raises(RequestError, match="multiples of 2"):
        tiny_network()(x, torch.tensor([0]), torch.zeros(1, 2, 8, 9, 8))
