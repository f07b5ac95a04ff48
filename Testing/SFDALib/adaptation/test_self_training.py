"""Self-training mirrors patches with their labels."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from recipe_settings import given, setting
from small_models import model
from torch import Tensor, nn

from SFDALib.adaptation import self_training


@pytest.mark.parametrize("axes", [None, (0,), (0, 1)])
def test_self_training_mirrors_patches_with_their_labels_where_the_bundle_allows(
    axes: tuple[int, ...] | None,
) -> None:
    """A network that passes on what it sees, and labels of the same: the loss is that of patches
    that were not mirrored; the network has seen them so.
    """
    source = model()
    description = replace(source.description, mirror_axes=axes)
    seen = []

    class Passing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Conv2d(1, 1, 1)
            self.head.weight.data.fill_(8.0)
            self.head.bias.data.fill_(-4.0)

        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.detach())
            return self.head(x)

    source = replace(source, description=description, network=Passing())
    one = setting("self-training", source, portion=1.0, portion_max=1.0, flips=1.0)
    skewed = torch.linspace(0, 1, 16).expand(8, 1, 16, 16)
    patches = given(skewed)
    recipe = self_training.SelfTraining(replace(one, patches=patches))
    recipe.on_source()
    seen.clear()
    mirrored = recipe.loss([0, 1])
    (shown,) = seen
    allowed = axes is None or 1 in axes
    assert torch.equal(shown, skewed[:2].flip(-1) if allowed else skewed[:2])
    with torch.no_grad():
        assert mirrored.item() == pytest.approx(recipe.loss([0, 1]).item(), rel=1e-6)
