"""A published MONAI bundle becomes one of ours that says what MONAI's pipeline says, or is refused.

The bundles are those of ``monai_models.py``.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.bundle import ConfigParser
from monai.inferers import SlidingWindowInferer
from monai_models import CONFIGURATIONS, SPLEEN, network, write_published

from SFDALib.__main__ import main
from SFDALib.bundle import source
from SFDALib.bundle.files import BundleFiles
from SFDALib.bundle.importers.imported import Imported
from SFDALib.bundle.importers.monai_bundle import MonaiModel
from SFDALib.errors import RequestError
from SFDALib.inference import predict
from SFDALib.networks import catalogue
from SFDALib.volume.files import read_volume
from SFDALib.volume.grid import conform
from SFDALib.volume.specification import Normalisation, Region

CPU = torch.device("cpu")


def image(folder: Path, channels: int, spacing: tuple[float, ...] = (2.0, 2.0, 3.0)) -> list[Path]:
    """Images in LPS order, of which MONAI's RAS is a mirror image; some voxels are 0."""
    rng = np.random.default_rng(0)
    paths = []
    for channel in range(channels):
        array = rng.normal(40, 60, size=(20, 32, 24)).astype(np.float32)
        array[:, :4] = 0
        picture = sitk.GetImageFromArray(array)
        picture.SetSpacing(spacing)
        paths.append(folder / f"image{channel}.nrrd")
        sitk.WriteImage(picture, str(paths[-1]))
    return paths


def read(folder: Path) -> Imported:
    return MonaiModel(BundleFiles(folder)).read()


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(RequestError) as caught:
        action()
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    return line


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_an_imported_bundle_says_what_monais_own_pipeline_says(tmp_path: Path, name: str) -> None:
    """Without resampling and in one window, where both do the same: to rounding."""
    if name != "brats":
        pytest.importorskip("nibabel", reason="MONAI's Orientationd needs nibabel")
    config = CONFIGURATIONS[name]
    bundle = write_published(tmp_path / "published", name)
    assert main(["import-model", str(bundle), "--output", str(tmp_path / "bundle")]) == 0
    model = source.load(tmp_path / "bundle", CPU)
    files = image(tmp_path, config["network_def"]["in_channels"])
    conformed = conform(read_volume(files), model.description.grid)
    ours = predict(model, conformed.array, {"overlap": 0.5, "mirror": False})

    transforms = [dict(one) for one in config["preprocessing"]["transforms"]]
    parsed = ConfigParser({**config, "device": "cpu", "preprocessing": {
        **config["preprocessing"], "transforms": transforms}})  # fmt: skip
    data = parsed.get_parsed_content("preprocessing")({"image": [str(file) for file in files]})
    np.testing.assert_allclose(data["image"].numpy(), conformed.array, atol=1e-5)
    net = network(config)
    net.load_state_dict(torch.load(bundle / "models/model.pt", weights_only=True))
    inferer = SlidingWindowInferer((32, 32, 32))
    with torch.no_grad():
        logits = inferer(data["image"].as_tensor()[None], net.eval())[0]
    if name == "brats":
        masks = torch.sigmoid(logits) > 0.5
        expected = torch.zeros(masks.shape[1:], dtype=torch.uint8)
        for channel, label in ((1, 1), (0, 2), (2, 3)):
            expected[masks[channel]] = label
    else:
        expected = logits.argmax(0)
        torch.testing.assert_close(ours, torch.softmax(logits, 0), rtol=0, atol=1e-4)
    # labels on the input's grid against MONAI's on its own: mirror images where it turned the image
    expected = expected.numpy().transpose(2, 1, 0)
    if name != "brats":
        expected = expected[:, ::-1, ::-1]
    agreement = (conformed.restore_labels(ours) == expected).mean()
    assert agreement > 0.999


def test_a_spacing_is_reached_and_undone(tmp_path: Path) -> None:
    imported = read(write_published(tmp_path / "published", "spleen"))
    grid = imported.description.grid
    conformed = conform(read_volume(image(tmp_path, 1, (1.0, 1.0, 1.5))), grid)
    assert conformed.array.shape == (1, 12, 16, 10)  # R, A, S; MONAI's axes are I, J, K
    assert conformed.restore(torch.ones(1, 12, 16, 10)).shape == (1, 20, 32, 24)


