"""Samples, the conditions that they are drawn by, and the foreground of an image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from original_diffusion import toy_denoiser
from scipy.ndimage import gaussian_filter
from torch import nn

from SFDALib.diffusion.drawing import Drawing, draw_samples, foreground_mask, mask_condition
from SFDALib.diffusion.samplers import SAMPLERS
from SFDALib.diffusion.schedule import cosine_schedule
from SFDALib.errors import RequestError
from SFDALib.networks.diffusion_unet import ConditionalDiffusionUNet

SCHEDULE = cosine_schedule()


def random_network(spatial_dims: int) -> ConditionalDiffusionUNet:
    """A small network whose output depends on all of its input (MONAI's starts as constant 0)."""
    torch.manual_seed(3)
    network = ConditionalDiffusionUNet(
        spatial_dims, 1, 2, [8, 8, 16], 1, [False, False, False], [0, 0, 16], norm_num_groups=4
    )
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.1)
    return network.eval()


def labels(shape: tuple[int, int, int]) -> torch.Tensor:
    """Two irregular classes on background."""
    field = gaussian_filter(np.random.default_rng(5).standard_normal(shape), 2)
    return torch.tensor(np.digitize(field, (0.0, 0.05)))


# --- Drawing ---

SHAPE = (5, 13, 10)


def draw(spatial_dims: int, seeds: list[int], **options: object) -> list[torch.Tensor]:
    network = random_network(spatial_dims)
    condition = mask_condition(labels(SHAPE), 3)
    denoiser = options.pop("denoiser", network)
    progress = options.pop("progress", lambda done, total: None)
    usual = {"sampler": "dpm-solver++", "batch_size": 1, "shared_noise": False}
    drawing = Drawing(
        image_channels=1,
        spatial_dims=spatial_dims,
        divisor=network.divisor,
        seeds=seeds,
        device=torch.device("cpu"),
        **{"steps": 4, **usual, **options},
    )
    return list(draw_samples(denoiser, SCHEDULE, condition, drawing, progress))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_samples_depend_on_their_seed_alone(sampler: str, spatial_dims: int) -> None:
    first = draw(spatial_dims, [0, 1, 2], sampler=sampler)
    assert all(sample.shape == (1, *SHAPE) for sample in first)
    assert all(sample.abs().max() <= 1 for sample in first)
    assert not torch.allclose(first[0], first[1], atol=0.1)
    for sample, again in zip(first, draw(spatial_dims, [0, 1, 2], sampler=sampler), strict=True):
        assert torch.equal(sample, again)
    alone = draw(spatial_dims, [2], sampler=sampler, batch_size=4)
    torch.testing.assert_close(alone[0], first[2], rtol=1e-4, atol=1e-4)
    batched = draw(spatial_dims, [2, 0], sampler=sampler, batch_size=7)
    torch.testing.assert_close(batched[0], first[2], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(batched[1], first[0], rtol=1e-4, atol=1e-4)


def test_noise_is_the_same_bit_for_bit_in_any_batch() -> None:
    def denoiser(x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        return toy_denoiser(x, t, condition[:, :1])

    one = draw(2, [7, 8], sampler="ddpm", denoiser=denoiser, batch_size=1)
    many = draw(2, [7, 8], sampler="ddpm", denoiser=denoiser, batch_size=4)
    assert all(torch.equal(a, b) for a, b in zip(one, many, strict=True))


def test_slices_share_their_noise_only_if_asked_to() -> None:
    def denoiser(x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        return 0.1 * x

    for sampler in SAMPLERS:
        own = draw(2, [7], sampler=sampler, denoiser=denoiser)[0]
        shared = draw(2, [7], sampler=sampler, denoiser=denoiser, shared_noise=True)[0]
        assert torch.equal(own[:, 0], shared[:, 0])
        assert not torch.equal(own[:, 0], own[:, 1])
        assert all(torch.equal(shared[:, 0], shared[:, k]) for k in range(SHAPE[0]))


def test_padding_is_background_around_the_image() -> None:
    seen = []

    def denoiser(x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        seen.append(condition)
        return x

    draw(3, [0], denoiser=denoiser)
    assert seen[0].shape == (1, 2, 8, 16, 12)
    condition = mask_condition(labels(SHAPE), 3)
    assert torch.equal(seen[0][0, :, 1:6, 1:14, 1:11], condition)
    assert seen[0].sum() == condition.sum()


def test_progress_counts_every_evaluation() -> None:
    calls = []
    draw(2, [0, 1, 2], batch_size=4, progress=lambda *call: calls.append(call))
    # 3 volumes of 5 slices make 4 batches of up to 4, each evaluated 4 times.
    assert calls == [(done, 16) for done in range(1, 17)]


@pytest.mark.parametrize(
    ("seeds", "options", "message"),
    [
        ([0], {"sampler": "euler"}, "dpm-solver"),
        ([0], {"batch_size": 0}, "1 or more"),
        ([-1], {}, "none below 0"),
    ],
)
def test_drawing_refuses_what_it_cannot_do(
    seeds: list[int], options: dict[str, object], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        draw(2, seeds, **options)


# --- Conditions ---


def test_condition_has_a_channel_for_each_foreground_class_and_the_body() -> None:
    classes = torch.tensor([[[0, 1, 2], [2, 0, 0]]])
    body = torch.tensor([[[True, True, True], [True, True, False]]])
    condition = mask_condition(classes, 3, body)
    expected = [[[[0, 1, 0], [0, 0, 0]]], [[[0, 0, 1], [1, 0, 0]]], [[[1, 1, 1], [1, 1, 0]]]]
    assert torch.equal(condition, torch.tensor(expected, dtype=torch.float32))
    assert torch.equal(mask_condition(classes, 3), condition[:2])


@pytest.mark.parametrize("scale", [(1.0, 0.0), (0.002, -0.4)])
@pytest.mark.parametrize("skin", [500, 90])
def test_foreground_is_the_head_with_its_dark_bone_and_fluid(
    skin: float, scale: tuple[float, float]
) -> None:
    """Skin (500, or 90 with fat suppressed), dark bone, brain, ventricles, noisy air, a ghost."""
    rng = np.random.default_rng(6)
    k, j, i = np.meshgrid(*(np.arange(n) - n / 2 for n in (20, 60, 50)), indexing="ij")
    radius = np.sqrt((k / 14) ** 2 + (j / 24) ** 2 + (i / 19) ** 2)
    head = radius < 1
    regions = [radius < 0.2, radius < 0.8, radius < 0.9, head]
    image = np.select(regions, [30, 300, 20, skin], 0)
    image = image + np.abs(rng.normal(0, 8, image.shape))
    image[8:10, 1:4, 1:4] = 2500
    mask = foreground_mask((scale[0] * image + scale[1])[None])
    assert mask.dtype == bool
    dice = 2 * (mask & head).sum() / (mask.sum() + head.sum())
    assert dice > 0.99
    assert not mask[8:10, 1:4, 1:4].any()


def test_foreground_of_a_flat_image_is_refused() -> None:
    with pytest.raises(RequestError, match="check that the volume"):
        foreground_mask(np.full((1, 4, 5, 6), 7.0))
