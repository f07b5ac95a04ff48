"""From noise to images: three ways to run a trained denoiser backwards.

All take the denoiser's noise prediction, turn it into an image prediction x0 clamped to [-1, 1] as
in Med-DDPM, and go on from that. MONAI's schedulers are not used: when some of the time steps are
left out, its DDPM still steps to t - 1 and its DDIM to t - T // steps, neither being the next one,
and both draw the noise of a whole batch from one generator.

Notation: alpha_bar is the share of variance left of the image, a = sqrt(alpha_bar),
sigma = sqrt(1 - alpha_bar), lambda = log(a / sigma); t the present step and s the next, less noisy
one. After the last step s is the image itself, alpha_bar = 1.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch

from SFDALib.diffusion.schedule import NoiseSchedule
from SFDALib.errors import RequestError

# Predicts the noise in x_t (N, C, spatial...) given t (N,) and the condition (N, Cc, spatial...).
Denoiser = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]

# A deterministic solver starts at the noisiest step that is not noisier than this lambda, the
# bound that Lu et al. clip cosine schedules to. At Med-DDPM's last step, lambda -8.5, an error in
# the predicted noise would enter x0 enlarged 5000 times; the bound leaves out that step alone.
MIN_LAMBDA = -5.1


class Sampler(ABC):
    """A way to draw images in at most ``steps`` evaluations of a denoiser.

    Args:
        schedule: what the denoiser was trained with.
        steps: wanted evaluations of the denoiser, 1 to ``schedule.timesteps``.

    Args:
        timesteps: the steps at which the denoiser is evaluated, falling; there can be fewer than
            ``steps`` where the sampler's ideal steps are less than one apart.

    Raises:
        RequestError: ``steps`` is out of range.
    """

    def __init__(self, schedule: NoiseSchedule, steps: int) -> None:
        if not 1 <= steps <= schedule.timesteps:
            raise RequestError(
                f"option steps: found {steps}, expected 1 to {schedule.timesteps}, the time steps"
                " that the diffusion network was trained with; choose fewer"
            )
        self.timesteps = self._choose(schedule, steps)
        self._alpha_bar: list[float] = [*schedule.alphas_cumprod[self.timesteps].tolist(), 1.0]

    @abstractmethod
    def _choose(self, schedule: NoiseSchedule, steps: int) -> list[int]:
        """The time steps, falling."""

    @torch.no_grad()
    def sample(
        self,
        denoiser: Denoiser,
        x: torch.Tensor,
        condition: torch.Tensor,
        draw_noise: Callable[[], torch.Tensor],
    ) -> torch.Tensor:
        """Turn noise into images.

        Args:
            denoiser: predicts the noise.
            x: standard normal, (N, C, spatial...).
            condition: (N, Cc, spatial...).
            draw_noise: gives fresh standard normal noise of the shape of ``x``, in its device's
                memory; called only by samplers that add noise on the way.

        Returns:
            Images in [-1, 1], of the shape of ``x``.
        """
        previous_x0 = None
        for index in range(len(self.timesteps)):
            x0 = self._predict(denoiser, x, index, condition)
            x = self.step(x, x0, previous_x0, index, draw_noise)
            previous_x0 = x0
        return x

    @abstractmethod
    def step(
        self,
        x: torch.Tensor,
        x0: torch.Tensor,
        previous_x0: torch.Tensor | None,
        index: int,
        draw_noise: Callable[[], torch.Tensor],
    ) -> torch.Tensor:
        """From x_t to x_s, the next, less noisy time step.

        Args:
            x: x_t, (N, C, spatial...).
            x0: the image prediction at t, of the shape of ``x``.
            previous_x0: that of the step before; None at the first.
            index: of t in ``timesteps``.
            draw_noise: as of ``sample``.
        """

    def _shares(self, index: int) -> tuple[float, float]:
        """alpha_bar of the index-th time step t and of the next one s."""
        return self._alpha_bar[index], self._alpha_bar[index + 1]

    def _predict(
        self, denoiser: Denoiser, x: torch.Tensor, index: int, condition: torch.Tensor
    ) -> torch.Tensor:
        """x0 = (x_t - sigma_t epsilon) / a_t at the index-th time step, clamped to [-1, 1]."""
        t = torch.full((len(x),), self.timesteps[index], device=x.device)
        epsilon = denoiser(x, t, condition).to(x.dtype)
        alpha_bar = self._alpha_bar[index]
        x0 = (x - math.sqrt(1 - alpha_bar) * epsilon) / math.sqrt(alpha_bar)
        return x0.clamp(-1, 1)


class DDPM(Sampler):
    """Ancestral sampling, Ho et al. 2020 (arXiv:2006.11239), algorithm 2, with the small variance.

    With fewer steps than the schedule's, those left out are jumped over as in Nichol & Dhariwal
    2021 (arXiv:2102.09672), eq. 19: the formulas hold with beta = 1 - alpha_bar_t / alpha_bar_s.
    """

    def _choose(self, schedule: NoiseSchedule, steps: int) -> list[int]:
        return _evenly(schedule.timesteps - 1, steps)

    def step(
        self,
        x: torch.Tensor,
        x0: torch.Tensor,
        previous_x0: torch.Tensor | None,
        index: int,
        draw_noise: Callable[[], torch.Tensor],
    ) -> torch.Tensor:
        """Equations 6 and 7."""
        mean, variance = posterior(x0, x, *self._shares(index))
        return mean + math.sqrt(variance) * draw_noise()  # the last step's variance is 0


def posterior(
    x0: torch.Tensor, x_t: torch.Tensor, alpha_bar_t: float, alpha_bar_s: float
) -> tuple[torch.Tensor, float]:
    """Mean and variance of q(x_s | x_t, x_0), Ho et al. 2020, eq. 7 (there s = t - 1)."""
    alpha = alpha_bar_t / alpha_bar_s
    beta = 1 - alpha
    mean = (
        math.sqrt(alpha_bar_s) * beta / (1 - alpha_bar_t) * x0
        + math.sqrt(alpha) * (1 - alpha_bar_s) / (1 - alpha_bar_t) * x_t
    )
    return mean, (1 - alpha_bar_s) / (1 - alpha_bar_t) * beta


class DDIM(Sampler):
    """The deterministic sampler of Song et al. 2021 (arXiv:2010.02502), eq. 12 with sigma = 0.

    The noise that x0 is put back with is the one that belongs to the clamped x0.
    """

    def _choose(self, schedule: NoiseSchedule, steps: int) -> list[int]:
        return _evenly(_noisiest(_lambdas(schedule)), steps)

    def step(
        self,
        x: torch.Tensor,
        x0: torch.Tensor,
        previous_x0: torch.Tensor | None,
        index: int,
        draw_noise: Callable[[], torch.Tensor],
    ) -> torch.Tensor:
        """Equation 12."""
        alpha_bar_t, alpha_bar_s = self._shares(index)
        epsilon = (x - math.sqrt(alpha_bar_t) * x0) / math.sqrt(1 - alpha_bar_t)
        return math.sqrt(alpha_bar_s) * x0 + math.sqrt(1 - alpha_bar_s) * epsilon


class DPMSolverPlusPlus(Sampler):
    """DPM-Solver++(2M), Lu et al. 2022 (arXiv:2211.01095), algorithm 2, steps uniform in lambda.

    The multistep solver of second order for the diffusion ODE in terms of the predicted image:
    one evaluation a step, and the last two predictions extrapolated to the middle of the next.
    The first step has only one prediction and the last goes to lambda = infinity: both are of
    first order, and the last one's result is the predicted image itself.
    """

    def _choose(self, schedule: NoiseSchedule, steps: int) -> list[int]:
        lambdas = _lambdas(schedule)
        first = _noisiest(lambdas)
        wanted = torch.linspace(lambdas[first], lambdas[0], steps, dtype=torch.float64)
        nearest = (lambdas[:, None] - wanted).abs().argmin(dim=0)
        return torch.unique(nearest).flip(0).tolist()

    def step(
        self,
        x: torch.Tensor,
        x0: torch.Tensor,
        previous_x0: torch.Tensor | None,
        index: int,
        draw_noise: Callable[[], torch.Tensor],
    ) -> torch.Tensor:
        """Algorithm 2, with h the steps in lambda."""
        alpha_bar_t, alpha_bar_s = self._shares(index)
        h = (0.5 * torch.logit(torch.tensor(self._alpha_bar, dtype=torch.float64))).diff().tolist()
        estimate = x0
        if previous_x0 is not None and alpha_bar_s < 1:  # D_i, with r_i = h_{i-1} / h_i
            estimate = x0 + h[index] / (2 * h[index - 1]) * (x0 - previous_x0)
        # x_{t_i} = (sigma_{t_i} / sigma_{t_{i-1}}) x_{t_{i-1}} - a_{t_i} (e^{-h_i} - 1) D_i
        ratio = math.sqrt((1 - alpha_bar_s) / (1 - alpha_bar_t))
        return ratio * x - math.sqrt(alpha_bar_s) * math.expm1(-h[index]) * estimate


SAMPLERS: dict[str, type[Sampler]] = {
    "dpm-solver++": DPMSolverPlusPlus,
    "ddim": DDIM,
    "ddpm": DDPM,
}


def _lambdas(schedule: NoiseSchedule) -> torch.Tensor:
    """lambda, half the logarithm of the signal-to-noise ratio, of each step, (T,) float64."""
    return 0.5 * torch.logit(schedule.alphas_cumprod)


def _noisiest(lambdas: torch.Tensor) -> int:
    """The step to start at: the last that is not noisier than ``MIN_LAMBDA``."""
    return int((lambdas >= MIN_LAMBDA).sum()) - 1


def _evenly(first: int, steps: int) -> list[int]:
    """``steps`` time steps from ``first`` to 0, equally far apart but for rounding, falling."""
    return torch.linspace(first, 0, min(steps, first + 1)).round().long().tolist()
