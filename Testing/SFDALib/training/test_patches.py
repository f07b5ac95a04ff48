"""Patches are a function of seed, step and rank; augmentation keeps labels on their voxels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from SFDALib.training import AUGMENTATIONS
from SFDALib.training.manifest import Case
from SFDALib.training.patches import Patches


def case(shape: tuple[int, ...], name: str = "x") -> Case:
    rng = np.random.default_rng(0)
    image = rng.random((1, *shape), dtype=np.float32)
    return Case(name, image, (image[0] > 0.5).astype(np.uint8), (3.0, 3.0, 3.0))


@pytest.mark.parametrize("augment", AUGMENTATIONS)
@pytest.mark.parametrize("size", [(16, 24), (8, 16, 24)])
def test_patches_are_a_function_of_seed_step_and_rank(size: tuple[int, ...], augment: str) -> None:
    patches = Patches([case((12, 20, 20)), case((6, 30, 14))], size, 4, augment)
    images, labels = patches.draw(3, 5, 0)
    assert images.shape == (4, 1, *size)
    assert images.dtype == torch.float32
    assert labels.shape == (4, *size)
    again = patches.draw(3, 5, 0)
    assert torch.equal(images, again[0])
    assert torch.equal(labels, again[1])
    for other in ((4, 5, 0), (3, 6, 0), (3, 5, 1)):
        assert not torch.equal(images, patches.draw(*other)[0])


def test_patches_without_augmentation_keep_labels_on_their_voxels() -> None:
    images, labels = Patches([case((12, 20, 20))], (16, 16), 8, "none").draw(0, 0, 0)
    assert torch.equal((images[:, 0] > 0.5).long(), labels)


@pytest.mark.parametrize("size", [(16, 24), (8, 16, 24)])
def test_contrast_mixes_each_patch_with_random_convolutions_of_it(size: tuple[int, ...]) -> None:
    """The labels stay, the image is another one of the same Frobenius norm, drawn by a generator of
    its own: threads that draw batches at once do not disturb each other.
    """
    cases = [case((12, 20, 28))]
    plain, labels = Patches(cases, size, 4, "intensity").draw(0, 1, 0)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    images, same = Patches(cases, size, 4, "contrast").draw(0, 1, 0)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(labels, same)
    assert images.shape == plain.shape and not torch.allclose(images, plain)
    norms = [batch.flatten(1).norm(dim=1) for batch in (images, plain)]
    torch.testing.assert_close(*norms)
