"""The cosine schedule against Med-DDPM's own numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from original_diffusion import toy_denoiser
from original_weights import FIXTURE, fixture_tensor
from torch import nn

from SFDALib.diffusion.samplers import posterior
from SFDALib.diffusion.schedule import cosine_schedule

SCHEDULE = cosine_schedule()


# --- The schedule ---


def test_cosine_schedule_is_the_originals() -> None:
    np.testing.assert_allclose(SCHEDULE.betas, FIXTURE["betas_250"], rtol=1e-10)
    np.testing.assert_allclose(cosine_schedule(10).betas, FIXTURE["cosine_10"], rtol=1e-10)
    remaining = [1.0, *SCHEDULE.alphas_cumprod.tolist()]  # with that of the image itself first
    for t, expected in FIXTURE["alphas_cumprod"].items():  # float32
        assert remaining[int(t) + 1] == pytest.approx(expected, rel=1e-6)
    x = torch.zeros(1)
    for t, expected in FIXTURE["posterior_variance"].items():
        _, variance = posterior(x, x, remaining[int(t) + 1], remaining[int(t)])
        assert variance == pytest.approx(expected, rel=1e-6)


def test_noisy_images_and_their_loss_are_the_originals() -> None:
    x0, noise, t, expected = (fixture_tensor("q_sample", k) for k in ("x0", "noise", "t", "out"))
    x = SCHEDULE.q_sample(x0, t, noise)
    torch.testing.assert_close(x, expected, rtol=1e-5, atol=1e-6)
    predicted = toy_denoiser(x, t, fixture_tensor("p_mean_variance", "condition"))
    loss = nn.functional.l1_loss(predicted, noise)
    assert loss.item() == pytest.approx(FIXTURE["l1_loss"], rel=1e-5)
