"""Random affine maps of patches, and the way back; drawn from torch's generator."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def random_maps(images: Tensor, strength: float) -> Tensor:
    """``I + strength N(0, 1)`` for each image, in coordinates that run from -1 to 1 over it.

    Args:
        images: (B, C, [k,] j, i).

    Returns:
        (B, d, d + 1) for d spatial dimensions.
    """
    dims = images.ndim - 2
    noise = torch.randn(len(images), dims, dims + 1)
    return (torch.eye(dims, dims + 1) + strength * noise).to(images)


def inverse(maps: Tensor) -> Tensor:
    """The maps back, of the same shape."""
    linear, shift = maps[..., :-1], maps[..., -1:]
    back = torch.linalg.inv(linear)
    return torch.cat([back, -back @ shift], dim=-1)


def warped(images: Tensor, maps: Tensor, padding: str) -> Tensor:
    """Each image at the places that its map gives, by linear interpolation.

    Args:
        padding: what lies outside of an image: "border", "zeros" or "reflection".
    """
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode=padding, align_corners=False)
