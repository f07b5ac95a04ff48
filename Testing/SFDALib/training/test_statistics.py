"""What the labels of cases tell of the structures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from SFDALib.bundle.description import Label
from SFDALib.bundle.labels import PlausibleShape
from SFDALib.training.statistics import measured, widened

LABELS = (Label(1, "Left", (1, 2, 3)), Label(2, "Right", (4, 5, 6)))


@dataclass
class Case:
    labels: np.ndarray
    spacing_kji: tuple[float, float, float] = (2.0, 1.0, 1.0)


def block(depth: int, rows: int, columns: int, value: int = 1) -> Case:
    """A box from the corner of an image of 8 x 20 x 20 voxels."""
    labels = np.zeros((8, 20, 20), np.uint8)
    labels[:depth, :rows, :columns] = value
    return Case(labels)


def axis(side: float) -> float:
    """Of the ellipsoid of a box: ``2 sqrt(5)`` times the deviation ``side / sqrt(12)``."""
    return 2 * np.sqrt(5 / 12) * side


def test_plausible_values_span_those_of_the_cases_by_a_quarter() -> None:
    first, second = measured(LABELS, [block(4, 6, 10), block(5, 8, 12)], slices=True)
    assert second == LABELS[1], "it is in no case"
    assert first.mean_ml == pytest.approx((480 + 960) / 2 / 1000)
    assert first.size_ml == pytest.approx((0.75 * 0.48, 1.25 * 0.96))
    assert first.slice_area_mm2 == pytest.approx((4 * 60 + 5 * 96) / 9, abs=0.01)
    assert first.piece_ml == pytest.approx(0.75 * 0.48)
    assert first.shape is not None
    assert first.shape.length_mm == pytest.approx((0.75 * axis(10), 1.25 * axis(12)), abs=1e-3)
    assert first.shape.width_mm == pytest.approx((0.75 * axis(8), 1.25 * axis(10)), abs=1e-3)
    assert first.shape.thickness_mm == pytest.approx((0.75 * axis(6), 1.25 * axis(8)), abs=1e-3)
    box = 1 / (np.pi / 6 * (2 * np.sqrt(5 / 12)) ** 3)  # any box of its ellipsoid
    assert first.shape.fill == pytest.approx((0.75 * box, 1.25 * box), abs=1e-3)
    assert first.shape.distance_mm == pytest.approx((1e-6, 1e-6)), "alone, at the common centre"


def test_a_single_slice_has_areas_and_no_shape() -> None:
    single = Case(block(1, 6, 10).labels[:1])
    first, _ = measured(LABELS, [single], slices=True)
    assert first.slice_area_mm2 == 60
    assert first.shape is None


def test_a_model_that_sees_volumes_has_no_areas() -> None:
    first, _ = measured(LABELS, [block(4, 6, 10)], slices=False)
    assert first.slice_area_mm2 is None
    assert first.shape is not None


def test_widened_ranges_include_those_of_before() -> None:
    (found, _) = measured(LABELS, [block(4, 6, 10)], slices=False)
    before = Label(
        1,
        "Left",
        (1, 2, 3),
        size_ml=(0.1, 0.2),
        shape=PlausibleShape((1, 50), (2, 3), (1, 2), (0.1, 0.2)),
    )
    both = widened(before, found)
    assert both.size_ml == pytest.approx((0.1, 0.6))
    assert both.shape is not None and found.shape is not None
    assert both.shape.length_mm == (1, 50)
    assert both.shape.width_mm == (2, found.shape.width_mm[1])
    assert both.shape.distance_mm == found.shape.distance_mm, "there was none before"
    assert widened(LABELS[0], found) == found
    assert widened(before, LABELS[0]).shape == before.shape
