"""What is made of a network's logits: classes, probabilities, another resolution."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def class_probabilities(logits: Tensor) -> Tensor:
    """Logits ``(N, 1 or K, ...)`` to probabilities ``(N, K, ...)``, background first.

    One output channel is a sigmoid and becomes two classes; more are a softmax.
    """
    if logits.shape[1] == 1:
        foreground = torch.sigmoid(logits)
        return torch.cat([1 - foreground, foreground], dim=1)
    return torch.softmax(logits, dim=1)


def class_logits(logits: Tensor) -> Tensor:
    """Logits ``(N, 1 or K, ...)`` as those of a softmax ``(N, K, ...)``, background first."""
    if logits.shape[1] == 1:
        return torch.cat([torch.zeros_like(logits), logits], dim=1)
    return logits


def at_resolution(logits: Tensor, size: tuple[int, ...]) -> Tensor:
    """Early logits at the image's resolution: those of level 1 are enlarged linearly."""
    if logits.shape[2:] == tuple(size):
        return logits
    mode = "bilinear" if len(size) == 2 else "trilinear"
    return F.interpolate(logits, size=tuple(size), mode=mode, align_corners=False)
