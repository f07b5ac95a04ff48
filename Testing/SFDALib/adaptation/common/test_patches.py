"""Which windows of the target a method sees, and in which order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from recipe_settings import setting
from small_models import (
    model,
)
from taught_head import source, targets

from SFDALib.adaptation.common.patches import RandomPatches, TargetPatches


def test_the_whole_image_is_seen_by_windows_that_are_smaller() -> None:
    """Two heads of different size, 34 x 23 and 30 x 26 pixels, in windows of 32 x 32."""
    model = source()
    arrays = [image.array for image in targets(2, 2, 2)]
    patches = TargetPatches(model, arrays)
    assert patches.size == (32, 32)
    assert len(patches) == arrays[0].shape[1] * 1 + arrays[1].shape[1] * 2
    assert sorted(i for batch in patches.ordered(4) for i in batch) == list(range(len(patches)))
    shuffled = patches.shuffled(4, np.random.default_rng(0), drop_last=True)
    assert {len(batch) for batch in shuffled} == {4}


def test_the_batches_of_upl_are_neighbouring_slices_of_one_image() -> None:
    source = model()
    patches = setting("upl", source, count=2).patches
    runs = patches.stacks(3, np.random.default_rng(0))
    assert sorted(index for run in runs for index in run) == list(range(16))
    assert sorted(len(run) for run in runs) == [2, 2, 3, 3, 3, 3]
    for run in runs:
        assert run == list(range(run[0], run[0] + len(run))), "one above the other"
        assert len({patches.image_of[index] for index in run}) == 1


def test_random_windows_lie_inside_the_image_and_are_drawn_anew() -> None:
    source = replace(model(3).description, patch_size=(8, 8, 8))
    whole = np.random.default_rng(0).random((1, 12, 20, 16), dtype=np.float32)
    patches = RandomPatches(
        replace(model(3), description=source), [whole], 5, np.random.default_rng(1)
    )
    assert len(patches) == 5
    first = patches.batch(range(5))
    assert first.shape == (5, 1, 8, 8, 8)
    values = set(whole.ravel().tolist())
    assert all(value in values for value in first[0].ravel().tolist())
    patches.draw()
    assert not torch.equal(first, patches.batch(range(5)))
