"""Patches with labels, and what the labels say of the structures' sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from SFDALib.adaptation.common.patches import PatchList, TargetPatches
from SFDALib.bundle.description import Description
from SFDALib.bundle.source import Source
from SFDALib.inference.sliding_window import window_size
from SFDALib.training.manifest import Case
from SFDALib.training.patches import Patches
from SFDALib.training.statistics import measured, widened


class LabelledPatches(PatchList):
    """So many augmented windows of labelled images, drawn anew by ``draw``.

    Args:
        model: its patch size and device.
        cases: on the model's grid.
        count: how many.
        augment: one of ``training.AUGMENTATIONS``.
        seed: of places and augmentation.
    """

    def __init__(
        self, model: Source, cases: Sequence[Case], count: int, augment: str, seed: int
    ) -> None:
        super().__init__(model.device)
        description = model.description
        largest = tuple(max(along) for along in zip(*(c.labels.shape for c in cases), strict=True))
        mirrored = description.mirror_axes
        last = description.spatial_dims - 1
        self._source = Patches(
            cases,
            window_size(largest, description.patch_size, model.divisor),
            1,
            augment,
            flip_axis=1 if mirrored is None or last in mirrored else None,
        )
        self._count, self._seed, self._drawn = count, seed, 0
        self.draw()

    def draw(self) -> None:
        """Draw new patches and their labels in place of the present ones."""
        steps = range(self._drawn, self._drawn + self._count)
        drawn = [self._source.draw(self._seed, step, 0) for step in steps]
        self._drawn += self._count
        self._patches = [images[0] for images, _ in drawn]
        self._labels = [labels[0] for _, labels in drawn]

    def labels(self, indices: Sequence[int]) -> Tensor:
        """``(N, [k,] j, i)`` int64 on the model's device."""
        return torch.stack([self._labels[index] for index in indices]).to(self._device)


def whole(model: Source, cases: Sequence[Case]) -> tuple[TargetPatches, TargetPatches]:
    """All windows of the labelled images, and the same of their labels as one channel."""
    images = TargetPatches(model, [case.image for case in cases])
    return images, TargetPatches(model, [case.labels[None].astype("float32") for case in cases])


def sizes(description: Description, cases: Sequence[Case]) -> Description:
    """The description with plausible volumes and shapes that include those of the labels."""
    bare = [replace(label, size_ml=None) for label in description.labels]
    found = measured(bare, cases, description.input_spec.is_2d)
    labels = tuple(widened(*pair) for pair in zip(description.labels, found, strict=True))
    return replace(description, labels=labels)
