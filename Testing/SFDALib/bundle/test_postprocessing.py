"""What post-processing a bundle and a user may ask for, and for which models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from bundles import describe

from SFDALib.bundle import metadata as metadata_json
from SFDALib.bundle import postprocessing
from SFDALib.bundle.open_model import open_model
from SFDALib.errors import RequestError
from SFDALib.volume.cleaning import Cleaning, Plausible
from SFDALib.volume.input_spec import Region

EXAMPLE = Path(__file__).parents[3] / "SFDASegmenter/Resources/Samples/brain-t1w"
MONAIS = Cleaning("FillHoles", {}, "model")


def transforms(asked: str, description: object) -> list[str]:
    return [step.transform for step in postprocessing.cleaning(asked, description)]


def test_a_bundles_own_steps_and_monais_are_the_default_and_a_users_replace_both() -> None:
    plain = describe()
    assert transforms("bundle", plain) == []
    spec = replace(plain.input_spec, cleaning=(MONAIS,))
    asking = replace(plain, input_spec=spec, postprocessing=("plausible", "largest"))
    largest = "KeepLargestConnectedComponent"
    assert transforms("bundle", asking) == ["FillHoles", "KeepPlausibleComponents", largest]
    assert transforms("off", asking) == []
    assert transforms("largest, smooth", asking) == ["SmoothSlices", largest]


def test_plausible_takes_what_the_bundle_knows_of_each_structure() -> None:
    two = describe(classes=3)
    brain = replace(two.labels[0], piece_ml=5.0, radius_mm=90.0)
    (step,) = postprocessing.cleaning("plausible", replace(two, labels=(brain, two.labels[1])))
    assert step.arguments["structures"] == (
        Plausible(1, (10.0, 200.0), 5.0, 90.0),
        Plausible(2, (10.0, 200.0), 0.0, None),
    )


def test_the_largest_component_is_kept_of_every_label_or_region_but_not_of_the_background() -> None:
    two = describe(classes=3)
    (step,) = postprocessing.cleaning("largest", two)
    assert step.arguments["applied_labels"] == [1, 2] and not step.arguments["is_onehot"]
    regions = replace(two.input_spec, regions=(Region(2, 1), Region(1, 2)))
    (step,) = postprocessing.cleaning("largest", replace(two, input_spec=regions))
    assert step.arguments["applied_labels"] == [2, 1] and step.arguments["is_onehot"]


def test_a_step_that_the_model_cannot_have_is_refused() -> None:
    with pytest.raises(RequestError, match="postprocess, smooth: found a 3D model, expected a 2D"):
        postprocessing.cleaning("smooth", describe(3))
    unknown = replace(describe(), labels=(replace(describe().labels[0], size_ml=None),))
    with pytest.raises(RequestError, match="plausible: found no plausible volume"):
        postprocessing.cleaning("plausible", unknown)
    spec = replace(describe(classes=3).input_spec, regions=(Region(0, 1), Region(1, 2)))
    with pytest.raises(RequestError, match="plausible: found a model of overlapping regions"):
        postprocessing.cleaning("plausible", replace(describe(classes=3), input_spec=spec))


def test_the_steps_and_the_statistics_survive_the_metadata() -> None:
    label = replace(describe().labels[0], piece_ml=0.5, radius_mm=70.0)
    asking = replace(describe(), labels=(label,), postprocessing=("smooth", "plausible"))
    metadata, inference = json.loads(json.dumps(metadata_json.to_json(asking)))
    assert metadata_json.from_json(metadata, inference) == asking
    metadata["sfda"]["postprocessing"] = ["shrink"]
    with pytest.raises(RequestError, match='"postprocessing": found "shrink", expected some of'):
        metadata_json.from_json(metadata, inference)


def test_the_example_asks_for_nothing_but_knows_what_its_training_labels_show() -> None:
    """Three brain masks of one piece each, 1305 to 1312 ml; the farthest voxel at 89.9 mm."""
    description = open_model(EXAMPLE).describe()
    assert description.postprocessing == ()
    (label,) = description.labels
    assert label.piece_ml == pytest.approx(0.75 * 1305.2, rel=1e-3)
    assert label.radius_mm == pytest.approx(1.25 * 89.9, rel=1e-3)
