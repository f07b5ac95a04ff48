"""nnU-Net's plans and data set description as the fields of a description."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nnunet_models import (
    SETTINGS,
    Setting,
    dataset,
    plans,
)
from refusals import refusal

from SFDALib.bundle.importers.nnunet_plans import Plans, read_labels, read_plans
from SFDALib.volume.conform import conform
from SFDALib.volume.geometry import Geometry, Volume
from SFDALib.volume.input_spec import Region, Resampling
from SFDALib.volume.normalisation import Normalisation

PLAIN, MASKED = SETTINGS["3d plain"], SETTINGS["3d residual, masked"]
FLAT, TUMOUR = SETTINGS["2d plain, thick slices"], SETTINGS["3d residual, regions, 4 channels"]


def read(setting: Setting, described: dict[str, Any] | None = None) -> Plans:
    described = described or plans(setting)
    return read_plans(described, dataset(setting), setting.configuration, "model")


def test_the_grid_is_that_of_the_plans() -> None:
    grid = read(SETTINGS["3d CT, thick slices, transposed"]).input_spec
    assert grid.spacing == (1.4, 4.5, 1.4)[::-1]
    assert grid.axes == (1, 0, 2) and grid.orientation is None and grid.crop == "nonzero"
    assert grid.normalisation == Normalisation("fixed", 20.0, 330.0, 180.0, 90.0)
    assert grid.resampling == Resampling(3, False, True, True, "logits")


def test_a_2d_configuration_keeps_the_distance_of_the_slices() -> None:
    grid = read(FLAT).input_spec
    assert grid.is_2d and grid.spacing == (1.5, 1.5, None)


def test_each_channel_is_normalised_by_its_own_scheme() -> None:
    described = plans(TUMOUR)
    parent = described["configurations"]["parent"]
    parent["normalization_schemes"] = [
        *("ZScoreNormalization", "RescaleTo01Normalization"),
        *("RGBTo01Normalization", "NoNormalization"),
    ]
    assert read(TUMOUR, described).input_spec.normalisation == (
        Normalisation("zscore", within="body", channels=(0,)),
        Normalisation("minmax", channels=(1,)),
        Normalisation("fixed", 0.0, 255.0, 0.0, 255.0, channels=(2,)),
        Normalisation("none", channels=(3,)),
    )


@pytest.mark.parametrize("setting", [PLAIN, MASKED, FLAT])
def test_plans_of_earlier_versions_give_the_same_network(setting: Setting) -> None:
    assert read(setting, plans(setting, old=True)).network == {
        **read(setting).network,
        "dropout_arguments": None,
    }


def test_regions_are_painted_in_the_order_of_the_data_set() -> None:
    names, regions = read_labels(dataset(SETTINGS["2d residual, regions"]), "model")
    assert regions == (Region(0, 1), Region(1, 3), Region(2, 2))
    assert names == (
        "whole tumor outside tumor core",
        "enhancing tumor",
        "tumor core outside enhancing tumor",
    )


def test_labels_are_named_by_their_value_and_ignored_ones_left_out() -> None:
    labels = {"lesion": 2, "brain": 1, "background": 0, "ignore": 3}
    assert read_labels({"labels": labels}, "model") == (("brain", "lesion"), ())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"previous_stage": "3d_lowres"}, "configuration"),
        ({"preprocessor_name": "Mine"}, 'preprocessor_name "Mine"'),
        ({"normalization_schemes": ["Mine"]}, 'normalization_schemes "Mine"'),
        ({"resampling_fn_data": "resample_torch_simple"}, 'resampling_fn_data "resample_torch'),
        ({"inherits_from": "parent"}, "configuration"),
        ({"architecture.network_class_name": "os.system"}, 'network_class_name "os.system"'),
        ({"architecture.arch_kwargs.nonlin": "os.system"}, 'nonlin "os.system"'),
        ({"architecture.arch_kwargs.norm_op": "torch.nn.GroupNorm"}, 'norm_op "torch.nn.GroupNorm'),
        ({"architecture.arch_kwargs.squeeze_excitation": True}, 'arch_kwargs "squeeze_excitation"'),
        ({"resampling_fn_probabilities_kwargs.order": 3}, "resampling order of probabilities"),
        ({"patch_size": None}, "plans that cannot be read"),
    ],
)
def test_what_is_not_taken_over_is_named(change: dict[str, Any], words: str) -> None:
    described = plans(PLAIN)
    for path, value in change.items():
        *folders, last = path.split(".")
        place = described["configurations"]["parent"]
        for folder in folders:
            place = place[folder]
        place[last] = value
    assert words in refusal(lambda: read(PLAIN, described))


def test_labels_with_gaps_are_refused() -> None:
    labels = {"background": 0, "a": 1, "b": 3}
    assert 'labels "[1, 3]"' in refusal(lambda: read_labels({"labels": labels}, "model"))


def test_an_image_reader_that_turns_images_gives_an_orientation() -> None:
    described = plans(PLAIN) | {"image_reader_writer": "NibabelIOWithReorient"}
    assert read(PLAIN, described).input_spec.orientation == "RAS"
    described["image_reader_writer"] = "Tiff3DIO"
    assert 'image_reader_writer "Tiff3DIO"' in refusal(lambda: read(PLAIN, described))


def test_pictures_keep_their_pixels_whatever_resolution_their_file_states() -> None:
    """In nnU-Net a picture's pixels have the size 1; a file's DPI are no millimetres."""
    described = plans(FLAT)
    described["image_reader_writer"] = "NaturalImage2DIO"
    described["configurations"]["parent"]["spacing"] = [1.0, 1.0]
    grid = read(FLAT, described).input_spec
    assert grid.spacing == (None, None, None)
    picture = Volume(np.ones((1, 1, 40, 50), np.float32), Geometry((50, 40, 1), (0.085, 0.085, 1)))
    assert conform(picture, grid).array.shape == (1, 1, 40, 50)
    described["configurations"]["parent"]["spacing"] = [0.5, 1.0]
    assert "spacing of pictures" in refusal(lambda: read(FLAT, described))


def test_the_foreground_of_the_plans_is_the_models_fingerprint() -> None:
    (found,) = read(PLAIN).fingerprint
    assert (found.low, found.high, found.mean, found.std) == (20.0, 330.0, 180.0, 90.0)
