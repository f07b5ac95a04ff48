"""From probabilities on a model's grid to labels on the input's grid.

``InputSpec`` says how a voxel's label is decided: by the largest probability, by regions
painted one over another, or by a threshold; and which transforms clean the labels.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from SFDALib.volume.label_rules import Grids, rule_of


def labels(conformed: Grids, probabilities: Tensor) -> np.ndarray:
    """Labels ``(K, J, I)`` uint8 on the input's grid from probabilities ``(C, k, j, i)``.

    They are interpolated class by class, as probabilities or as logits, so that borders are smooth
    and memory is that of few classes, whatever their number. The largest wins; of regions each is
    painted over the earlier ones where it is more likely than not.
    """
    rule = rule_of(conformed, probabilities)
    return rule.painted(rule.found()).cpu().numpy()


def byte_maps(conformed: Grids, probabilities: Tensor) -> tuple[np.ndarray, list[int]]:
    """The probabilities that the labels are made of, on the input's grid, as bytes.

    Of one class a channel they are those of background (0) and each label, which add up to 1. The
    largest is that of the voxel's label: the rounding to 255 steps never turns the order of the
    largest two. Of overlapping regions each has its own, under its label, in the order of painting.
    A region, or the label of a model with a threshold of its own, is where the byte is at least
    ``least_byte``. Where cleaning changed a label, it is certain.

    Returns:
        ``(K, J, I, channels)`` uint8, 255 for 1, and the label of each channel.
    """
    rule = rule_of(conformed, probabilities)
    found = rule.found()
    of = rule.channel_labels()
    maps = np.empty((*found.shape[1:], len(of)), np.uint8)
    for channel, map_ in enumerate(rule.channels()):
        maps[..., channel] = (map_ * 255).round().to(torch.uint8).cpu().numpy()
    rule.agree(maps, found.cpu().numpy())
    return maps, of
