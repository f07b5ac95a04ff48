"""A published MONAI bundle becomes one of ours that says what MONAI's pipeline says, or is refused.

The bundles are those of ``monai_models.py``.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Invertd
from monai_models import CONFIGURATIONS, SPLEEN, UNTURNED, network, write_published
from refusals import refusal
from scipy.ndimage import distance_transform_edt

from SFDALib.__main__ import main
from SFDALib.bundle.open_model import open_model
from SFDALib.bundle.source import Source
from SFDALib.bundle.terminology import in_words
from SFDALib.inference.predict import predict
from SFDALib.methods.shared_options import InferenceOptions
from SFDALib.networks import catalogue
from SFDALib.networks.build import build_network, early_stages, encoder
from SFDALib.volume.conform import conform
from SFDALib.volume.image_file import read_volume
from SFDALib.volume.input_spec import Region
from SFDALib.volume.normalisation import Normalisation

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


def read(folder: Path) -> Source:
    return open_model(folder).load(CPU)


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_an_imported_bundle_says_what_monais_own_pipeline_says(tmp_path: Path, name: str) -> None:
    """Without resampling and in one window, where both do the same: to rounding."""
    config = CONFIGURATIONS[name]
    turned = config["preprocessing"]["transforms"][2]["_target_"] == "Orientationd"
    if turned:
        pytest.importorskip("nibabel", reason="MONAI's Orientationd needs nibabel")
    bundle = write_published(tmp_path / "published", name)
    assert main(["import-model", str(bundle), "--output", str(tmp_path / "bundle")]) == 0
    model = open_model(tmp_path / "bundle").load(CPU)
    files = image(tmp_path, config["network_def"]["in_channels"])
    conformed = conform(read_volume(files), model.description.input_spec)
    ours = predict(model, conformed.array, InferenceOptions())

    data, logits, _ = pipeline(bundle, files)
    if name == "short axis":  # ours has the slices first
        data, logits = (part.movedim(-1, 1) for part in (data, logits))
    np.testing.assert_allclose(data.numpy(), conformed.array, atol=1e-5)
    if name == "brats":
        masks = torch.sigmoid(logits) > 0.5
        expected = torch.zeros(masks.shape[1:], dtype=torch.uint8)
        for channel, label in ((1, 1), (0, 2), (2, 3)):
            expected[masks[channel]] = label
    else:
        expected = logits.argmax(0)
        torch.testing.assert_close(ours, torch.softmax(logits, 0), rtol=0, atol=1e-4)
    # labels on the input's grid against MONAI's on its own: mirror images where it turned the image
    expected = expected.numpy().transpose((0, 2, 1) if name == "short axis" else (2, 1, 0))
    if turned:
        expected = expected[:, ::-1, ::-1]
    assert len(np.unique(expected)) > 1
    agreement = (conformed.restore_labels(ours) == expected).mean()
    assert agreement > 0.999


def pipeline(bundle: Path, files: list[Path]) -> tuple[Any, torch.Tensor, Any]:
    """What MONAI itself makes of a bundle and an image: the network's input, its logits, and the
    transforms that led to them.
    """
    parser = ConfigParser()
    parser.read_config(bundle / "configs/inference.json")
    parser["device"] = "cpu"
    transforms = parser.get_parsed_content("preprocessing")
    data = transforms({"image": [str(file) for file in files]})
    net = network(json.loads((bundle / "configs/inference.json").read_text()))
    net.load_state_dict(torch.load(bundle / "models/model.pt", weights_only=True))
    with torch.no_grad():
        inferer = parser.get_parsed_content("inferer")
        logits = inferer(data["image"].as_tensor()[None], net.eval())[0]
    return data["image"], logits, transforms


def test_a_spacing_is_reached_and_undone(tmp_path: Path) -> None:
    imported = read(write_published(tmp_path / "published", "spleen"))
    grid = imported.description.input_spec
    conformed = conform(read_volume(image(tmp_path, 1, (1.0, 1.0, 1.5))), grid)
    assert conformed.array.shape == (1, 12, 16, 10)  # R, A, S; MONAI's axes are I, J, K
    assert conformed.restore(torch.ones(1, 12, 16, 10)).shape == (1, 20, 32, 24)


def test_preprocessing_becomes_the_fields_of_the_grid(tmp_path: Path) -> None:
    spleen = read(write_published(tmp_path / "spleen", "spleen")).description
    std = (164 - -57) / 2
    assert spleen.input_spec.normalisation == Normalisation("fixed", -57.0, 164.0, -57 + std, std)
    assert spleen.patch_size == (32, 32, 32) and [b.name for b in spleen.labels] == ["spleen"]
    brats = read(write_published(tmp_path / "brats", "brats")).description
    assert brats.input_spec.normalisation == Normalisation("zscore", within="nonzero")
    assert brats.input_spec.orientation is None and brats.input_spec.axes == (2, 1, 0)
    assert brats.input_spec.regions == (Region(1, 1), Region(0, 2), Region(2, 3))
    assert [label.name for label in brats.labels] == [
        *("whole tumor outside tumor core", "tumor core outside enhancing tumor"),
        "enhancing tumor",
    ]
    assert [in_words(label.terminology) for label in (*spleen.labels, *brats.labels)] == [
        *("Spleen", "Edema", "Neoplasm", "Neoplasm")
    ]
    body = read(write_published(tmp_path / "body", "whole body")).description
    assert [step.kind for step in body.input_spec.normalisation] == ["zscore", "minmax", "fixed"]
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
        ({**SPLEEN, "inferer": {"roi_size": [32, 32]}}, "3 whole numbers"),
        (_with_transform({"_target_": "ScaleIntensityRanged", "a_min": 0}), "cannot be read"),
        (
            _with_transform({"_target_": "ScaleIntensityd", "minv": 1.0, "maxv": 1.0}),
            "cannot be read",
        ),
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
    assert "give import-model --region-order" in refusal(lambda: read(published))
    words = [str(published), "--output", str(tmp_path / "b"), "--region-order", "kidney,tumor,cyst"]
    assert main(["import-model", *words]) == 0
    grid = open_model(tmp_path / "b").describe().input_spec
    assert grid.regions == (Region(0, 1), Region(2, 2), Region(1, 3))


MONAI_NETWORKS = {
    "SegResNet": {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]},
    "SegResNetDS": {"init_filters": 8, "blocks_down": [1, 1]},
    "SegResNetDS, anisotropic": {
        **{"init_filters": 8, "blocks_down": [1, 1, 1], "norm": "instance"},
        "resolution": [1.0, 1.0, 5.0],
    },
    "UNet": {"channels": [4, 8], "strides": [2], "norm": ["BATCH", {"eps": 1e-4}]},
    "BasicUNet": {"features": [4, 4, 8, 8, 8, 4]},
    "VNet": {},
    "SwinUNETR": {"spatial_dims": 2, "feature_size": 12, "depths": [1, 1, 1, 1]},
}


@pytest.mark.parametrize("name", MONAI_NETWORKS)
def test_each_network_of_the_list_is_as_its_traits_say(name: str) -> None:
    """Sides that are multiples of its divisor, early stages, normalisation, an encoder."""
    definition = {
        "_target_": f"monai.networks.nets.{name.split(',')[0]}",
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 2,
        **MONAI_NETWORKS[name],
    }
    built = build_network(catalogue.check_definition(definition, catalogue.SEGMENTATION, "here"))
    size = tuple(2 * n for n in catalogue.divisor(definition))
    x = torch.rand(1, 1, *size)
    with torch.no_grad():
        assert built.eval()(x).shape == (1, 2, *size)
        for level in range(len(catalogue.SEGMENTATION[definition["_target_"]].early_stages)):
            features = x
            for stage in early_stages(built, definition, level):
                features = stage(features)
            assert all(n // 2**level <= m for n, m in zip(size, features.shape[2:], strict=True))
            assert features.shape[2] == size[0] // 2**level
    by_batch = any(type(module).__name__.startswith("BatchNorm") for module in built.modules())
    assert catalogue.has_batch_norm(definition) == by_batch
    parts = encoder(built, definition)
    inside = sum(p.numel() for part in parts for p in part.parameters())
    assert inside < sum(p.numel() for p in built.parameters())


def test_a_network_with_levels_without_end_is_refused() -> None:
    definition = {"_target_": "monai.networks.nets.SegResNet", "spatial_dims": 3}
    line = refusal(lambda: catalogue.divisor({**definition, "blocks_down": [1] * 20_000}))
    assert "together shrink an image" in line


DEEP_SUPERVISION = {
    "SegResNetDS": {"init_filters": 8, "blocks_down": [1, 1, 1], "dsdepth": 2},
    "DynUNet": {
        **{"spatial_dims": 3, "kernel_size": [3, 3, 3, 3], "strides": [1, 2, 2, 2]},
        **{"upsample_kernel_size": [2, 2, 2], "filters": [4, 4, 8, 8]},
        **{"deep_supervision": True, "deep_supr_num": 2},
    },
}


@pytest.mark.parametrize("name", DEEP_SUPERVISION)
def test_outputs_that_helped_the_training_alone_are_left_behind(tmp_path: Path, name: str) -> None:
    definition = {"_target_": name, "in_channels": 1, "out_channels": 3, **DEEP_SUPERVISION[name]}
    config = {**CONFIGURATIONS["deep"], "network_def": definition}
    theirs = network(config)
    bundle = write_published(tmp_path / "published", "deep", config, theirs)
    ours = read(bundle).network
    x = torch.rand(1, 1, 16, 16, 16)
    with torch.no_grad():
        assert torch.equal(ours.eval()(x), theirs.eval()(x))
        assert ours.train()(x).shape == (1, 3, 16, 16, 16)
        assert not isinstance(theirs.train()(x), torch.Tensor) or theirs(x).ndim > 5


def test_a_2d_network_sees_slices_across_the_axis_that_the_inferer_names(tmp_path: Path) -> None:
    """MONAI's SliceInferer goes along its first axis by default; ours has slices first."""
    short = copy.deepcopy(CONFIGURATIONS["short axis"])
    grid = read(write_published(tmp_path / "last", "short axis", short)).description.input_spec
    assert grid.is_2d and grid.axes == (0, 2, 1) and grid.spacing == (None, None, None)
    del short["inferer"]["spatial_dim"]
    turn = {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"}
    space = {"_target_": "Spacingd", "keys": "image", "pixdim": [-1, 1.5, 2.0]}
    short["preprocessing"]["transforms"][2:2] = [turn, space]
    grid = read(write_published(tmp_path / "first", "short axis", short)).description.input_spec
    assert grid.axes == (0, 1, 2) and grid.orientation == "SAR"
    assert grid.spacing == (2.0, 1.5, None)
    short["inferer"]["spatial_dim"] = 3
    published = write_published(tmp_path / "none", "short axis", short)
    assert "spatial_dim 3" in refusal(lambda: read(published))


def test_where_a_bundle_resamples_the_results_are_monais_but_for_the_border(
    tmp_path: Path,
) -> None:
    """A SegResNet trained for some steps, on a body at other spacings than its own: MONAI's
    transforms, windows and way back against ours, on the image's own grid.
    """
    definition = {"_target_": "SegResNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 2}
    definition |= {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]}
    config = {**UNTURNED, "network_def": definition}
    net = network(config)
    _train(net)
    bundle = write_published(tmp_path / "spleen", "spleen", config, net)
    model, file = open_model(bundle).load(CPU), tmp_path / "body.nrrd"
    truth = _body((30, 40, 44), (2.2, 1.4, 1.3))
    picture = sitk.GetImageFromArray(_intensities(truth))
    picture.SetSpacing((1.3, 1.4, 2.2))
    sitk.WriteImage(picture, str(file))
    conformed = conform(read_volume([file]), model.description.input_spec)
    p = predict(model, conformed.array, InferenceOptions())
    ours = conformed.restore_labels(p) > 0

    image, logits, transforms = pipeline(bundle, [file])
    data = {"image": image, "pred": MetaTensor(torch.softmax(logits, 0), meta=image.meta)}
    invert = Invertd("pred", transforms, "image", nearest_interp=False)
    theirs = invert(data)["pred"].argmax(0).numpy().transpose(2, 1, 0) > 0
    for labels in (ours, theirs):
        assert _dice(labels, truth) > 0.9
    print(
        "DICE",
        _dice(ours, theirs),
        _dice(ours, truth),
        _dice(theirs, truth),
        (ours != theirs).mean(),
    )
    assert _dice(ours, theirs) > 0.98
    # where they differ is at the border, less than a voxel of the coarser grid deep
    depth = np.maximum(distance(theirs), distance(~theirs))
    assert depth[ours != theirs].max() < 3.0


def distance(labels: np.ndarray) -> np.ndarray:
    return distance_transform_edt(labels, sampling=(2.2, 1.4, 1.3))


def _body(size: tuple[int, ...], spacing: tuple[float, ...]) -> np.ndarray:
    """An ellipsoid in the middle, half as large as the image."""
    place = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(size, spacing, strict=True)]
    axes = [n * mm / 4 for n, mm in zip(size, spacing, strict=True)]
    return sum((x / a) ** 2 for x, a in zip(np.ix_(*place), axes, strict=True)) < 1


def _intensities(labels: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 15, labels.shape)
    return (np.where(labels, 110.0, 20.0) + noise).astype(np.float32)


def _train(net: torch.nn.Module) -> None:
    labels = _body((24, 24, 24), (1.0, 1.0, 1.0))
    scaled = np.clip((_intensities(labels) + 57) / 221 * 2 - 1, -1, 1)
    x, y = torch.from_numpy(scaled)[None, None], torch.from_numpy(labels).long()[None]
    optimiser = torch.optim.Adam(net.parameters(), 2e-2)
    for _ in range(15):
        loss = torch.nn.functional.cross_entropy(net(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def _dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * (first & second).sum() / (first.sum() + second.sum())
