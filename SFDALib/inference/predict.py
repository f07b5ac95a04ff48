"""From an image on the model's grid to class probabilities: sliding windows, mirrored copies.

Knows no methods. Probabilities stay on the model's device.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

from SFDALib.bundle.assembly import split
from SFDALib.bundle.description import Description, Sliding
from SFDALib.bundle.source import Source
from SFDALib.inference.sliding_window import sliding_window_mean, whole_image_size, window_size
from SFDALib.machine.batch_size import batch_that_fits
from SFDALib.methods.shared_options import InferenceOptions
from SFDALib.networks.outputs import class_probabilities
from SFDALib.progress import Progress, silent


@torch.no_grad()
def predict(
    model: Source,
    image: np.ndarray,
    options: InferenceOptions,
    progress: Progress = silent,
    network: nn.Module | None = None,
    stage: str = "segmenting",
) -> Tensor:
    """Class probabilities of an image.

    The logits of mirrored copies, of the members of an ensemble and of overlapping windows are
    averaged, windows by the weights that the bundle states, and divided by the bundle's
    temperature. A 2D network processes the slices in batches.

    Args:
        model: the source model.
        image: ``(C, k, j, i)`` on the model's grid, float32.
        options: of any method.
        progress: called with the stage, the slices (or images) done and their number.
        network: instead of the bundle's own, with the same architecture.
        stage: name of the stage for ``progress``.

    Returns:
        ``(K, k, j, i)`` on the model's device, float32.
    """
    network = model.network if network is None else network
    network.eval()
    description = model.description
    slices = description.input_spec.is_2d
    data = torch.from_numpy(image)
    data = data.transpose(0, 1) if slices else data[None]  # (N, C, [k,] j, i)
    size = description.patch_size
    if description.windows == "dense":
        size = window_size(data.shape[2:], size, model.divisor)
    elif description.windows == "whole":
        size = whole_image_size(data.shape[2:], model.divisor)
    batch = batch_that_fits(network, (data.shape[1], *size), model.device)
    flips = _flips(description) if options.mirror else [()]
    averaged, class_logits = split(network)

    def logits(patches: Tensor) -> Tensor:
        total = averaged(patches).float()
        for axes in flips[1:]:
            total = total + averaged(patches.flip(axes)).float().flip(axes)
        return total / len(flips)

    results = []
    for chunk in _chunks(len(data), batch):
        images = data[chunk].to(model.device)
        blended = _blended(images, size, batch, logits, options.overlap, description)
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
    """The mean of the windows' logits, with windows placed as the description says."""
    if description.windows in ("even", "whole"):
        return sliding_window_mean(images, size, batch, logits, overlap)
    how = description.sliding
    if description.windows == "dense":
        how = Sliding("gaussian", padding="replicate")
    result = sliding_window_inference(
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
    assert isinstance(result, Tensor)  # as ``logits`` returns one
    return result


def _flips(description: Description) -> list[tuple[int, ...]]:
    """Every combination of the axes along which the model may be mirrored, as dimensions of a
    batch; the first is empty.
    """
    allowed = description.mirror_axes
    axes = range(description.spatial_dims) if allowed is None else allowed
    dims = [2 + axis for axis in sorted(axes)]
    return [chosen for count in range(len(dims) + 1) for chosen in combinations(dims, count)]


def _chunks(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
