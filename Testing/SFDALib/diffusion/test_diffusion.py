"""Diffusion against Med-DDPM's own numbers, MONAI's DDIM and a case with a known solution."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from monai.networks.nets.diffusion_model_unet import get_timestep_embedding
from monai.networks.schedulers import DDIMScheduler
from original_weights import FIXTURE, fixture_tensor, tiny_original_weights
from scipy.ndimage import gaussian_filter
from torch import nn

from SFDALib.bundle.importers.guided_diffusion import weights_from_guided_diffusion
from SFDALib.diffusion.drawing import Drawing, draw_samples, foreground_mask, mask_condition
from SFDALib.diffusion.samplers import DDIM, DDPM, SAMPLERS, DPMSolverPlusPlus, posterior
from SFDALib.diffusion.schedule import cosine_schedule
from SFDALib.errors import RequestError
from SFDALib.networks.diffusion_unet import ConditionalDiffusionUNet
from SFDALib.networks.med_ddpm import MED_DDPM_PRESETS

SCHEDULE = cosine_schedule()


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


# The schedule


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


# The network


@pytest.mark.parametrize(
    ("name", "parameters", "attention"),
    [
        (
            "med-ddpm-128",
            FIXTURE["wholehead_params"],
            [
                "down_blocks.3.attentions.0",
                "middle_block.attention",
                "up_blocks.1.attentions.0",
                "up_blocks.1.attentions.1",
            ],
        ),
        ("med-ddpm-brats", FIXTURE["brats_params"], ["middle_block.attention"]),
    ],
)
def test_presets_are_the_published_networks(
    name: str, parameters: int, attention: list[str]
) -> None:
    preset = json.loads(json.dumps(MED_DDPM_PRESETS[name]))
    with torch.device("meta"):
        network = ConditionalDiffusionUNet(**preset)
    assert sum(weight.numel() for weight in network.parameters()) == parameters
    found = [n.removesuffix(".attn") for n, _ in network.named_modules() if n.endswith(".attn")]
    assert found == attention
    assert network.divisor == 16


def test_timestep_embedding_has_the_originals_period() -> None:
    embedding = get_timestep_embedding(torch.tensor([17]), 32, tiny_network().max_period)
    expected = fixture_tensor("timestep_embedding_17_dim32")
    torch.testing.assert_close(embedding, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("prefix", ["", "denoise_fn."])
def test_imported_weights_predict_what_the_original_predicts(prefix: str) -> None:
    original = {prefix + name: weight for name, weight in tiny_original_weights().items()}
    if prefix:
        original["betas"] = SCHEDULE.betas
    network = tiny_network()
    network.load_state_dict(weights_from_guided_diffusion(original, network))
    x = fixture_tensor("tiny_input")
    with torch.no_grad():
        out = network(x[:, :1], torch.tensor([17]), x[:, 1:])
    assert_summary(out, FIXTURE["tiny_out"])


def test_import_tells_weights_of_another_network() -> None:
    original = tiny_original_weights()
    left_over = {**original, "label_emb.weight": torch.zeros(2, 128)}
    with pytest.raises(RequestError, match=r"found 1 surplus, such as 'label_emb\.weight'"):
        weights_from_guided_diffusion(left_over, tiny_network())
    one_more_channel = ConditionalDiffusionUNet(3, 1, 3, [32, 64], 1, [False, True], [0, 64])
    with pytest.raises(RequestError, match=r"input_blocks\.0\.0\.weight.*\(32, 3, 3, 3, 3\)"):
        weights_from_guided_diffusion(original, one_more_channel)
    del original["middle_block.1.qkv.bias"]
    with pytest.raises(RequestError, match=r"found no 'middle_block\.1\.qkv\.bias'"):
        weights_from_guided_diffusion(original, tiny_network())


def test_network_refuses_a_grid_that_it_cannot_halve() -> None:
    x = torch.zeros(1, 1, 8, 9, 8)
    with pytest.raises(RequestError, match="multiples of 2"):
        tiny_network()(x, torch.tensor([0]), torch.zeros(1, 2, 8, 9, 8))


# The samplers


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


# Drawing

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


# Conditions


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
