"""Draw images for a mask: the condition made from a mask, and n samples of a diffusion network."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import binary_fill_holes
from skimage.filters import threshold_otsu
from skimage.measure import label
from torch.nn import functional

from SFDALib.diffusion.samplers import SAMPLERS, Denoiser
from SFDALib.diffusion.schedule import NoiseSchedule
from SFDALib.errors import RequestError


def mask_condition(
    labels: torch.Tensor, num_classes: int, foreground: torch.Tensor | None = None
) -> torch.Tensor:
    """The condition that tells a diffusion network what is where, as in Med-DDPM.

    Args:
        labels: class of each voxel, 0 the background, (k, j, i) integer.
        num_classes: number of classes, background included.
        foreground: the body or head, (k, j, i); becomes the last channel.

    Returns:
        One channel of 0 and 1 for each class but the background, and one for the foreground if it
        is given, (Cc, k, j, i) float32.
    """
    classes = torch.arange(1, num_classes, device=labels.device).reshape(-1, 1, 1, 1)
    condition = (labels == classes).float()
    if foreground is None:
        return condition
    return torch.cat([condition, foreground[None].to(condition)])


def foreground_mask(image: np.ndarray) -> np.ndarray:
    """The silhouette of the body or head in an image with dark surroundings.

    1. Scale each channel so that its 1st and 99th percentile become 0 and 1, clip, and average
       the channels.
    2. Threshold the cube root by Otsu's method. The intensity itself parts the brain from a dim
       skin: of 18 head MR volumes (Lesjak et al., Neuroinformatics 2016) the skin was broken or
       missing in the inspected slice of 11; by the cube root one was left with a nick.
    3. Fill holes slice by slice: in 3D, air inside the body is open to the outside.
    4. Keep the largest connected component. The holes come first because dark bone can part the
       brain from the skin around it.

    Args:
        image: (C, k, j, i).

    Returns:
        (k, j, i) bool.

    Raises:
        RequestError: the image is flat, its 1st and 99th percentile being equal.
    """
    low, high = np.percentile(image, (1, 99), axis=(1, 2, 3), keepdims=True)
    if not np.any(high > low):
        raise RequestError(
            f"image: found the value {low.ravel().tolist()} throughout, expected a foreground"
            " brighter than its background; check that the volume is the intended image"
        )
    spread = np.where(high > low, high - low, 1)
    intensity = np.clip((image - low) / spread, 0, 1).mean(axis=0)
    compressed = np.cbrt(intensity)
    bright = compressed > threshold_otsu(compressed)
    components = label(np.stack([binary_fill_holes(section) for section in bright]))
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    return components == sizes.argmax()


@dataclass(frozen=True)
class Drawing:
    """How samples are drawn.

    Args:
        image_channels: channels C of the volumes.
        spatial_dims: 2 or 3, the denoiser's.
        divisor: each side of the denoiser's input must be a multiple of this; the condition is
            padded with 0 on both sides and the volume cropped again.
        seeds: one for each volume, not negative.
        sampler: a name in ``SAMPLERS``.
        steps: evaluations of the denoiser for each volume or slice.
        batch_size: how many volumes (3D) or slices (2D) go through the denoiser at once.
        shared_noise: all slices of a volume start from, and are given, the same noise, so that
            they look alike; without effect in 3D.
        device: where the denoiser computes.

    Raises:
        RequestError: ``sampler``, ``batch_size`` or a seed is out of range.
    """

    image_channels: int
    spatial_dims: int
    divisor: int
    seeds: Sequence[int]
    sampler: str
    steps: int
    batch_size: int
    shared_noise: bool
    device: torch.device

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise RequestError(
                f'option sampler: found "{self.sampler}", expected one of {", ".join(SAMPLERS)};'
                " choose one of them"
            )
        if self.batch_size < 1:
            raise RequestError(f"batch size: found {self.batch_size}, expected 1 or more; raise it")
        if any(seed < 0 for seed in self.seeds):
            raise RequestError(
                f"seeds: found {list(self.seeds)}, expected none below 0; choose others"
            )


def draw_samples(
    denoiser: Denoiser,
    schedule: NoiseSchedule,
    condition: torch.Tensor,
    drawing: Drawing,
    progress: Callable[[int, int], object],
) -> Iterator[torch.Tensor]:
    """Draw one volume for each seed, all for the same condition.

    A network of two dimensions draws a volume slice by slice along k. Each volume, and each slice
    of it, has its own generator on the CPU, so that it depends on its seed alone, not on the other
    seeds, the batches or the device.

    Args:
        denoiser: predicts the noise; its weights lie on ``drawing.device``.
        schedule: what the denoiser was trained with.
        condition: (Cc, k, j, i), 0 where nothing is.
        drawing: how.
        progress: called after each evaluation with the number done and the total.

    Yields:
        For each seed in turn, a volume (C, k, j, i) in [-1, 1] on the CPU.

    Raises:
        RequestError: ``drawing.steps`` is out of range.
    """
    solver = SAMPLERS[drawing.sampler](schedule, drawing.steps)
    volumes, size = drawing.spatial_dims == 3, drawing.batch_size
    # The parts that go through the denoiser one by one: the volume itself, or its slices.
    parts = condition[None] if volumes else condition.transpose(0, 1)
    padding, inside = _padding(parts.shape[2:], drawing.divisor)
    parts = functional.pad(parts, padding)
    todo = [(seed, part) for seed in drawing.seeds for part in range(len(parts))]
    counted = _counted(denoiser, progress, -(-len(todo) // size) * len(solver.timesteps))
    finished: list[torch.Tensor] = []
    for start in range(0, len(todo), size):
        batch = todo[start : start + size]
        draw_noise = _noise(batch, drawing, parts.shape[2:])
        condition_batch = parts[[part for _, part in batch]].to(drawing.device)
        images = solver.sample(counted, draw_noise(), condition_batch, draw_noise)
        finished.extend(images[inside].cpu())
        while len(finished) >= len(parts):
            volume, finished = finished[: len(parts)], finished[len(parts) :]
            yield volume[0] if volumes else torch.stack(volume, dim=1)


def _counted(denoiser: Denoiser, progress: Callable[[int, int], object], total: int) -> Denoiser:
    """The denoiser, which reports each evaluation."""
    numbers = itertools.count(1)

    def evaluate(x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        epsilon = denoiser(x, t, condition)
        progress(next(numbers), total)
        return epsilon

    return evaluate


def _noise(
    batch: Sequence[tuple[int, int]], drawing: Drawing, size: Sequence[int]
) -> Callable[[], torch.Tensor]:
    """A function that draws noise (N, C, spatial...) for seeds and parts, each by its generator."""
    shape = (drawing.image_channels, *size)
    generators = [_generator(seed, 0 if drawing.shared_noise else part) for seed, part in batch]

    def draw() -> torch.Tensor:
        noise = [torch.randn(shape, generator=generator) for generator in generators]
        return torch.stack(noise).to(drawing.device)

    return draw


def _generator(seed: int, part: int) -> torch.Generator:
    """A generator on the CPU, of its own for each seed and part."""
    state = np.random.SeedSequence((seed, part)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def _padding(size: Sequence[int], divisor: int) -> tuple[list[int], tuple[slice, ...]]:
    """What ``functional.pad`` must add to make each side a multiple, and the index of
    the inside of padded images (N, C, spatial...).
    """
    before = [(-side % divisor) // 2 for side in size]
    after = [-side % divisor - front for side, front in zip(size, before, strict=True)]
    pairs = zip(reversed(before), reversed(after), strict=True)
    spatial = (slice(b, b + side) for b, side in zip(before, size, strict=True))
    inside = (slice(None), slice(None), *spatial)
    return [amount for pair in pairs for amount in pair], inside
