"""The noise schedule: how much of an image is left at each of T time steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from SFDALib.errors import RequestError


@dataclass(frozen=True)
class NoiseSchedule:
    """The variances of a discrete diffusion q(x_t | x_{t-1}) (Ho et al. 2020, arXiv:2006.11239).

    >>> schedule = cosine_schedule(250)
    >>> schedule.timesteps
    250
    >>> bool(schedule.alphas_cumprod[0] > 0.99), bool(schedule.alphas_cumprod[-1] < 1e-6)
    (True, True)

    Args:
        betas: beta_t of each step, t = 0 the least noisy, (T,) float64.
    """

    betas: torch.Tensor

    @property
    def timesteps(self) -> int:
        """T, the number of steps."""
        return len(self.betas)

    @property
    def alphas_cumprod(self) -> torch.Tensor:
        """alpha-bar_t, the share of the image's variance left at step t, (T,) float64."""
        return torch.cumprod(1 - self.betas, dim=0)

    def q_sample(self, x0: torch.Tensor, t: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Noisy images x_t of q(x_t | x_0), eq. 4: what a denoiser is trained on.

        Args:
            x0: images in [-1, 1], (N, C, spatial...).
            t: step of each image, (N,) int64.
            noise: standard normal, of the shape of `x0`.
        """
        remaining = self.alphas_cumprod.to(x0.device)[t].reshape(-1, *[1] * (x0.ndim - 1))
        return remaining.sqrt().to(x0.dtype) * x0 + (1 - remaining).sqrt().to(x0.dtype) * noise


def cosine_schedule(timesteps: int = 250) -> NoiseSchedule:
    """Med-DDPM's cosine schedule: Nichol & Dhariwal 2021 (arXiv:2102.09672), eq. 17, s = 0.008.

    Unlike the paper's, f is sampled at T + 1 points over [0, T + 1] and its argument divided by
    T + 1, so that the points are (T + 1) / T apart; weights depend on it.
    """
    if timesteps < 1:
        raise RequestError(
            f"noise schedule: found {timesteps} time steps, expected 1 or more; raise it"
        )
    s, max_beta = 0.008, 0.999
    x = torch.linspace(0, timesteps + 1, timesteps + 1, dtype=torch.float64)
    f = torch.cos((x / (timesteps + 1) + s) / (1 + s) * math.pi / 2) ** 2
    return NoiseSchedule((1 - f[1:] / f[:-1]).clamp(0, max_beta))
