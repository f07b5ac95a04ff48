"""Networks and denoisers of the fixture med_ddpm.json, and how a tensor is compared with it."""

from __future__ import annotations

import pytest
import torch

from SFDALib.networks.diffusion_unet import ConditionalDiffusionUNet


def toy_denoiser(x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
    """The fixture's, for as many image as condition channels or one condition channel."""
    return 0.1 * x + 0.05 * condition + 0.001 * t.reshape(-1, *[1] * (x.ndim - 1))


def assert_summary(tensor: torch.Tensor, summary: dict) -> None:
    """`tensor` is the one that the fixture gives the sums and the ends of, to rtol 1e-4."""
    assert list(tensor.shape) == summary["shape"]
    values = tensor.double().flatten()
    assert values.sum().item() == pytest.approx(summary["sum"], rel=1e-4)
    assert values.abs().sum().item() == pytest.approx(summary["abs_sum"], rel=1e-4)
    assert values.square().sum().item() == pytest.approx(summary["sq_sum"], rel=1e-4)
    assert values[:6].tolist() == pytest.approx(summary["first"], rel=1e-4, abs=1e-6)
    assert values[-3:].tolist() == pytest.approx(summary["last"], rel=1e-4, abs=1e-6)


def tiny_network() -> ConditionalDiffusionUNet:
    """The fixture's: multipliers (1, 2), attention at down-sampling 2, 32 channels."""
    return ConditionalDiffusionUNet(3, 1, 2, [32, 64], 1, [False, True], [0, 64])
