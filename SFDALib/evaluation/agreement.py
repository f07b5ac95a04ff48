"""How far several segmentations of one image agree, and what they agree on.

Knows label maps ``(K, J, I)`` of one grid, whole numbers up to 255 with 0 for background; nothing
of methods, files or geometry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from SFDALib.evaluation import metrics

_UNDECIDED = 1000  # no label
_STAPLE_ITERATIONS = 500  # at most; it converges within tens


@dataclass(frozen=True)
class Consensus:
    """One label map out of several.

    Args:
        labels: ``(K, J, I)`` uint8; background where two or more classes tie for the first place.
        undecided: the number of these voxels.
    """

    labels: np.ndarray
    undecided: int


def vote_entropy(maps: Sequence[np.ndarray]) -> np.ndarray:
    """Entropy of the votes for each voxel's class c, ``-sum_c n_c/N log2(n_c/N)``, in bits.

    Args:
        maps: N label maps ``(K, J, I)``.

    Returns:
        Float32 ``(K, J, I)``, from 0 where all maps agree to log2 N.
    """
    share = np.arange(1, len(maps) + 1) / len(maps)
    bits = np.array([0, *(-share * np.log2(share))], np.float32)  # by the number of votes
    total = np.zeros(maps[0].shape, np.float32)
    for value in _values(maps):
        votes = np.zeros(maps[0].shape, np.uint8)
        for labels in maps:
            votes += labels == value
        total += bits[votes]
    return total


def label_dice(one: np.ndarray, other: np.ndarray) -> float:
    """Mean Dice of two label maps over the classes in either; 1 where both have none.

    >>> label_dice(np.array([1, 1, 2]), np.array([1, 1, 0]))
    0.5
    """
    values = np.union1d(np.unique(one), np.unique(other))
    scores = [metrics.dice(one == value, other == value) for value in values if value]
    return float(np.mean(scores)) if scores else 1.0


def pairwise_dice(maps: Sequence[np.ndarray], value: int) -> np.ndarray:
    """Dice of one class between every two of N maps, ``(N, N)``; NaN where neither has it."""
    masks = [labels == value for labels in maps]
    matrix = np.empty((len(masks), len(masks)))
    for row, one in enumerate(masks):
        for column in range(row + 1):
            matrix[row, column] = matrix[column, row] = metrics.dice(one, masks[column])
    return matrix


def mean_dice(matrices: Sequence[np.ndarray]) -> np.ndarray:
    """Mean of the classes' matrices ``(N, N)``; of each pair over the classes that are not NaN."""
    stack = np.stack(matrices)
    counted = np.isfinite(stack).sum(axis=0)
    total = np.nansum(stack, axis=0)
    return np.where(counted > 0, total / np.maximum(counted, 1), np.nan)


def majority(maps: Sequence[np.ndarray]) -> Consensus:
    """Each voxel's most frequent class; background where two or more classes tie."""
    return _consensus(sitk.LabelVoting([_image(labels) for labels in maps], _UNDECIDED))


def staple(maps: Sequence[np.ndarray]) -> Consensus:
    """Multi-label STAPLE (Warfield et al., IEEE TMI 2004; Rohlfing et al., IPMI 2003).

    The likeliest class of each voxel, where every map has error rates of its own, estimated by
    expectation maximisation; background where two or more classes are equally likely.

    It runs on the bounding box of everything labelled: the prior is each class's share of the
    voxels, and the result must not depend on how much air is around. With two maps it cannot tell
    which is better and gives about their intersection.
    """
    labelled = np.any([labels > 0 for labels in maps], axis=0)
    found = np.zeros(labelled.shape, np.uint8)
    if not labelled.any():
        return Consensus(found, 0)
    box = tuple(slice(place.min(), place.max() + 1) for place in np.nonzero(labelled))
    algorithm = sitk.MultiLabelSTAPLEImageFilter()
    algorithm.SetLabelForUndecidedPixels(_UNDECIDED)
    algorithm.SetMaximumNumberOfIterations(_STAPLE_ITERATIONS)
    inside = _consensus(algorithm.Execute([_image(labels[box]) for labels in maps]))
    found[box] = inside.labels
    return Consensus(found, inside.undecided)


def _values(maps: Sequence[np.ndarray]) -> list[int]:
    return sorted({int(value) for labels in maps for value in np.unique(labels)})


def _image(labels: np.ndarray) -> sitk.Image:
    return sitk.GetImageFromArray(labels.astype(np.uint16))


def _consensus(voted: sitk.Image) -> Consensus:
    labels = sitk.GetArrayFromImage(voted)
    undecided = labels == _UNDECIDED
    labels[undecided] = 0
    return Consensus(labels.astype(np.uint8), int(undecided.sum()))
