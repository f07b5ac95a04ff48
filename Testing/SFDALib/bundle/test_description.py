"""A description survives its JSON, has MONAI's fields, and every wrong field is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bundles import describe, write_bundle
from checked_bundles import (
    DESCRIPTIONS,
    INFERENCE,
    METADATA,
    change,
    describe_dynunet,
    load,
    refusal,
    set_field,
)
from small_models import DYNUNET

from SFDALib.bundle import metadata as metadata_json
from SFDALib.bundle import source
from SFDALib.bundle.labels import PlausibleShape, read_labels
from SFDALib.bundle.open_model import open_model
from SFDALib.bundle.parts import AtHome, read_at_home
from SFDALib.errors import RequestError
from SFDALib.json_fields import Fields
from SFDALib.methods import registry


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_a_description_survives_its_json(name: str) -> None:
    metadata, inference = json.loads(json.dumps(metadata_json.to_json(DESCRIPTIONS[name])))
    again = metadata_json.from_json(metadata, inference)
    assert again == DESCRIPTIONS[name]
    assert json.loads(json.dumps(metadata_json.to_json(again))) == [metadata, inference]


# The mandatory keys of docs/source/mb_specification.rst.
MONAI_KEYS = {
    "version",
    "monai_version",
    "pytorch_version",
    "numpy_version",
    "required_packages_version",
    "task",
    "description",
    "authors",
    "copyright",
    "network_data_format",
}
MONAI_TENSOR_KEYS = {
    "type",
    "format",
    "modality",
    "num_channels",
    "spatial_shape",
    "dtype",
    "value_range",
    "is_patch_data",
    "channel_def",
}


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_the_metadata_have_all_that_monai_asks_for(tmp_path: Path, name: str) -> None:
    description = DESCRIPTIONS[name]
    source.write(tmp_path / "bundle", description, {})
    metadata = json.loads((tmp_path / "bundle" / METADATA).read_text())
    assert set(metadata) >= MONAI_KEYS
    assert metadata["monai_version"].count(".") == 2
    assert set(metadata["network_data_format"]) == {"inputs", "outputs"}
    tensors = [
        metadata["network_data_format"]["inputs"]["image"],
        metadata["network_data_format"]["outputs"]["pred"],
    ]
    for tensor, channels in zip(
        tensors, (description.input_spec.channels, description.network["out_channels"]), strict=True
    ):
        assert set(tensor) >= MONAI_TENSOR_KEYS
        assert tensor["num_channels"] == channels
        assert list(tensor["channel_def"]) == [str(index) for index in range(channels)]
        assert tensor["spatial_shape"] == list(description.patch_size)
    # "labels": one channel for each class; "segmentation": one channel.
    one = description.network["out_channels"] == 1
    assert tensors[1]["format"] == ("segmentation" if one else "labels")


INF, NAN = float("inf"), float("nan")
BAD_FIELDS: dict[tuple[str | int, ...], list[object]] = {
    ("name",): [..., None, 7, ["a"], "two\nlines"],
    ("sfda",): [None, [], "x"],  # without it, it is a bundle of MONAI's
    ("copyright",): [None, 7, "two\nlines"],
    ("network_data_format",): [..., None],
    ("network_data_format", "inputs", "image", "num_channels"): [..., 0, -1, True, "1", 1.0, 2],
    ("sfda", "modality"): [..., None, 3],
    ("sfda", "labels"): [..., None, [], {}, [None], [7]],
    ("sfda", "labels", 0, "value"): [..., 0, 2, -1, True, "1", 1.0, None],
    ("sfda", "labels", 0, "name"): [..., 1, None, "two\nlines", "two\u2028lines"],
    ("sfda", "labels", 0, "color"): [..., [1, 2], [1, 2, 256], [1, 2, -1], [1, True, 2],
                                     [1, 2, 0.5]],
    ("sfda", "labels", 0, "terminology"): [7, "two\nlines", "Brain", "~~~~~~", "a~^^~^^~^^~b~^^~^^",
                                           "a~S^1^A~S^2^B~^^~b~^^~^^|more:1"],
    ("sfda", "labels", 0, "size_ml"): [[1], [0, 5], [5, 1], [True, 5], [1, NAN], [1, INF], "1, 5"],
    ("sfda", "labels", 0, "mean_ml"): [0, -1, True, "60", NAN, INF, 10**400],
    ("sfda", "labels", 0, "slice_area_mm2"): [0, -1, False, [], NAN],
    ("sfda", "labels", 0, "shape"): [[], 7, {}, {"length_mm": [1, 2]}],
    ("sfda", "at_home"): [[], {}, {"cases": 1}, {"cases": True, "dice": 0.9, "entropy_bits": 0.1,
                                                 "stability": 0.9}],
    ("sfda", "orientation"): ["LP", "LPSS", "LLS", "lps", "XYZ", "", "LPL", 7, True, ["L"]],
    ("sfda", "spacing"): [..., None, [1, 1], [1, 1, 0], [1, 1, -1], [1, True, 1], [1, 1, NAN],
                          [1, 1, 1e9], [1, 1, "1"], [1, 1, 10**400]],
    ("sfda", "patch_size"): [..., None, [32], [32, 32, 32], [32, 0], [32, -8], [32, 31], [32, 32.5],
                             [32, True], [32, "32"], [32, None], [32, 8 * 10**9]],
    ("sfda", "temperature"): [None, 0, -1, True, "1", NAN, INF, -INF, 10**400],
    ("sfda", "normalisation"): [..., None, [], {}, {"kind": "magic"}, {"kind": ["zscore"]},
                                {"kind": {}}, {"kind": "zscore", "extra": 1}],
    ("sfda", "normalisation", "lower"): [True, "0", None, NAN, 100, -1, 10**400],
    ("sfda", "normalisation", "upper"): [False, 101, 0, INF],
    ("sfda", "normalisation", "std"): [0, -1, True, NAN],
    ("sfda", "early_head"): [[], 7, True, {}],
    ("sfda", "early_head", "level"): [..., 2, -1, True, "0", 0.0],
    ("sfda", "early_head", "channels"): [..., 0, -4, 10**9, True, 4.0],
    ("sfda", "diffusion"): [[], 7, {}],
    ("sfda", "diffusion", "timesteps"): [..., 1, 10**6, True, 50.0],
    ("sfda", "diffusion", "spacing"): [..., [1, 1, 0], [1, 1]],
    ("sfda", "diffusion", "foreground"): [..., 1, None, "yes"],
    ("sfda", "diffusion", "source_only"): [..., 1, None],
    ("sfda", "provenance"): [None, [], "x"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value"),
    [(path, value) for path, values in BAD_FIELDS.items() for value in values],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else f"{value!r:.25}",
)
def test_a_field_of_the_metadata_that_is_not_as_it_must_be_is_named(
    bundle: Path, path: tuple[str | int, ...], value: object
) -> None:
    change(bundle, METADATA, lambda content: set_field(*path)(content, value))
    line = refusal(bundle)
    assert "configs/" in line
    names = [key for key in path if isinstance(key, str)]
    assert any(name in line for name in (names[-1], names[-1].replace("_", " "), names[-1][:-1]))
    assert "expected" in line and len(line) < 500


def test_labels_must_be_counted_without_gaps(bundle: Path) -> None:
    def add(content: dict[str, Any]) -> None:
        content["sfda"]["labels"].append(dict(content["sfda"]["labels"][0], value=3))

    assert "found the values [1, 3], expected 1, 2, 3, ..." in refusal(
        change(bundle, METADATA, add)
    )


def test_as_many_labels_as_the_network_has_outputs_are_expected(bundle: Path) -> None:
    def add(content: dict[str, Any]) -> None:
        content["sfda"]["labels"].append(dict(content["sfda"]["labels"][0], value=2))
        content["sfda"]["diffusion"] = None

    assert "found 2 label(s)" in refusal(change(bundle, METADATA, add))


@pytest.mark.parametrize("strides", [..., None, [], [1, "2", 2], [0, 2], [1, [], 2], 7, [1, -2]])
def test_the_strides_of_a_dynunet_must_be_whole_numbers(tmp_path: Path, strides: object) -> None:
    path = write_bundle(tmp_path / "bundle", describe_dynunet())
    change(path, INFERENCE, lambda content: set_field("network_def", "strides")(content, strides))
    line = refusal(path, load)
    assert f"{INFERENCE}, network_def" in line


@pytest.mark.parametrize(
    ("field", "value"), [("spatial_dims", 3), ("image_channels", 2), ("condition_channels", 1)]
)
def test_a_diffusion_network_with_other_conditions_is_refused(
    bundle: Path, field: str, value: int
) -> None:
    change(bundle, INFERENCE, lambda content: content["diffusion_def"].update({field: value}))
    assert f'{INFERENCE}, diffusion_def, field "{field}": found {value}' in refusal(bundle)


def test_a_bundle_without_batch_normalisation_is_told_so() -> None:
    description = replace(describe(), network=DYNUNET)
    reasons = registry.lacking(description.holds)
    assert {n for n, why in reasons.items() if why and "batch normalisation" in why} == {
        "tent",
        "bn-statistics",
        "intent",
    }
    assert registry.lacking(describe().holds)["tent"] is None


AT_HOME = {"cases": 3, "dice": 0.9, "entropy_bits": 0.1, "stability": 0.95}
SHAPE = {
    "length_mm": [120, 210],
    "width_mm": [90, 160],
    "thickness_mm": [80, 150],
    "fill": [0.7, 1.1],
    "distance_mm": None,
}


@pytest.mark.parametrize(
    ("field", "found"),
    [
        ({"dice": 1.2}, "Dice of 1.2"),
        ({"stability": 95}, "stability of 95"),
        ({"cases": 0}, '"cases": found 0'),
        ({"entropy_bits": 0}, "entropy_bits"),
        ({"entropy_bits": float("nan")}, "entropy_bits"),
    ],
)
def test_what_a_model_does_at_home_is_checked(field: dict[str, float], found: str) -> None:
    with pytest.raises(RequestError, match=found):
        read_at_home(Fields({"at_home": {**AT_HOME, **field}}, "sfda"))


@pytest.mark.parametrize("field", [*SHAPE])
def test_the_ranges_of_a_shape_are_checked(field: str) -> None:
    label = {"value": 1, "name": "Brain", "color": [1, 2, 3]}
    (known,) = read_labels(Fields({"labels": [{**label, "shape": SHAPE}]}, "sfda"))
    assert known.shape == PlausibleShape((120, 210), (90, 160), (80, 150), (0.7, 1.1))
    for wrong in ([2, 1], [0, 1], [1], "1"):
        with pytest.raises(RequestError, match=f'shape, field "{field}"'):
            read_labels(Fields({"labels": [{**label, "shape": {**SHAPE, field: wrong}}]}, "sfda"))


def test_home_and_shape_survive_writing_and_reading(tmp_path: Path) -> None:
    shape = PlausibleShape((1, 2), (0.5, 1), (0.25, 1), (0.7, 1.1), (3, 4))
    first = DESCRIPTIONS[next(iter(DESCRIPTIONS))]
    labels = tuple(replace(label, shape=shape) for label in first.labels)
    described = replace(first, labels=labels, at_home=AtHome(**AT_HOME))
    source.write(tmp_path / "bundle", described, {})
    again = open_model(tmp_path / "bundle").describe()
    assert again.at_home == described.at_home
    assert [label.shape for label in again.labels] == [shape] * len(labels)
