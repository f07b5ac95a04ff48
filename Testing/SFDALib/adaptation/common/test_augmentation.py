"""Weak augmentation changes a part of the images."""

from __future__ import annotations

import numpy as np
import torch

from SFDALib.adaptation.common.augmentation import weak


def test_weak_augmentation_changes_a_part_and_keeps_the_rest() -> None:
    torch.manual_seed(0)
    images = torch.rand(40, 1, 12, 16)
    assert torch.allclose(weak(images, 0.0), images, atol=1e-5)
    changed = [
        not torch.allclose(a, b, atol=1e-4) for a, b in zip(weak(images), images, strict=True)
    ]
    assert 0.45 < np.mean(changed) < 0.9  # 1 - .75^4 = .68
    block = torch.rand(2, 1, 4, 12, 16)
    assert torch.allclose(weak(block, 0.0), block, atol=1e-5)
    assert weak(block, 1.0).shape == block.shape
