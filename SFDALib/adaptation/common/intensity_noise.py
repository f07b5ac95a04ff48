"""Random changes of intensity of each image of a batch; drawn from torch's generator."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def random_gamma(
    images: Tensor, low: float, high: float, chance: float = 0.5, inverse: bool = False
) -> Tensor:
    """``x^g``, or ``x^(1/g)``, of each image's range with g uniform in [low, high]; or the image as
    it is.
    """
    count = len(images)
    per_image = (count, *[1] * (images.ndim - 1))
    flat = images.flatten(1)
    least = flat.min(dim=1).values.view(per_image)
    extent = (flat.max(dim=1).values.view(per_image) - least).clamp(min=1e-8)
    gamma = (low + (high - low) * torch.rand(count)).to(images)
    gamma = 1 / gamma if inverse else gamma
    gamma = torch.where(torch.rand(count).to(images) < chance, gamma, 1.0).view(per_image)
    return ((images - least) / extent) ** gamma * extent + least


def salt_and_pepper(images: Tensor, chance: float, amount: float = 0.004) -> Tensor:
    """Salt-and-pepper noise with probability ``chance``: half of these images get salt (their
    maximum) on 0.2 ``amount`` of the pixels, half pepper (their minimum) on 0.8 ``amount``.
    """
    noisy = images.clone()
    for image in noisy:
        if float(torch.rand(())) >= chance:
            continue
        salt = float(torch.rand(())) < 0.5
        where = torch.rand(image.shape[1:]) < amount * (0.2 if salt else 0.8)
        image[:, where.to(image.device)] = image.max() if salt else image.min()
    return noisy


def random_erasing(images: Tensor, chance: float) -> Tensor:
    """Random erasing with probability ``chance``: one rectangle (2 to 6 % of the plane of the last
    two axes, 0.3 to 0.6 times as high as wide, the same on all slices of a block) gets a random
    grey value of the image's range.
    """
    erased = images.clone()
    height, width = images.shape[-2:]
    for image in erased:
        if float(torch.rand(())) >= chance:
            continue
        area, ratio, value, down, right = torch.rand(5).tolist()
        area, ratio = (0.02 + 0.04 * area) * height * width, 0.3 + 0.3 * ratio
        h = min(max(int(math.sqrt(area * ratio)), 1), height)
        w = min(max(int(math.sqrt(area / ratio)), 1), width)
        top, left = int(down * (height - h + 1)), int(right * (width - w + 1))
        least, most = image.min(), image.max()
        image[..., top : top + h, left : left + w] = least + value * (most - least)
    return erased
