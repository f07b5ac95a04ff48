"""Samplers against Med-DDPM's own numbers, MONAI's DDIM and a case with a known solution."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from monai.networks.schedulers import DDIMScheduler
from original_diffusion import assert_summary, toy_denoiser
from original_weights import FIXTURE, fixture_tensor

from SFDALib.diffusion.samplers import DDIM, DDPM, SAMPLERS, DPMSolverPlusPlus, posterior
from SFDALib.diffusion.schedule import cosine_schedule
from SFDALib.errors import RequestError

SCHEDULE = cosine_schedule()


# --- The samplers ---


def test_ancestral_step_is_the_originals() -> None:
    x, noise_steps = fixture_tensor("q_sample", "out"), FIXTURE["q_sample"]["t"]
    case = FIXTURE["p_mean_variance"]
    alpha_bar = SCHEDULE.alphas_cumprod
    epsilon = toy_denoiser(x, torch.tensor(noise_steps), torch.tensor(case["condition"]))
    for n, t in enumerate(noise_steps):
        a, sigma = alpha_bar[t].sqrt().item(), (1 - alpha_bar[t]).sqrt().item()
        x0 = ((x[n] - sigma * epsilon[n]) / a).clamp(-1, 1)
        mean, variance = posterior(x0, x[n], alpha_bar[t].item(), alpha_bar[t - 1].item())
        torch.testing.assert_close(mean, torch.tensor(case["mean"][n]), rtol=1e-5, atol=1e-6)
        assert variance == pytest.approx(case["var"][n], rel=1e-5)
        assert math.log(variance) == pytest.approx(case["logvar"][n], rel=1e-5)


def test_all_250_ancestral_steps_are_the_originals() -> None:
    case = FIXTURE["sample_seed0_timesteps250"]
    condition = fixture_tensor("p_mean_variance", "condition")[:1]
    generator = torch.Generator().manual_seed(0)

    def draw_noise() -> torch.Tensor:
        return torch.randn(case["shape"], generator=generator)

    sample = DDPM(SCHEDULE, 250).sample(toy_denoiser, draw_noise(), condition, draw_noise)
    assert_summary(sample, case)


MEAN, STD = 0.2, 0.15


def gaussian_denoiser(x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
    """Exact for voxels of N(MEAN, STD^2): E[epsilon | x_t] = sigma (x_t - a m) / var(x_t)."""
    alpha_bar = SCHEDULE.alphas_cumprod[t].reshape(-1, *[1] * (x.ndim - 1))
    variance = alpha_bar * STD**2 + 1 - alpha_bar
    return (1 - alpha_bar).sqrt() * (x - alpha_bar.sqrt() * MEAN) / variance


def gaussian_error(name: str, steps: int) -> float:
    """Mean distance, in STD, of samples from the exact solutions of the diffusion ODE.

    Along a solution (x_t - a MEAN) / sqrt(var(x_t)) is constant.
    """
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 1, 60, 60, dtype=torch.float64, generator=generator)
    solver = SAMPLERS[name](SCHEDULE, steps)
    alpha_bar = SCHEDULE.alphas_cumprod[solver.timesteps[0]]
    scaled = (x - alpha_bar.sqrt() * MEAN) / (alpha_bar * STD**2 + 1 - alpha_bar).sqrt()
    sample = solver.sample(gaussian_denoiser, x, x[:, :0], lambda: pytest.fail("adds noise"))
    return ((sample - (MEAN + STD * scaled)).abs().mean() / STD).item()


def test_deterministic_samplers_converge_to_the_ode_solution() -> None:
    """DDIM is of first order; the bound of all is the last step, from sigma = 0.014 to 0."""
    assert gaussian_error("ddim", 250) < 0.02
    assert gaussian_error("ddim", 250) < gaussian_error("ddim", 50) / 3
    assert gaussian_error("dpm-solver++", 20) < 0.01
    assert gaussian_error("dpm-solver++", 10) < 0.01
    assert gaussian_error("dpm-solver++", 50) < 0.002


@pytest.mark.parametrize(
    ("name", "steps", "tolerance"),
    [
        ("dpm-solver++", 10, 0.03),
        ("dpm-solver++", 20, 0.03),
        ("ddim", 250, 0.03),
        ("ddpm", 250, 0.06),
    ],
)
def test_samples_have_the_mean_and_spread_of_the_data(
    name: str, steps: int, tolerance: float
) -> None:
    generator = torch.Generator().manual_seed(2)

    def draw_noise() -> torch.Tensor:
        return torch.randn(1, 1, 100, 100, dtype=torch.float64, generator=generator)

    x = draw_noise()
    sample = SAMPLERS[name](SCHEDULE, steps).sample(gaussian_denoiser, x, x[:, :0], draw_noise)
    assert sample.mean().item() == pytest.approx(MEAN, abs=0.03 * STD)
    assert sample.std().item() == pytest.approx(STD, rel=tolerance)


def test_ddim_is_monais_where_no_step_is_left_out() -> None:
    monai = DDIMScheduler(num_train_timesteps=SCHEDULE.timesteps)
    monai.alphas_cumprod = SCHEDULE.alphas_cumprod
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(2, 1, 5, 6, 7, dtype=torch.float64, generator=generator)
    solver = DDIM(SCHEDULE, 250)
    assert solver.timesteps == list(range(248, -1, -1))
    ours = solver.sample(gaussian_denoiser, x, x, lambda: x)
    for t in solver.timesteps:
        epsilon = gaussian_denoiser(x, torch.full((2,), t), x)
        x, _ = monai.step(epsilon, t, x)
    torch.testing.assert_close(ours, x, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 7, 20, 250])
def test_time_steps_fall_to_zero_and_are_no_more_than_asked_for(name: str, steps: int) -> None:
    timesteps = SAMPLERS[name](SCHEDULE, steps).timesteps
    assert len(timesteps) == steps or steps == 250
    assert timesteps[0] == (249 if name == "ddpm" else 248)
    assert all(a > b for a, b in pairwise(timesteps))
    assert timesteps[-1] == 0 or steps == 1


def test_dpm_solver_steps_are_uniform_in_log_snr() -> None:
    timesteps = DPMSolverPlusPlus(SCHEDULE, 12).timesteps
    lambdas = 0.5 * torch.logit(SCHEDULE.alphas_cumprod[timesteps])
    steps = lambdas.diff()
    # 9.35 in 11 steps; a time step's rounding moves an end by at most half of its own 0.7.
    assert steps.mean().item() == pytest.approx((4.2730 + 5.0778) / 11, rel=1e-4)
    assert steps.min() > 0.45
    assert steps.max() < 1.3


@pytest.mark.parametrize("steps", [0, 251])
def test_samplers_refuse_steps_that_the_schedule_has_not(steps: int) -> None:
    with pytest.raises(RequestError, match="expected 1 to 250"):
        DPMSolverPlusPlus(SCHEDULE, steps)
