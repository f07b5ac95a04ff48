"""Each structure by itself, and what is to be looked at in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from signals_by_hand import LABEL, box, evidence, probabilities

from SFDALib.trust.structures import Structure, compared

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
