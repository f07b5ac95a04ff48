"""Which windows cover an image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference

from SFDALib.inference.sliding_window import (
    dense_windows,
    even_starts,
    gaussian_weights,
    sliding_window_mean,
    window_count,
    window_size,
)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((5, 100, 100), (32, 32)),  # larger: the patch
        ((5, 100, 20), (32, 24)),  # smaller along one axis: the next multiple of the divisor
        ((5, 8, 1), (8, 8)),
        ((5, 32, 33), (32, 32)),
    ],
)
def test_a_window_is_the_patch_or_what_covers_a_smaller_image(
    size: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert window_size(size, (32, 32), (8, 8)) == expected


@pytest.mark.parametrize(
    ("image", "overlap", "even", "expected"),
    [
        ((110, 64), 0.5, True, 3 * 1),  # nnU-Net: ceil(46 / 32) + 1
        ((110, 64), 0.5, False, 3 * 1),  # MONAI: 0, 32 and the last one at 46
        ((200, 20), 0.75, True, 10 * 1),  # ceil(136 / 16) + 1; a smaller image is padded
        ((200, 20), 0.75, False, 10 * 1),
        ((129, 129), 0.0, True, 3 * 3),
        ((128, 128), 0.0, False, 2 * 2),
    ],
)
def test_as_many_windows_are_counted_as_cover_the_image(
    image: tuple[int, ...], overlap: float, even: bool, expected: int
) -> None:
    assert window_count(image, (64, 64), overlap, even) == expected


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(20, 33), (64, 8), (17, 16)])
def test_the_windows_that_are_counted_are_those_that_are_computed(
    shape: tuple[int, int], overlap: float
) -> None:
    seen = []

    def maps(patches: torch.Tensor) -> torch.Tensor:
        seen.append(len(patches))
        return patches

    images = torch.rand(1, 1, *shape)
    mean = sliding_window_mean(images, (16, 16), 4, maps, overlap)
    assert sum(seen) == window_count(shape, (16, 16), overlap, even=True)
    torch.testing.assert_close(mean, images)
    seen.clear()
    padded = [max(n, 16) for n in shape]
    sliding_window_inference(images, (16, 16), 4, maps, overlap=overlap)
    assert sum(seen) == window_count(shape, (16, 16), overlap, even=False)
    assert sum(seen) == len(dense_windows(padded, (16, 16), overlap))


CPU = torch.device("cpu")


def test_windows_are_as_far_from_each_other_as_nnunets() -> None:
    """Its own example: 110 voxels, windows of 64, at least half overlapping."""
    assert even_starts((110, 64), (64, 64), 0.5) == [[0, 23, 46], [0]]
    assert even_starts((200,), (64,), 0.5) == [[0, 27, 54, 82, 109, 136]]


def test_window_weights_fall_like_a_gaussian_of_an_eighth_of_the_side() -> None:
    weight = gaussian_weights((16, 8), CPU)
    assert weight.argmax() == 8 * 8 + 4 and weight.max() == 1
    assert weight[10, 5].item() == pytest.approx(np.exp(-0.5 * (1.0**2 + 1.0**2)))


def test_blending_leaves_what_all_windows_agree_on_and_zeros_around_small_images() -> None:
    images = torch.rand(2, 3, 9, 30)
    seen = []

    def same(patches: torch.Tensor) -> torch.Tensor:
        seen.append(patches)
        return patches[:, :2]

    result = sliding_window_mean(images, (16, 16), 3, same, 0.5)
    torch.testing.assert_close(result, images[:, :2], rtol=0, atol=1e-5)
    assert all(part.shape[2:] == (16, 16) and len(part) <= 3 for part in seen)
    assert seen[0][:, :, :3].abs().max() == 0  # 7 rows lack: 3 above, 4 below
