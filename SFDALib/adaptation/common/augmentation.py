"""Weak random changes of a batch, in place and in intensity; drawn from torch's generator."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from SFDALib.adaptation.common.affine import warped
from SFDALib.adaptation.common.intensity_noise import random_gamma

CHANCE = 0.25  # of each change, as published with ProtoContra


def weak(images: Tensor, chance: float = CHANCE) -> Tensor:
    """Crop, then shift, scale and rotate, then brightness and contrast, then gamma.

    Args:
        images: (B, C, [k,] j, i); the plane of the last two axes is moved.
        chance: of each of the four for each image.
    """
    height, width = images.shape[-2:]
    moves = torch.stack([_move(height, width, chance) for _ in images]).to(images)
    return random_gamma(_recoloured(_moved(images, moves), chance), 0.6, 1.4, chance)


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _happens(chance: float) -> bool:
    return float(torch.rand(())) < chance


def _move(height: int, width: int, chance: float) -> Tensor:
    """Where in the image a place of the result is taken from, (2, 3) in units of half its sides."""
    move = torch.eye(3)
    if _happens(chance):  # a crop of 90 to 100 % of the area, enlarged
        area, ratio = _uniform(0.9, 1.0), _uniform(0.9, 1.1)
        sides = [min(math.sqrt(area * ratio), 1.0), min(math.sqrt(area / ratio), 1.0)]
        crop = torch.eye(3)
        for axis, side in enumerate(sides):
            crop[axis, axis], crop[axis, 2] = side, _uniform(side - 1, 1 - side)
        move = move @ crop
    if _happens(chance):
        angle, scale = math.radians(_uniform(-15, 15)), _uniform(0.95, 1.05)
        turn = torch.eye(3)
        turn[0, 0] = turn[1, 1] = math.cos(angle) / scale
        turn[0, 1] = -math.sin(angle) / scale * height / width
        turn[1, 0] = math.sin(angle) / scale * width / height
        turn[0, 2], turn[1, 2] = 2 * _uniform(-1 / 16, 1 / 16), 2 * _uniform(-1 / 16, 1 / 16)
        move = move @ turn
    return move[:2]


def _moved(images: Tensor, moves: Tensor) -> Tensor:
    """Linear interpolation, mirrored at the borders."""
    if images.ndim == 5:  # the same in every slice
        whole = torch.eye(3, 4).to(moves).repeat(len(moves), 1, 1)
        whole[:, :2, [0, 1, 3]] = moves
        moves = whole
    return warped(images, moves, "reflection")


def _recoloured(images: Tensor, chance: float) -> Tensor:
    """``(1 + c) x + b`` with c and b up to .2, of the image's range."""
    changed = []
    for image in images:
        if _happens(chance):
            least, most = image.min(), image.max()
            contrast, brightness = _uniform(0.8, 1.2), _uniform(-0.2, 0.2)
            image = ((image - least) * contrast + brightness * (most - least)) + least
        changed.append(image)
    return torch.stack(changed)
