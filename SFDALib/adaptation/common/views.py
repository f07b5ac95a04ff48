"""A 3D network on a volume with its axes permuted, and what it then makes of every voxel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from SFDALib.bundle import assembly


def back(order: Sequence[int]) -> list[int]:
    """The permutation that undoes another."""
    return np.argsort(order).tolist()


def permuted(images: Tensor, order: Sequence[int]) -> Tensor:
    """The last three axes in another order."""
    lead = images.ndim - 3
    return images.permute(*range(lead), *(lead + axis for axis in order))


def deepest(network: nn.Module, images: Tensor) -> str:
    """The name of the module with the coarsest features: of those whose outputs (B, F, k, j, i)
    have the fewest voxels the last that is applied.
    """
    base, _ = assembly.split(network)
    found: list[tuple[int, str]] = []

    def note(name: str, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 5:
            found.append((output[0, 0].numel(), name))

    hooks = [
        part.register_forward_hook(lambda _, __, output, name=name: note(name, output))
        for name, part in base.named_modules()
        if name
    ]
    try:
        with torch.no_grad():
            base(images)
    finally:
        for hook in hooks:
            hook.remove()
    fewest = min(voxels for voxels, _ in found)
    return [name for voxels, name in found if voxels == fewest][-1]


def turned(
    network: nn.Module, images: Tensor, order: Sequence[int], divisor: Sequence[int], name: str
) -> tuple[Tensor, Tensor]:
    """Logits and the features of a module for images with permuted axes, both with the axes as
    they were.

    The images are padded to what the network can halve, by repeating their last voxels.

    Args:
        images: (B, C, k, j, i).
        name: of the module, see ``deepest``.
    """
    seen = permuted(images, order)
    size = seen.shape[2:]
    lack = [-n % multiple for n, multiple in zip(size, divisor, strict=True)]
    if any(lack):
        seen = F.pad(seen, [end for n in reversed(lack) for end in (0, n)], mode="replicate")
    features: list[Tensor] = []
    part = assembly.split(network)[0].get_submodule(name)
    hook = part.register_forward_hook(lambda _, __, output: features.append(output))
    try:
        logits = network(seen.contiguous())
    finally:
        hook.remove()
    logits = logits[(..., *(slice(n) for n in size))]
    return permuted(logits, back(order)), permuted(features[-1], back(order))


def cosine_distance(first: Tensor, second: Tensor) -> Tensor:
    """``1 - mean_x cos(f(x), g(x))`` of features (B, F, ...), brought to the first's resolution."""
    if first.shape != second.shape:
        second = F.interpolate(second, size=first.shape[2:], mode="trilinear")
    return 1 - F.cosine_similarity(first.float(), second.float(), dim=1).mean()
