"""The target images as batches of patches: slices for a 2D network, blocks for a 3D one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from SFDALib.bundle.source import Source
from SFDALib.inference.sliding_window import dense_windows, window_size


class PatchList:
    """Patches of one size, as batches on a device.

    Args:
        device: where batches go; the patches stay where they are.
        patches: each (C, [k,] j, i).
    """

    def __init__(self, device: torch.device, patches: Sequence[Tensor] = ()) -> None:
        self._device = device
        self._patches = list(patches)

    def __len__(self) -> int:
        return len(self._patches)

    def batch(self, indices: Sequence[int]) -> Tensor:
        """Patches ``(N, C, [k,] j, i)`` on the model's device."""
        chosen = torch.stack([self._patches[index] for index in indices])
        # halves a step's time of a 2D network on CPUs
        layout = torch.channels_last if chosen.ndim == 4 else torch.contiguous_format
        return chosen.to(self._device, memory_format=layout)

    def draw(self) -> None:
        """Draw new patches in place of the present ones if they are random; none are here."""

    def ordered(self, size: int) -> Iterator[list[int]]:
        """Every index once, in order."""
        yield from _split(list(range(len(self))), size, drop_last=False)

    def shuffled(self, size: int, rng: np.random.Generator, drop_last: bool) -> list[list[int]]:
        """Every index once, shuffled; with ``drop_last`` without the incomplete last batch."""
        return _split(rng.permutation(len(self)).tolist(), min(size, len(self)), drop_last)


class TargetPatches(PatchList):
    """All windows of the target images, none left out, without overlap where they fit.

    Args:
        model: its grid, patch size and device.
        images: each ``(C, k, j, i)`` on the model's grid.
        overlap: share by which neighbouring windows overlap instead.
    """

    def __init__(self, model: Source, images: Sequence[np.ndarray], overlap: float = 0.0) -> None:
        description = model.description
        super().__init__(model.device)
        stacks = [torch.from_numpy(image) for image in images]
        items = [
            stack.unbind(1) if description.input_spec.is_2d else [stack] for stack in stacks
        ]  # of each image its slices, or itself
        sizes = [item.shape[1:] for slices in items for item in slices]
        largest = tuple(max(along) for along in zip(*sizes, strict=True))
        self.size = window_size(largest, description.patch_size, model.divisor)
        self._items: list[Tensor] = []
        self._columns: list[list[int]] = []  # of each image and window the patches of all slices
        self.image_of: list[int] = []  # index of each patch's image
        for image, slices in enumerate(items):
            first = len(self._patches)
            for item in (_padded(item, self.size) for item in slices):
                where = dense_windows(item.shape[1:], self.size, overlap)
                self._items.append(item)
                self._patches += [item[(slice(None), *one)] for one in where]
            every = range(first, len(self._patches))
            self._columns += [list(every[n :: len(where)]) for n in range(len(where))]
            self.image_of += [image] * len(every)

    @property
    def voxels(self) -> int:
        """Voxels of all patches together."""
        return len(self) * math.prod(self.size)

    def stacks(self, size: int, rng: np.random.Generator) -> list[list[int]]:
        """Every index once, in runs of at most ``size`` neighbouring slices of one image at one
        window, as equal in length as they can be; the runs are shuffled.
        """
        runs = [
            run.tolist()
            for column in self._columns
            for run in np.array_split(column, -(-len(column) // size))
        ]
        return [runs[index] for index in rng.permutation(len(runs))]


class RandomPatches(TargetPatches):
    """Windows of the target images at random places, drawn anew whenever ``draw`` is called.

    Args:
        model, images: as of ``TargetPatches``.
        count: how many.
        rng: of the places; uniform over slices (2D) or images, and over the places in each.
    """

    def __init__(
        self, model: Source, images: Sequence[np.ndarray], count: int, rng: np.random.Generator
    ) -> None:
        super().__init__(model, images)
        self._count, self._rng = count, rng
        self.draw()

    def draw(self) -> None:
        """Draw new windows in place of the present ones."""
        self._patches = [self._random() for _ in range(self._count)]

    def _random(self) -> Tensor:
        item = self._items[self._rng.integers(len(self._items))]
        starts = (
            int(self._rng.integers(n - size + 1))
            for n, size in zip(item.shape[1:], self.size, strict=True)
        )
        where = (slice(start, start + n) for start, n in zip(starts, self.size, strict=True))
        return item[(slice(None), *where)]


def _split(indices: list[int], size: int, drop_last: bool) -> list[list[int]]:
    batches = [indices[start : start + size] for start in range(0, len(indices), size)]
    if drop_last and len(batches) > 1 and len(batches[-1]) < size:
        batches.pop()
    return batches


def _padded(item: Tensor, size: tuple[int, ...]) -> Tensor:
    """Replicate the border on both sides up to ``size``, as inference does."""
    lack = [max(want - have, 0) for want, have in zip(size, item.shape[1:], strict=True)]
    if not any(lack):
        return item
    pads = [side for n in reversed(lack) for side in (n // 2, n - n // 2)]
    return F.pad(item[None], pads, mode="replicate")[0]
