"""Draw images for a mask: the condition made from a mask, and n samples of a diffusion network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

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
            f"The image is flat, {low.ravel().tolist()} throughout; expected a foreground brighter "
            "than its background: check that the volume is the intended image."
        )
    spread = np.where(high > low, high - low, 1)
    intensity = np.clip((image - low) / spread, 0, 1).mean(axis=0)
    compressed = np.cbrt(intensity)
    bright = compressed > threshold_otsu(compressed)
    components = label(np.stack([binary_fill_holes(section) for section in bright]))
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    return components == sizes.argmax()


def draw_samples(
    denoiser: Denoiser,
    schedule: NoiseSchedule,
    condition: torch.Tensor,
    *,
    image_channels: int,
    spatial_dims: int,
    divisor: int,
    seeds: Sequence[int],
    sampler: str,
    steps: int,
    batch_size: int,
    shared_noise: bool,
    device: torch.device,
    progress: Callable[[int, int], object],
) -> Iterator[torch.Tensor]:
    """Draw one volume for each seed, all for the same condition.

    A network of two dimensions draws a volume slice by slice along k. Each volume, and each slice
    of it, has its own generator on the CPU, so that it depends on its seed alone, not on the other
    seeds, the batches or the device.

    Args:
        denoiser: predicts the noise; its weights lie on `device`.
        schedule: what the denoiser was trained with.
        condition: (Cc, k, j, i), 0 where nothing is.
        image_channels: channels C of the volumes.
        spatial_dims: 2 or 3, the denoiser's.
        divisor: each side of the denoiser's input must be a multiple of this; the condition is
            padded with 0 on both sides and the volume cropped again.
        seeds: one for each volume, not negative.
        sampler: a name in `SAMPLERS`.
        steps: evaluations of the denoiser for each volume or slice.
        batch_size: how many volumes (3D) or slices (2D) go through the denoiser at once.
        shared_noise: all slices of a volume start from, and are given, the same noise, so that
            they look alike; without meaning in 3D.
        device: where the denoiser computes.
        progress: called after each evaluation with the number done and the total.

    Yields:
        For each seed in turn, a volume (C, k, j, i) in [-1, 1] on the CPU.

    Raises:
        RequestError: `sampler`, `steps`, `batch_size` or a seed is out of range.
    """
    if sampler not in SAMPLERS:
        raise RequestError(f"There is no sampler '{sampler}': choose one of {', '.join(SAMPLERS)}.")
    if batch_size < 1:
        raise RequestError(f"The batch size is {batch_size}: choose 1 or more.")
    if any(seed < 0 for seed in seeds):
        raise RequestError(f"The seeds are {list(seeds)}: none may be negative.")
    solver = SAMPLERS[sampler](schedule, steps)

    # The parts that go through the denoiser one by one: the volume itself, or its slices.
    parts = condition[None] if spatial_dims == 3 else condition.transpose(0, 1)
    padding, inside = _padding(parts.shape[2:], divisor)
    parts = functional.pad(parts, padding)
    image_shape = (image_channels, *parts.shape[2:])
    todo = [(seed, part) for seed in seeds for part in range(len(parts))]

    total = -(-len(todo) // batch_size) * len(solver.timesteps)
    done = 0

    def counted(x: torch.Tensor, t: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        nonlocal done
        epsilon = denoiser(x, t, c)
        done += 1
        progress(done, total)
        return epsilon

    finished: list[torch.Tensor] = []
    for start in range(0, len(todo), batch_size):
        batch = todo[start : start + batch_size]
        generators = [_generator(seed, 0 if shared_noise else part) for seed, part in batch]

        def draw_noise(generators: list[torch.Generator] = generators) -> torch.Tensor:
            noise = [torch.randn(image_shape, generator=generator) for generator in generators]
            return torch.stack(noise).to(device)

        condition_batch = parts[[part for _, part in batch]].to(device)
        images = solver.sample(counted, draw_noise(), condition_batch, draw_noise)
        finished.extend(images[(..., *inside)].cpu())
        while len(finished) >= len(parts):
            volume, finished = finished[: len(parts)], finished[len(parts) :]
            yield volume[0] if spatial_dims == 3 else torch.stack(volume, dim=1)


def _generator(seed: int, part: int) -> torch.Generator:
    """A generator on the CPU, of its own for each seed and part."""
    state = np.random.SeedSequence((seed, part)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def _padding(size: Sequence[int], divisor: int) -> tuple[list[int], tuple[slice, ...]]:
    """What `functional.pad` must add to make each side a multiple, and where the inside is then."""
    before = [(-side % divisor) // 2 for side in size]
    after = [-side % divisor - front for side, front in zip(size, before, strict=True)]
    pairs = zip(reversed(before), reversed(after), strict=True)
    inside = tuple(slice(b, b + side) for b, side in zip(before, size, strict=True))
    return [amount for pair in pairs for amount in pair], inside
