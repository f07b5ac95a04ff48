"""What the panel says in words: the model, the verdict, what failed, the curves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from SFDASegmenterLib import words
from SFDASegmenterLib.request import Image, Request

BRAIN = {
    "name": "Brain",
    "source_ml": 320.5,
    "result_ml": 1300.0,
    "plausible_ml": [979.1, 1643.2],
}


def request(method: str, images: int = 1, **more: Any) -> Request:
    return Request((Image("head", ("id",), 1),) * images, "bundle", method, **more)


@pytest.mark.parametrize(
    ("asked", "adapted", "said"),
    [
        (request("auto"), "each", "at most 30 min"),
        (request("auto", 6), "each", "at most 30 min for 6 volumes (5 min each)"),
        # the choice is one for all volumes, not one for each
        (request("auto", 6), "once", "at most 30 min for 6 volumes together"),
        (request("adami"), "each", "about 30 min"),
        (request("adami", 6), "each", "about 30 min for 6 volumes (5 min each)"),
        (request("adami", 6), "once", "about 30 min for 6 volumes together"),
        # a comparison of all methods has no limit, whichever method is chosen beside it
        (request("auto", compared={"none": {}, "heal": {}}), "each", "about 30 min"),
    ],
)
def test_the_expected_time_is_a_limit_where_the_method_has_one(
    asked: Request, adapted: str, said: str
) -> None:
    assert words.expected_time(1800.0, adapted, asked) == said


@pytest.mark.parametrize(
    ("title", "said"),
    [
        ("cpu (8 threads)", "CPU"),
        ("cuda:1 (NVIDIA H200)", "GPU (cuda:1)"),
        ("mps", "GPU (mps)"),
    ],
)
def test_a_device_is_named_as_people_call_it(title: str, said: str) -> None:
    assert words.device(title) == said


def report(decision: str, sentence: str | None = "So: do that.") -> dict[str, Any]:
    return {
        "title": "HEAL",
        "trust": {
            "decision": decision,
            "delivered": "result",
            "reasons": ["entropy fell"],
            **({} if sentence is None else {"sentence": sentence}),
        },
        "notes": ["verdict (green): So: do that. Why: entropy fell.", "memory ran out once"],
        "volumes": [BRAIN],
    }


@pytest.mark.parametrize(
    ("facts", "colour", "line"),
    [
        (report("better"), "green", "So: do that."),
        (report("look"), "amber", "So: do that."),
        (report("keep"), "grey", "So: do that."),
        (report("both-wrong"), "red", "So: do that."),
        # as scenes have them that an earlier version saved
        (report("adopt", None), "amber", "Judged by an earlier version: compare both."),
        (report("look", None), "amber", "Judged by an earlier version: compare both."),
        (report("keep", None), "amber", "Judged by an earlier version: compare both."),
        ({**report("better"), "trust": None}, "grey", "HEAL: nothing to judge."),
    ],
)
def test_the_verdict_is_one_sentence_with_a_colour(
    facts: dict[str, Any], colour: str, line: str
) -> None:
    found = words.verdict(facts)
    assert (found.colour, found.line) == (colour, line)


@pytest.mark.parametrize(
    ("adopted", "line"),
    [
        ([], "No adaptation: nothing to judge."),
        (
            [False, False],
            "No adaptation. None of 2 other results is clearly better by the judge: compare them.",
        ),
        (
            [True, False, True],
            "No adaptation. Of 3 other results 2 are better by the judge: choose one in Run.",
        ),
    ],
)
def test_beside_the_source_models_own_it_says_whether_others_are_better(
    adopted: list[bool], line: str
) -> None:
    own = {"title": "No adaptation", "notes": [], "trust": None}
    assert words.verdict(own, [{"adopted": one} for one in adopted]).line == line


def test_the_reasons_are_the_judges_and_then_the_runs_own_notes() -> None:
    found = words.verdict(report("better"))
    assert found.reasons == ("Entropy fell.", "memory ran out once")
    assert "Entropy fell." in words.reasons(found)


@pytest.mark.parametrize(
    ("share", "said"), [(12.34, "12 %"), (3.456, "3.5 %"), (0.0, "0 %"), (0.0312, "0.031 %")]
)
def test_how_unsure_a_model_is_inside_a_structure_is_said_in_per_cent(
    share: float, said: str
) -> None:
    row = {"name": "Brain", "uncertain_percent": share, "entropy_bits": 0.1234}
    short, meant = words.unsure(row)
    assert short == said
    assert f"unsure of {share:g} % of the voxels inside Brain" in meant and "0.12 bits" in meant
    assert words.unsure({**row, "uncertain_percent": None, "entropy_bits": None}) == ("", "")


def test_of_several_warnings_the_first_is_said_with_their_number() -> None:
    assert words.warnings([]) == ""
    assert words.warnings(["It is inverted."]) == "It is inverted."
    assert words.warnings(["It is inverted.", "b", "c"]) == "It is inverted. (and 2 more)"


@pytest.mark.parametrize(
    ("spacing_mm", "channels", "said"),
    [
        ([1.5, 1.5, None], 1, "3D, 1 channel, 1.5 × 1.5 mm in plane, slice spacing as is."),
        ([1.0, 1.0, 3.0], 2, "3D, 2 channels, 1 mm × 1 mm × 3 mm."),
        ([None, None, None], 1, "3D, 1 channel, spacing as is."),
        ([None, 1.0, 3.0], 1, "3D, 1 channel, as is × 1 mm × 3 mm."),
    ],
)
def test_a_models_grid_is_said_in_plain_words(
    spacing_mm: list[float | None], channels: int, said: str
) -> None:
    facts = {
        "imported_from": "",
        "modality": "T1-weighted MR",
        "spatial_dims": 3,
        "channels": channels,
        "spacing_mm": spacing_mm,
        "labels": [{"name": "Brain", "size_ml": [10.0, 200.0]}],
    }
    assert words.bundle_details(facts).split("<br>")[-1] == said


@pytest.mark.parametrize(
    ("compared", "images", "line"),
    [
        ({"none": {}, "heal": {}, "adami": {}}, 1, "1 of 3 methods failed; HEAL: no memory"),
        ({}, 5, "1 of 5 images failed; HEAL: no memory"),
    ],
)
def test_what_failed_is_counted_among_its_own_kind(
    compared: dict[str, Any], images: int, line: str
) -> None:
    request = SimpleNamespace(compared=compared, images=("image",) * images)
    run = SimpleNamespace(request=request, failures={"HEAL": "no memory"})
    assert words.failures(run) == line


def test_the_plausible_volumes_that_a_model_knows_are_told_with_three_digits() -> None:
    labels = [{"name": "Brain", "size_ml": [979.06, 1643.229]}, {"name": "Lesion", "size_ml": None}]
    assert words.plausible_volumes({"labels": labels}) == "Brain=979-1640"
    assert words.plausible_volumes({"labels": labels[1:]}) == "not known; such as Lesion=900-2500"
