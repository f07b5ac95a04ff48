"""Signals, and the evidence they are measured on, made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from SFDALib.bundle.description import Label
from SFDALib.trust.signals import Evidence, Signals

LABEL = Label(1, "Brain", (1, 2, 3), size_ml=(4.0, 16.0), mean_ml=8.0, slice_area_mm2=8.0)
GOOD = Signals(
    entropy_source=0.4,
    entropy_result=0.1,
    stability_source=0.6,
    stability_result=0.95,
    size_error_source=1.0,
    size_error_result=0.1,
    outside_source=0.5,
    outside_result=0.0,
    largest_source=0.6,
    largest_result=1.0,
    components_source=7,
    components_result=1,
    edge_source=0.9,
    edge_result=1.6,
    agreement=0.8,
    shrinkage=0.0,
    growth=0.3,
    weight_distance=0.001,
    collapsed=False,
    draw_agreement=0.9,
    draw_spread=0.1,
    others=0.9,
    shape_source=0.8,
    shape_result=0.3,
    dice_home=0.5,  # so that its logit, and that of the stability, are 0
    entropy_home=0.1,
    stability_home=0.5,
)
WORSE = {
    "entropy_result": 1.0,
    "stability_result": 0.2,
    "size_error_result": 2.0,
    "outside_result": 1.5,
    "largest_result": 0.2,
    "edge_result": 0.3,
    "agreement": 0.1,
    "shrinkage": 1.2,
    "growth": 3.0,
    "weight_distance": 0.5,
    "collapsed": True,
    "draw_agreement": 0.2,
    "draw_spread": 0.4,
    "others": 0.2,
    "shape_result": 1.4,
}


def probabilities(mask: np.ndarray, sure: float = 1.0) -> Tensor:
    """Binary class probabilities (2, k, j, i): ``sure`` inside the mask, 0 outside."""
    foreground = torch.from_numpy(mask.astype(np.float32)) * sure
    return torch.stack([1 - foreground, foreground])


def box(columns: slice, shape: tuple[int, int, int] = (2, 4, 8)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[:, 1:3, columns] = True
    return mask


def evidence(source: np.ndarray, result: np.ndarray, **more: Any) -> Evidence:
    image = np.zeros((1, *source.shape), dtype=np.float32)
    given = {"labels": (LABEL,), "spacing_kji": (1000.0, 1.0, 1.0)} | more
    return Evidence(image, probabilities(source), probabilities(result), **given)
