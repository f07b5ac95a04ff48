"""From an image on the model's grid to a probability map: windows, blending, mirroring.

Knows no methods. Probabilities stay on the model's device.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from SFDALib.bundle.source import Source
from SFDALib.memory import batch_that_fits
from SFDALib.networks.catalogue import class_probabilities
from SFDALib.progress import Progress, silent


def window(size: tuple[int, ...], patch_size: tuple[int, ...], divisor: int) -> tuple[int, ...]:
    """The window for an image of ``size``: the patch, or less where the image is smaller."""
    return tuple(
        min(patch, -(-n // divisor) * divisor)
        for n, patch in zip(size[-len(patch_size) :], patch_size, strict=True)
    )


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

    The logits are divided by the bundle's temperature, windows are blended with Gaussian weights
    (MONAI), and a 2D network sees the slices as batches.

    Args:
        options: ``method.INFERENCE_OPTIONS``.
        network: instead of the bundle's own, with the same architecture.
    """
    network = model.network if network is None else network
    network.eval()
    description = model.description
    slices = description.grid.slices
    data = torch.from_numpy(image)
    data = data.transpose(0, 1) if slices else data[None]  # (N, C, [k,] j, i)
    size = window(data.shape[2:], description.patch_size, model.divisor)
    batch = batch_that_fits(network, (data.shape[1], *size), model.device)
    mirrored = range(2, data.ndim) if options["mirror"] else ()
    flips = [axes for count in range(len(mirrored) + 1) for axes in combinations(mirrored, count)]
    done = 0
    chunks = _chunks(len(data), batch)

    def probabilities(patches: Tensor) -> Tensor:
        total = 0
        for axes in flips:
            logits = network(patches.flip(axes)).float() / description.temperature
            total = total + class_probabilities(logits).flip(axes)
        return total / len(flips)

    results = []
    for chunk in chunks:
        part = sliding_window_inference(
            data[chunk].to(model.device),
            size,
            batch,
            probabilities,
            overlap=options["overlap"],
            mode="gaussian",
            padding_mode="replicate",
        )
        results.append(part)
        done += len(part)
        progress(stage, done, len(data))
    result = torch.cat(results)
    return result.transpose(0, 1) if slices else result[0]


def _chunks(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]
