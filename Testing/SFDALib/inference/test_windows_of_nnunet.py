"""Sliding windows lie and are blended as nnU-Net's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from SFDALib.inference.sliding_window import even_starts, gaussian_weights, sliding_window_mean

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
