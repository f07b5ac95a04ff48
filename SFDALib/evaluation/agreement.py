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
_STAPLE_ITERATIONS = 500  # a limit: it converges within tens


@dataclass(frozen=True)
class Consensus:
    """One label map out of several.

    Args:
        labels: ``(K, J, I)`` uint8, background where it is undecided.
        undecided: the number of voxels for which two classes or more come first together.
    """

    labels: np.ndarray
    undecided: int


def vote_entropy(maps: Sequence[np.ndarray]) -> np.ndarray:
    """Entropy of the votes for each voxel's class c, ``-sum_c n_c/N log2(n_c/N)``, in bits.

    Where N maps agree it is 0; at most it is log2 N. Float32 ``(K, J, I)``.
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


def pairwise_dice(maps: Sequence[np.ndarray], value: int) -> np.ndarray:
    """Dice of one class between every two of N maps, ``(N, N)``; NaN where both lack it."""
    masks = [labels == value for labels in maps]
    matrix = np.empty((len(masks), len(masks)))
    for row, one in enumerate(masks):
        for column in range(row + 1):
            matrix[row, column] = matrix[column, row] = metrics.dice(one, masks[column])
    return matrix


def mean_dice(matrices: Sequence[np.ndarray]) -> np.ndarray:
    """The mean over classes of matrices ``(N, N)``, without the classes that are NaN for a pair."""
    stack = np.stack(matrices)
    counted = np.isfinite(stack).sum(axis=0)
    total = np.nansum(stack, axis=0)
    return np.where(counted > 0, total / np.maximum(counted, 1), np.nan)


def majority(maps: Sequence[np.ndarray]) -> Consensus:
    """The class that most maps give a voxel; a tie for the first place is background."""
    return _consensus(sitk.LabelVoting([_image(labels) for labels in maps], _UNDECIDED))


def staple(maps: Sequence[np.ndarray]) -> Consensus:
    """The likeliest class of each voxel if every map errs at rates of its own, found by
    expectation and maximisation (multi-label STAPLE: Warfield et al., IEEE TMI 2004; Rohlfing et
    al., IPMI 2003); classes of equal likelihood are background.

    It runs on the box around everything labelled, since the prior is each class's share of what it
    sees: the result must not depend on how much air the scan shows. Of two maps it can tell no
    better one, and gives about their intersection.
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
