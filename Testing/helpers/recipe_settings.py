"""What the loop gives a recipe, and networks and patches whose answer is known."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from small_models import image
from torch import Tensor, nn

from SFDALib.adaptation.common.patches import PatchList, TargetPatches
from SFDALib.adaptation.common.recipe import Recipe, Setting
from SFDALib.bundle.source import Source
from SFDALib.methods import registry
from SFDALib.methods.option import PUBLISHED


def setting(method: str, source: Source, count: int = 1, **options: Any) -> Setting:
    """What the loop would give the method, for images of 8 slices."""
    images = [image(index + 1) for index in range(count)]
    patches = TargetPatches(source, [one.array for one in images])
    values = registry.find(method).values({"batch": 4, **options}, PUBLISHED)
    network = copy.deepcopy(source.network)
    return Setting(source, network, images, patches, values, np.random.default_rng(0))


class Linear(nn.Module):
    """Features are the image's channels; one classifier of width 1."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        outputs, inputs = weight.shape
        self.body = nn.Conv2d(inputs, inputs, 1, bias=False)
        self.body.weight.data = torch.eye(inputs)[..., None, None]
        self.head = nn.Conv2d(inputs, outputs, 1, bias=bias is not None)
        self.head.weight.data = weight[..., None, None]
        if bias is not None:
            self.head.bias.data = bias

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def loss_of(recipe: Recipe, indices: list[int]) -> float:
    """Without gradients: no augmentation and no dropout."""
    recipe.on_source()
    with torch.no_grad():
        return recipe.loss(indices).item()


def given(images: Tensor) -> PatchList:
    """Patches that are these images (N, C, ...)."""
    return PatchList(torch.device("cpu"), list(images))
