"""How far several segmentations agree, and what they agree on."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from SFDALib.evaluation import agreement


def row(*labels: int) -> np.ndarray:
    """A label map of one row of voxels."""
    return np.array(labels, np.uint8).reshape(1, 1, -1)


def disc(shift: int = 0, radius: float = 6, value: int = 1, size: int = 32) -> np.ndarray:
    j, i = np.mgrid[:size, :size] - size // 2
    return (value * ((j**2 + (i - shift) ** 2) < radius**2)).astype(np.uint8)[None]


class TestVoteEntropy:
    def test_is_that_of_the_shares_of_the_votes_in_bits(self) -> None:
        maps = row(1, 1, 1, 1, 0), row(1, 1, 1, 2, 0), row(1, 1, 2, 3, 0), row(1, 2, 2, 4, 0)
        one_of_four = 0.25 * 2 + 0.75 * math.log2(4 / 3)
        found = agreement.vote_entropy(maps)
        assert found.dtype == np.float32 and found.shape == (1, 1, 5)
        np.testing.assert_allclose(found.ravel(), [0, one_of_four, 1, 2, 0], rtol=1e-6)

    def test_of_one_map_is_0(self) -> None:
        assert not agreement.vote_entropy([row(0, 1, 2)]).any()


class TestPairwiseDice:
    def test_is_the_overlap_of_every_two(self) -> None:
        maps = row(1, 1, 0, 0, 2), row(0, 1, 1, 0, 2), row(0, 0, 0, 0, 0)
        brain, lesion = (agreement.pairwise_dice(maps, value) for value in (1, 2))
        np.testing.assert_array_equal(brain, [[1, 0.5, 0], [0.5, 1, 0], [0, 0, math.nan]])
        np.testing.assert_array_equal(lesion, [[1, 1, 0], [1, 1, 0], [0, 0, math.nan]])
        mean = agreement.mean_dice([brain, lesion])
        np.testing.assert_array_equal(mean, [[1, 0.75, 0], [0.75, 1, 0], [0, 0, math.nan]])

    def test_of_a_structure_that_both_lack_does_not_count_in_the_mean(self) -> None:
        maps = row(1, 1, 0), row(1, 0, 0)
        mean = agreement.mean_dice([agreement.pairwise_dice(maps, value) for value in (1, 2)])
        assert mean[0, 1] == pytest.approx(2 / 3)


@pytest.mark.parametrize("agree", [agreement.majority, agreement.staple])
class TestEveryConsensus:
    def test_of_identical_maps_is_that_map(self, agree: Callable) -> None:
        map_ = np.maximum(disc(radius=10, value=200), disc(3, 4, value=255))
        for count in (1, 2, 5):
            consensus = agree([map_] * count)
            assert consensus.labels.dtype == np.uint8 and consensus.undecided == 0
            assert (consensus.labels == map_).all()

    def test_of_empty_maps_is_empty(self, agree: Callable) -> None:
        consensus = agree([row(0, 0, 0)] * 3)
        assert not consensus.labels.any() and consensus.undecided == 0

    def test_outvotes_one_that_errs(self, agree: Callable) -> None:
        consensus = agree([disc(), disc(), disc(9)])
        assert (consensus.labels == disc()).all()


class TestConsensus:
    def test_a_tie_of_votes_is_background_and_counted(self) -> None:
        consensus = agreement.majority([row(1, 1, 1, 2), row(1, 2, 0, 2)])
        assert consensus.labels.ravel().tolist() == [1, 0, 0, 2]
        assert consensus.undecided == 2

    def test_a_tie_of_likelihoods_is_background_and_counted(self) -> None:
        maps = [row(1, 2, 0, 0, 1, 2), row(2, 1, 0, 0, 1, 2)]  # mirror images of each other
        consensus = agreement.staple(maps)
        assert consensus.labels.ravel().tolist() == [0, 0, 0, 0, 1, 2]
        assert consensus.undecided == 2

    def test_staple_finds_what_expectation_and_maximisation_find(self) -> None:
        truth, rng = disc(radius=9) > 0, np.random.default_rng(0)
        rates = ((0.95, 0.97), (0.9, 0.9), (0.6, 0.99), (0.85, 0.7), (0.7, 0.8))
        maps = [
            np.where(truth, rng.random(truth.shape) < p, rng.random(truth.shape) > q)
            for p, q in rates  # sensitivity and specificity
        ]
        # Warfield et al. 2004, eqs. 14 to 21, started from the majority
        decisions = np.stack(maps).reshape(len(maps), -1)
        prior, weight = decisions.mean(), decisions.mean(axis=0) > 0.5
        for _ in range(100):
            p = (decisions * weight).sum(axis=1) / weight.sum()
            q = (~decisions * (1 - weight)).sum(axis=1) / (1 - weight).sum()
            a = prior * np.where(decisions, p[:, None], 1 - p[:, None]).prod(axis=0)
            b = (1 - prior) * np.where(decisions, 1 - q[:, None], q[:, None]).prod(axis=0)
            weight = a / (a + b)
        expected = (weight > 0.5).reshape(truth.shape)
        found = agreement.staple([map_.astype(np.uint8) for map_ in maps])
        assert (found.labels == expected).all()
        plain = agreement.majority([map_.astype(np.uint8) for map_ in maps])
        wrong = [np.count_nonzero(labels != truth) for labels in (found.labels, plain.labels)]
        assert wrong[0] < wrong[1]

    def test_staple_does_not_depend_on_the_air_around(self) -> None:
        rng = np.random.default_rng(1)
        maps = [(rng.random((3, 8, 8)) < share).astype(np.uint8) for share in (0.3, 0.5, 0.6)]
        maps[0][0, 0, 0] = maps[0][-1, -1, -1] = 1
        padded = [np.pad(map_, 20) for map_ in maps]
        inside = agreement.staple(padded).labels[20:-20, 20:-20, 20:-20]
        assert inside.any() and (inside == agreement.staple(maps).labels).all()
