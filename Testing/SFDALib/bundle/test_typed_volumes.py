"""Plausible volumes as a user types them, and what becomes of a model's labels."""

from __future__ import annotations

from dataclasses import replace

import pytest
from bundles import describe

from SFDALib.bundle import typed_volumes
from SFDALib.bundle.typed_volumes import TypedVolume, matched, parse, sized
from SFDALib.errors import RequestError

NAMES = ("Liver", "Tumour, left", "tumour", "TUMOUR", "7", "left-kidney")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("Liver=900-2500", [("Liver", [900, 2500])]),
        (
            " Liver = 900 - 1500 - 2500 , 2=0.5-3e2",
            [("Liver", [900, 1500, 2500]), ("2", [0.5, 300])],
        ),
        (
            "Tumour, left=1-300,left-kidney=5-5",
            [("Tumour, left", [1, 300]), ("left-kidney", [5, 5])],
        ),
    ],
)
def test_the_volumes_are_read_from_text(text: str, expected: list[tuple[str, list[float]]]) -> None:
    found = parse(text)
    assert [(one.structure, one.numbers) for one in found] == expected
    assert parse(typed_volumes.text_of(found)) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Liver", 'found "Liver", expected NAME=SMALLEST-LARGEST or'),
        ("Liver=900", 'found "Liver=900", expected NAME='),
        ("Liver=1-2,Tumour=3", 'found "Tumour=3", expected NAME='),
        ("Liver=1-2-3-4", "expected NAME="),
        ("Liver=1-2 ml", "expected NAME="),
        ("=1-2", "expected NAME="),
        ("Liver=-1-2", "expected NAME="),
        ("Liver=nan-2", "expected NAME="),
        ("3", "expected NAME="),
        ("Liver=2-1", "found Liver=2-1, expected smallest <= usual <= largest"),
        ("Liver=1-3-2", "found Liver=1-3-2, expected smallest <= usual"),
        ("Liver=0-2", "found Liver=0-2, expected smallest <= usual <= largest, from 1e-06"),
        ("Liver=1-1e400", "found Liver=1-inf, expected .* below 1,000,000 ml"),
    ],
)
def test_another_form_or_order_is_refused(text: str, said: str) -> None:
    with pytest.raises(RequestError, match=f"volumes: .*{said}"):
        parse(text)


def test_a_structure_is_found_by_its_name_in_any_case_or_by_its_number() -> None:
    typed = parse("liver=1-2,TUMOUR=3-4,Tumour, LEFT=5-6,6=7-8,7=9-10")
    found = {value: one.smallest for value, one in matched(typed, NAMES).items()}
    assert found == {1: 1, 4: 3, 2: 5, 6: 7, 5: 9}  # 7 is the name of the fifth


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Lever=1-2", r'found "Lever", expected .*: Liver \(1\), Tumour, left \(2\), tumour \(3\)'),
        ("Tumour=1-2", 'found "Tumour"'),  # two are called so but for the case
        ("8=1-2", 'found "8"'),
        ("Liver=1-2,1=3-4", 'found "Liver" and "1", expected each structure once'),
    ],
)
def test_an_unknown_structure_is_told_with_those_of_the_model(text: str, said: str) -> None:
    with pytest.raises(RequestError, match=f"volumes: {said}"):
        matched(parse(text), NAMES)


@pytest.mark.parametrize(
    ("numbers", "known", "mean"),
    [
        ((900, 1500, 2500), 1000.0, 1500),  # as typed
        ((900, 2500), 1000.0, 1000),  # the model's own, which is plausible
        ((900, 2500), 60.0, 1500),  # the root of 900 x 2500
        ((900, 2500), None, 1500),
    ],
)
def test_range_and_usual_volume_replace_those_of_the_label_and_nothing_else(
    numbers: tuple[float, ...], known: float | None, mean: float
) -> None:
    brain, lesion = describe(classes=3).labels
    brain = replace(brain, mean_ml=known, piece_ml=5.0, radius_mm=90.0)
    found = sized((brain, lesion), [TypedVolume.of("BRAIN", numbers)])
    assert found == (
        replace(brain, size_ml=(900, 2500), mean_ml=pytest.approx(mean)),
        lesion,
    )


def test_the_report_says_what_was_typed_or_that_single_slices_have_no_volume() -> None:
    labels, typed = describe(classes=3).labels, parse("2=1-10-300,brain=900-2500")
    (note,) = typed_volumes.notes(typed, labels, single_slice=False)
    assert note == (
        "Plausible volumes as typed: Brain 900 to 2500 ml, Lesion 1 to 300 ml (usually 10 ml)."
    )
    (note,) = typed_volumes.notes(typed, labels, single_slice=True)
    assert "not used: the image is a single slice" in note
    assert typed_volumes.notes((), labels, False) == typed_volumes.notes((), labels, True) == ()