def test_preprocessing_becomes_the_fields_of_the_grid(tmp_path: Path) -> None:
    spleen = read(write_published(tmp_path / "spleen", "spleen")).description
    std = (164 - -57) / 2
    assert spleen.grid.normalisation == Normalisation("fixed", -57.0, 164.0, -57 + std, std)
    assert spleen.patch_size == (32, 32, 32) and [b.name for b in spleen.labels] == ["spleen"]
    brats = read(write_published(tmp_path / "brats", "brats")).description
    assert brats.grid.normalisation == Normalisation("zscore", within="nonzero")
    assert brats.grid.orientation is None and brats.grid.axes == (2, 1, 0)
    assert brats.grid.regions == (Region(1, 1), Region(0, 2), Region(2, 3))
    assert [label.name for label in brats.labels] == [
        *("whole tumor outside tumor core", "tumor core outside enhancing tumor"),
        "enhancing tumor",
    ]
    body = read(write_published(tmp_path / "body", "whole body")).description
    assert [step.kind for step in body.grid.normalisation] == ["zscore", "minmax", "fixed"]
    assert len(body.labels) == 104


def test_licence_and_readme_come_along(tmp_path: Path) -> None:
    published = write_published(tmp_path / "published", "spleen")
    assert main(["import-model", str(published), "--output", str(tmp_path / "bundle")]) == 0
    assert (tmp_path / "bundle/LICENSE").read_text() == "Apache-2.0\n"
    assert (tmp_path / "bundle/docs/README.md").read_text() == "# About\n"


def _with_transform(transform: dict[str, Any]) -> dict[str, Any]:
    config = copy.deepcopy(SPLEEN)
    config["preprocessing"]["transforms"].append(transform)
    return config


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            _with_transform({"_target_": "HistogramNormalized", "keys": "image"}),
            "the transform Hist",
        ),
        (_with_transform({"_target_": "Lambdad", "func": "$lambda x: x"}), "the expression"),
        (_with_transform({"_target_": "Orientationd", "axcodes": "LAS"}), "comes after others"),
        (_with_transform({"_target_": "CropForegroundd"}), "CropForegroundd in the preprocessing"),
        (
            _with_transform({"_target_": "ScaleIntensityd", "factor": 0.5}),
            "its factor has no counterpart",
        ),
        ({**SPLEEN, "network_def": {"_target_": "os.system"}}, "not on the list of networks"),
        (
            {**SPLEEN, "network_def": SPLEEN["network_def"] | {"strides": "$[2] * 2"}},
            'the expression "$[2] * 2"',
        ),
        ({**SPLEEN, "pixdim": "$[1, 2, 3]"}, 'the expression "$[1, 2, 3]"'),
        ({**SPLEEN, "pixdim": "@nothing"}, '"@nothing"'),
        ({**SPLEEN, "pixdim": "@pixdim"}, "references in a circle"),
        ({k: v for k, v in SPLEEN.items() if k != "postprocessing"}, "found no Activationsd"),
        ({k: v for k, v in SPLEEN.items() if k != "preprocessing"}, "found no preprocessing"),
        ({k: v for k, v in SPLEEN.items() if k != "inferer"}, "found the window None"),
    ],
)
def test_what_is_not_known_is_named_and_refused(
    tmp_path: Path, config: dict[str, Any], words: str
) -> None:
    published = write_published(tmp_path / "published", "spleen", config)
    assert words in refusal(lambda: read(published))


def test_regions_of_unknown_names_need_an_order(tmp_path: Path) -> None:
    published = write_published(tmp_path / "published", "brats")
    metadata = json.loads((published / "configs/metadata.json").read_text())
    outputs = metadata["network_data_format"]["outputs"]["pred"]
    outputs["channel_def"] = {"0": "Kidney", "1": "Cyst", "2": "Tumor"}
    (published / "configs/metadata.json").write_text(json.dumps(metadata))
    assert "give --region-order" in refusal(lambda: read(published))
    words = [str(published), "--output", str(tmp_path / "b"), "--region-order", "kidney,tumor,cyst"]
    assert main(["import-model", *words]) == 0
    grid = BundleFiles(tmp_path / "b").describe().grid
    assert grid.regions == (Region(0, 1), Region(2, 2), Region(1, 3))


MONAI_NETWORKS = {
    "SegResNet": {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]},
    "UNet": {"channels": [4, 8], "strides": [2]},
    "BasicUNet": {"features": [4, 4, 8, 8, 8, 4]},
    "VNet": {},
}


@pytest.mark.parametrize("name", MONAI_NETWORKS)
def test_each_network_of_the_list_takes_sides_that_are_multiples_of_its_divisor(name: str) -> None:
    definition = {
        "_target_": f"monai.networks.nets.{name}",
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 2,
        **MONAI_NETWORKS[name],
    }
    built = catalogue.build(catalogue.check_definition(definition, catalogue.SEGMENTATION, "here"))
    size = tuple(2 * n for n in catalogue.divisor(definition))
    x = torch.rand(1, 1, *size)
    with torch.no_grad():
        assert built.eval()(x).shape == (1, 2, *size)
        if catalogue.SEGMENTATION[definition["_target_"]].early_stages:
            for level in (0, 1):
                features = x
                for stage in catalogue.early_stages(built, definition, level):
                    features = stage(features)
                assert features.shape[2:] == tuple(n // 2**level for n in size)
