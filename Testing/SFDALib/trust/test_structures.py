"""Each structure by itself, and what is to be looked at in it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from signals_by_hand import LABEL, box, evidence, probabilities

from SFDALib.bundle.labels import PlausibleShape
from SFDALib.trust.structures import Structure, compared
from SFDALib.volume.shape import Shape

WHOLE = Structure("Brain", 8.0, (4.0, 16.0), 1, 1.0, 0.1)


def kinds(source: Structure, result: Structure) -> tuple[list[str], list[str]]:
    in_source, in_result = compared([source], [result])
    return [one.kind for one in in_source], [one.kind for one in in_result]


def test_a_structure_is_measured_in_ml_pieces_and_bits() -> None:
    mask = box(slice(0, 2))  # 2 slices of 2 rows and 2 columns
    mask[0, 1, 6] = True
    given = replace(evidence(mask, mask), result=probabilities(mask, 0.9))
    (found,) = given.in_result.structures
    assert (found.ml, found.components, found.plausible_ml) == (9.0, 2, (4.0, 16.0))
    assert found.largest == pytest.approx(8 / 9)
    assert found.entropy_bits == pytest.approx(0.4689956, abs=1e-6)  # H(0.9)
    assert given.in_source.structures[0].entropy_bits is None  # labels alone


@pytest.mark.parametrize(
    ("ml", "kind", "text"),
    [
        (1832.4, "too large", "Brain is too large (1,830 ml, plausible 979 to 1,640 ml)"),
        (320.5, "too small", "Brain is too small (320 ml, plausible 979 to 1,640 ml)"),
        (0.0, "missing", "Brain is missing"),
    ],
)
def test_a_volume_outside_the_plausible_range_is_told_with_both(
    ml: float, kind: str, text: str
) -> None:
    of_a_brain = replace(WHOLE, plausible_ml=(979.1, 1643.2))
    _, (found,) = compared([replace(of_a_brain, ml=1300.0)], [replace(of_a_brain, ml=ml)])
    assert (found.kind, found.structure, found.text) == (kind, "Brain", text)


@pytest.mark.parametrize("ml", [4.0, 16.0, None])
def test_a_volume_on_the_bounds_and_a_single_slice_are_not_told(ml: float | None) -> None:
    assert kinds(WHOLE, replace(WHOLE, ml=ml)) == ([], [])


def test_a_structure_in_pieces_is_told_where_the_sources_was_whole() -> None:
    pieces = replace(WHOLE, components=5, largest=0.6)
    assert kinds(WHOLE, pieces) == ([], ["in pieces"])
    assert kinds(pieces, pieces) == ([], [])  # as lesions are, or nuclei
    assert kinds(replace(WHOLE, largest=None), pieces) == ([], [])


def test_a_structure_in_which_the_model_is_unsure_is_told() -> None:
    assert kinds(replace(WHOLE, entropy_bits=0.51), WHOLE) == (["unsure"], [])
    assert kinds(WHOLE, replace(WHOLE, entropy_bits=0.49)) == ([], [])


def test_a_single_slice_has_no_volume() -> None:
    mask = np.asarray(box(slice(0, 2))[:1])
    (found,) = evidence(mask, mask, labels=(LABEL,)).in_source.structures
    assert found.ml is None


SHAPE = Shape(100.0, 80.0, 60.0, 0.9, 10.0)
AROUND = PlausibleShape((80, 125), (64, 100), (48, 75), (0.72, 1.125), (8, 12.5))


def test_a_shape_deviates_by_one_at_the_ends_of_its_ranges_and_by_nothing_in_the_middle() -> None:
    shaped = replace(WHOLE, shape=SHAPE, plausible_shape=AROUND)
    assert shaped.deviation == pytest.approx(0, abs=1e-9)
    ends = Shape(80.0, 100.0, 48.0, 1.125, 8.0)
    assert replace(shaped, shape=ends).deviation == pytest.approx(1)
    longer = replace(SHAPE, length_mm=125.0**2 / 100)  # twice as far as the end, on the log scale
    assert replace(shaped, shape=longer).deviation == pytest.approx(math.sqrt(4 / 5))
    assert replace(shaped, shape=replace(SHAPE, fill=1e-9)).deviation == pytest.approx(
        math.sqrt(16 / 5)
    ), "a deviation counts up to 4"


def test_a_missing_structure_deviates_most_and_without_ranges_nothing_is_told() -> None:
    assert replace(WHOLE, plausible_shape=AROUND).deviation == 4
    assert WHOLE.deviation is None
    assert replace(WHOLE, ml=None, plausible_shape=AROUND).deviation is None, "a single slice"
    one = replace(AROUND, distance_mm=None)
    alone = replace(WHOLE, shape=replace(SHAPE, distance_mm=None), plausible_shape=one)
    assert alone.deviation == pytest.approx(0, abs=1e-9)


def test_an_unusual_shape_is_told_with_its_farthest_number() -> None:
    thin = replace(SHAPE, thickness_mm=20.0, fill=0.5)
    shaped = replace(WHOLE, shape=thin, plausible_shape=AROUND)
    assert kinds(shaped, shaped) == (["unusual shape"], ["unusual shape"])
    _, (found,) = compared([WHOLE], [shaped])
    assert found.text == "Brain has an unusual shape (thickness 20 mm, plausible 48 to 75 mm)"
    assert found.in_short == "Brain has an unusual shape"
    wide = replace(shaped, plausible_shape=replace(AROUND, thickness_mm=(89.0, 149.6)))
    _, (found,) = compared([WHOLE], [wide])
    assert "plausible 89 to 150 mm" in found.text, "no 1.5e+02"
    usual = replace(shaped, shape=replace(SHAPE, thickness_mm=48.0))
    assert kinds(usual, usual) == ([], [])


def test_the_shape_is_measured_in_mm_on_the_models_grid() -> None:
    mask = box(slice(0, 6))  # 2 slices of 2 rows and 6 columns
    given = evidence(mask, mask, spacing_kji=(3.0, 2.0, 1.0))
    (found,) = given.in_result.structures
    assert found.shape is not None
    side = 2 * math.sqrt(5 / 12)  # axis of the ellipsoid of a box with sides of 1 mm
    sides = (found.shape.length_mm, found.shape.width_mm, found.shape.thickness_mm)
    assert sides == pytest.approx((6 * side, 6 * side, 4 * side))
    single = evidence(mask[:1], mask[:1]).in_result.structures[0]
    assert single.shape is None
