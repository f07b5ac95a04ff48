"""From an image on the model's grid to a probability map: windows, blending, mirroring.

Knows no methods. Probabilities stay on the model's device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from SFDALib.bundle.assembly import split
from SFDALib.bundle.description import Description, Sliding
from SFDALib.bundle.source import Source
from SFDALib.inference.sliding_window import blend
from SFDALib.machine.batch_size import batch_that_fits
from SFDALib.networks.outputs import class_probabilities
from SFDALib.progress import Progress, silent


def window(
    size: tuple[int, ...], patch_size: tuple[int, ...], divisor: tuple[int, ...]
) -> tuple[int, ...]:
    """The window for an image of ``size``: the patch, or less where the image is smaller."""
    return tuple(
        min(patch, -(-n // multiple) * multiple)
        for n, patch, multiple in zip(size[-len(patch_size) :], patch_size, divisor, strict=True)
    )


def whole(size: Sequence[int], divisor: tuple[int, ...]) -> tuple[int, ...]:
    """One window for an image of ``size``: as large as that, or a little more."""
    return tuple(-(-n // multiple) * multiple for n, multiple in zip(size, divisor, strict=True))


@torch.no_grad()
def predict(
    model: Source,
    image: np.ndarray,
    options: dict[str, Any],
    progress: Progress = silent,
    network: nn.Module | None = None,
    stage: str = "segmenting",
) -> Tensor:
    """Class probabilities ``(K, k, j, i)`` of an image ``(C, k, j, i)``, on the model's device.

    The logits of windows, mirrored copies and sets of weights are averaged, windows with weights
    as the bundle says, and divided by its temperature. A 2D network sees the slices as batches.

    Args:
        options: ``method.INFERENCE_OPTIONS``.
        network: instead of the bundle's own, with the same architecture.
    """
    network = model.network if network is None else network
    network.eval()
    description = model.description
    slices = description.input_spec.is_2d
    data = torch.from_numpy(image)
    data = data.transpose(0, 1) if slices else data[None]  # (N, C, [k,] j, i)
    size = description.patch_size
    if description.windows == "dense":
        size = window(data.shape[2:], size, model.divisor)
    elif description.windows == "whole":
        size = whole(data.shape[2:], model.divisor)
    batch = batch_that_fits(network, (data.shape[1], *size), model.device)
    flips = _flips(description) if options["mirror"] else [()]
    averaged, class_logits = split(network)

    def logits(patches: Tensor) -> Tensor:
        total = averaged(patches).float()
        for axes in flips[1:]:
            total = total + averaged(patches.flip(axes)).float().flip(axes)
        return total / len(flips)

    results = []
    for chunk in _chunks(len(data), batch):
        images = data[chunk].to(model.device)
        blended = _blended(images, size, batch, logits, options["overlap"], description)
        results.append(class_probabilities(class_logits(blended) / description.temperature))
        progress(stage, chunk.stop, len(data))
    result = torch.cat(results)
    return result.transpose(0, 1) if slices else result[0]


def _blended(
    images: Tensor,
    size: tuple[int, ...],
    batch: int,
    logits: Callable[[Tensor], Tensor],
    overlap: float,
    description: Description,
) -> Tensor:
    """The mean of what the windows give, laid as the description says."""
    if description.windows in ("even", "whole"):
        return blend(images, size, batch, logits, overlap)
    how = description.sliding
    if description.windows == "dense":
        how = Sliding("gaussian", padding="replicate")
    return sliding_window_inference(
        images,
        size,
        batch,
        logits,
        overlap=overlap,
        mode=how.mode,
        sigma_scale=how.sigma,
        padding_mode=how.padding,
        cval=how.value,
    )


def _flips(description: Description) -> list[tuple[int, ...]]:
    """Every combination of the patch's axes along which the model may be mirrored, as dimensions
    of a batch; the first is none.
    """
    allowed = description.mirror_axes
    axes = range(description.spatial_dims) if allowed is None else allowed
    dims = [2 + axis for axis in sorted(axes)]
    return [chosen for count in range(len(dims) + 1) for chosen in combinations(dims, count)]


def _chunks(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
