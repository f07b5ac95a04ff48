"""Random patches of the training cases, determined by (seed, step, rank) alone.

A training that was interrupted therefore continues with the patches that it would have drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.ndimage import affine_transform
from torch import Tensor

from SFDALib.gin import random_convolutions
from SFDALib.training.manifest import Case

Padding = Literal["edge", "constant"]

FOREGROUND_SHARE = 1 / 3  # of 3D patches, centred on a foreground voxel, as in nnU-Net


@dataclass(frozen=True)
class Patches:
    """Batches of random patches.

    Args:
        cases: preprocessed.
        size: of a patch in voxels, (j, i) or (k, j, i).
        batch: patches in a batch of one process.
        augment: one of ``training.AUGMENTATIONS``: "none"; "geometric" for random left-right flips
            and small rotations and scalings; "intensity" for these and random brightness, contrast
            and gamma, as nnU-Net does; "contrast" for all of these and the contrast of another
            scanner or modality by random convolutions (``gin``), in every patch.
        flip_axis: array axis from the end (1 is i) that runs from right to left; None for a model
            that must not be given mirrored images.
    """

    cases: Sequence[Case]
    size: tuple[int, ...]
    batch: int
    augment: str
    flip_axis: int | None = 1

    def draw(self, seed: int, step: int, rank: int) -> tuple[Tensor, Tensor]:
        """The batch of a step.

        Args:
            seed: of the training.
            step: of the optimiser.
            rank: of this process.

        Returns:
            Images ``(N, C, [k,] j, i)`` float32 and labels ``(N, [k,] j, i)`` int64.
        """
        rng = np.random.default_rng([seed, step, rank])
        images, labels = [], []
        for _ in range(self.batch):
            image, label = self._patch(rng)
            if self.augment != "none":
                image, label = self._augmented(image, label, rng)
            if self.augment in ("intensity", "contrast"):
                image = np.stack([_recoloured(channel, rng) for channel in image])
            images.append(image)
            labels.append(label)
        batch = torch.from_numpy(np.stack(images))
        if self.augment == "contrast":
            own = torch.Generator().manual_seed(int(rng.integers(2**63)))
            batch = random_convolutions(batch, generator=own)
        return batch, torch.from_numpy(np.stack(labels)).long()

    def _patch(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One patch: image ``(C, [k,] j, i)`` and labels ``([k,] j, i)``."""
        weights = np.array([self._extent(case) for case in self.cases], dtype=float)
        case = self.cases[rng.choice(len(self.cases), p=weights / weights.sum())]
        if len(self.size) == 2:
            index = rng.integers(case.labels.shape[0])
            image, labels = case.image[:, index], case.labels[index]
        else:
            image, labels = case.image, case.labels
        window = self._window(labels, rng)
        return _cut(image, window, self.size, "edge"), _cut(labels, window, self.size, "constant")

    def _extent(self, case: Case) -> int:
        """The weight of a case in drawing: its number of slices in 2D, the same for all in 3D."""
        return case.labels.shape[0] if len(self.size) == 2 else 1

    def _window(self, labels: np.ndarray, rng: np.random.Generator) -> list[int]:
        """First index of the patch along each axis; uniform, or around a foreground voxel."""
        room = [max(n - size, 0) for n, size in zip(labels.shape, self.size, strict=True)]
        if len(self.size) == 3 and any(room) and rng.random() < FOREGROUND_SHARE:
            voxels = np.flatnonzero(labels)
            if len(voxels):
                centre = np.unravel_index(rng.choice(voxels), labels.shape)
                return [
                    int(np.clip(c - size // 2, 0, free))
                    for c, size, free in zip(centre, self.size, room, strict=True)
                ]
        return [int(rng.integers(free + 1)) for free in room]

    def _augmented(
        self, image: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Both mirrored by chance, rotated and scaled in plane."""
        if rng.random() < 0.5 and self.flip_axis:
            image, labels = np.flip(image, -self.flip_axis), np.flip(labels, -self.flip_axis)
        angle, scale = np.deg2rad(rng.uniform(-12, 12)), rng.uniform(0.9, 1.1, size=2)
        shift = rng.uniform(-0.04, 0.04, size=2) * self.size[-2:]
        matrix, size = np.eye(labels.ndim), np.array(labels.shape)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix[-2:, -2:] = turn @ np.diag(scale)
        centre = (size - 1) / 2
        offset = centre - matrix @ centre
        offset[-2:] += shift
        image = np.stack(
            [affine_transform(c, matrix, offset, order=1, mode="nearest") for c in image]
        )
        return image, affine_transform(labels, matrix, offset, order=0, mode="constant")


def _cut(
    array: np.ndarray, start: Sequence[int], size: Sequence[int], padding: Padding
) -> np.ndarray:
    """Cut a window of the last axes, padded on both sides where the array is smaller."""
    lead = array.ndim - len(size)
    window = tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))
    patch = np.asarray(array[(slice(None),) * lead + window])
    lack = [n - m for n, m in zip(size, patch.shape[lead:], strict=True)]
    if any(lack):
        widths = [(0, 0)] * lead + [(n // 2, n - n // 2) for n in lack]
        patch = np.pad(patch, widths, mode=padding)
    return patch


def _recoloured(channel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A channel with other brightness, contrast and gamma; each in a third of the patches.

    Ranges as in nnU-Net: factors 0.7 to 1.3 and 0.65 to 1.5, gamma 0.7 to 1.5, half of the time of
    the inverted image.
    """
    apply = rng.random(3) < 1 / 3
    if apply[0]:
        channel = channel * rng.uniform(0.7, 1.3)
    low, high, mean = channel.min(), channel.max(), channel.mean()
    if apply[1]:
        channel = np.clip((channel - mean) * rng.uniform(0.65, 1.5) + mean, low, high)
    if apply[2] and high > low:
        relative = (channel - low) / (high - low)
        gamma = rng.uniform(0.7, 1.5)
        relative = 1 - (1 - relative) ** gamma if rng.random() < 0.5 else relative**gamma
        channel = relative * (high - low) + low
    return channel.astype(np.float32)
