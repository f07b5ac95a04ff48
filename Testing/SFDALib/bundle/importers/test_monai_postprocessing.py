"""What decides a MONAI bundle's labels is honoured as MONAI does it, or refused by name."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import valid_monai
from monai.networks import nets
from monai_models import SPLEEN, UNTURNED, metadata, network, write_published

from SFDALib.bundle.importers.monai_postprocessing import painting_order
from SFDALib.bundle.open_model import open_model
from SFDALib.errors import RequestError
from SFDALib.volume.cleaning import Cleaning
from SFDALib.volume.input_spec import Region
from SFDALib.volume.normalisation import Normalisation

CPU = torch.device("cpu")
SEEDS = (0, 5, 7, 9, 14, 44, 56, 76, 126, 193, 216, 390, 521)  # most of them were wrong once


def refusal(folder: Path) -> str:
    with pytest.raises(RequestError) as caught:
        open_model(folder).load(CPU)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    return line


def described(folder: Path) -> Any:
    return open_model(folder).load(CPU).description


@pytest.mark.parametrize("seed", SEEDS)
def test_every_label_of_a_varied_bundle_is_that_of_monais_pipeline(
    tmp_path: Path, seed: int
) -> None:
    pytest.importorskip("nibabel", reason="MONAI's Orientationd needs nibabel")
    case = valid_monai.make(tmp_path / "bundle", seed)
    assert valid_monai.differing(case) < 0.002


def post(*transforms: dict[str, Any], base: dict[str, Any] = SPLEEN) -> dict[str, Any]:
    config = copy.deepcopy(base)
    config["postprocessing"]["transforms"] = [{"keys": "pred", **one} for one in transforms]
    return config


SOFTMAX, ARGMAX = (
    {"_target_": "Activationsd", "softmax": True},
    {"_target_": "AsDiscreted", "argmax": True},
)
SIGMOID = {"_target_": "Activationsd", "sigmoid": True}
KEEP = {"_target_": "KeepLargestConnectedComponentd", "applied_labels": [1]}


@pytest.mark.parametrize(
    ("transforms", "words"),
    [
        ([SOFTMAX, ARGMAX, {"_target_": "scripts.clean.KeepOne"}], "scripts.clean.KeepOne"),
        ([SOFTMAX, ARGMAX, {"_target_": "scripts.KeepLargestConnectedComponentd"}], "scripts.Keep"),
        ([SOFTMAX, ARGMAX, {"_target_": "Lambdad", "func": "$lambda x: x * 2"}], "Lambdad"),
        ([SOFTMAX, KEEP, ARGMAX], "it comes before the labels"),
        ([SOFTMAX, ARGMAX, {"_target_": "LabelToContourd"}], "LabelToContourd"),
        ([SOFTMAX, ARGMAX, {"_target_": "Invertd", "post_func": "$torch.sign"}], "post_func"),
        ([{**SOFTMAX, "other": "$torch.tanh"}], "the expression"),
        ([{**ARGMAX, "dim": 1}], "another axis"),
        ([{"_target_": "AsDiscreted", "threshold": 0.5}], "of what is no probability"),
        ([SOFTMAX, {**ARGMAX, "to_onehot": 3}], "its to_onehot"),
        ([{**SOFTMAX, "_disabled_": True}], "found no Activationsd"),
        ([{**SOFTMAX, "_disabled_": "$not os.path.exists(@bundle_root)"}], "the expression"),
    ],
)
def test_postprocessing_that_is_not_honoured_is_refused_by_name(
    tmp_path: Path, transforms: list[dict[str, Any]], words: str
) -> None:
    folder = write_published(tmp_path / "b", "spleen", post(*transforms))
    assert words in refusal(folder)


def test_a_label_of_one_output_needs_a_sigmoid(tmp_path: Path) -> None:
    config = post(SOFTMAX, ARGMAX)
    config["network_def"]["out_channels"] = 1
    folder = write_published(tmp_path / "b", "spleen", config, network(config))
    content = metadata("spleen")
    content["network_data_format"]["outputs"]["pred"]["channel_def"] = {"0": "spleen"}
    (folder / "configs/metadata.json").write_text(json.dumps(content))
    assert "the network's one output is the same everywhere" in refusal(folder)


def test_a_sigmoid_followed_by_argmax_has_one_class_an_output(tmp_path: Path) -> None:
    """Not overlapping regions, of which the first would be painted everywhere."""
    folder = write_published(tmp_path / "b", "spleen", post(SIGMOID, ARGMAX))
    grid = described(folder).input_spec
    assert grid.regions == () and grid.threshold is None


def test_a_region_of_the_background_is_not_painted(tmp_path: Path) -> None:
    threshold = {"_target_": "AsDiscreted", "threshold": 0.7}
    found = described(write_published(tmp_path / "b", "spleen", post(SIGMOID, threshold)))
    assert found.input_spec.regions == (Region(1, 1),) and found.input_spec.threshold == 0.7
    assert [label.name for label in found.labels] == ["spleen"]


@pytest.mark.parametrize(
    ("names", "words"),
    [(("spleen", "background"), "'spleen' as output 0"), (("liver", "spleen"), "'liver' as out")],
)
def test_the_background_has_to_be_the_first_output(
    tmp_path: Path, names: tuple[str, str], words: str
) -> None:
    folder = write_published(tmp_path / "b", "spleen")
    content = metadata("spleen")
    outputs = content["network_data_format"]["outputs"]["pred"]
    outputs["channel_def"] = {str(i): name for i, name in enumerate(names)}
    (folder / "configs/metadata.json").write_text(json.dumps(content))
    line = refusal(folder)
    assert words in line and "expected the background" in line


def pre(*transforms: dict[str, Any]) -> dict[str, Any]:
    config = copy.deepcopy(UNTURNED)
    config["preprocessing"]["transforms"] += [dict(one) for one in transforms]
    return config


STEPS = Normalisation("fixed", -57.0, 164.0, -57 + 110.5, 110.5)


@pytest.mark.parametrize(
    "transform",
    [
        {"_target_": "ScaleIntensityRanged", "keys": "label", "a_min": 0, "a_max": 9},
        {"_target_": "NormalizeIntensityd", "keys": ["label"]},
        {"_target_": "ScaleIntensityd", "keys": "image", "_disabled_": "true"},
        {"_target_": "RandFlipd", "keys": "label"},
        {"_target_": "IdentityD", "keys": "image"},
    ],
)
def test_what_is_not_of_the_image_or_disabled_changes_nothing(
    tmp_path: Path, transform: dict[str, Any]
) -> None:
    folder = write_published(tmp_path / "b", "spleen", pre(transform))
    assert described(folder).input_spec.normalisation == STEPS


@pytest.mark.parametrize(
    ("transform", "words"),
    [
        ({"_target_": "scripts.Spacingd", "keys": "image", "pixdim": [1, 1, 1]}, "scripts.Spac"),
        ({"_target_": "ConcatItemsd", "keys": ["t1", "t2"], "name": "image"}, "makes the image"),
        ({"_target_": "ScaleIntensityd", "keys": "image", "_disabled_": "false"}, None),
        ({"_target_": "CastToTyped", "keys": "image", "dtype": "uint8"}, "rounds or wraps"),
        ({"_target_": "Resized", "keys": "image", "spatial_size": [8, 8, 8]}, "Resized"),
        (
            {"_target_": "ThresholdIntensityd", "keys": "image", "threshold": 1, "cval": 5},
            "a cval other than the threshold",
        ),
        (
            {"_target_": "CropForegroundd", "keys": "image", "source_key": "label"},
            "its source_key is not the image",
        ),
        (
            {
                **{"_target_": "CropForegroundd", "keys": "image", "source_key": "image"},
                "k_divisible": 16,
            },
            "its k_divisible",
        ),
        ({"_target_": "GaussianSmoothd", "keys": "image"}, "no such transform is known"),
    ],
)
def test_preprocessing_that_is_not_honoured_is_refused_by_name(
    tmp_path: Path, transform: dict[str, Any], words: str | None
) -> None:
    folder = write_published(tmp_path / "b", "spleen", pre(transform))
    if words is None:  # the word false disables nothing
        assert len(described(folder).input_spec.normalisation) == 2
    else:
        assert words in refusal(folder)


def test_a_network_of_another_package_is_refused_whatever_its_name(tmp_path: Path) -> None:
    config = copy.deepcopy(SPLEEN)
    config["network_def"]["_target_"] = "scripts.networks.UNet"
    folder = write_published(tmp_path / "b", "spleen", config, network(SPLEEN))
    assert '"scripts.networks.UNet"' in refusal(folder)


def test_an_inferer_of_another_package_is_refused(tmp_path: Path) -> None:
    config = copy.deepcopy(SPLEEN)
    config["inferer"]["_target_"] = "scripts.MyInferer"
    assert "scripts.MyInferer" in refusal(write_published(tmp_path / "b", "spleen", config))


@pytest.mark.parametrize(
    "form",
    [
        lambda weights: {"model": weights},
        lambda weights: {"state_dict": {f"model.{k}": v for k, v in weights.items()}},
        lambda weights: {f"module.{k}": v for k, v in weights.items()},
        lambda weights: {"network": {f"_orig_mod.module.{k}": v for k, v in weights.items()}},
    ],
)
def test_weights_lie_where_trainings_leave_them(tmp_path: Path, form: Any) -> None:
    net = network(SPLEEN)
    folder = write_published(tmp_path / "b", "spleen", None, net)
    torch.save(form(net.state_dict()), folder / "models/model.pt")
    read = open_model(folder).load(CPU).network
    assert torch.equal(next(read.parameters()), next(net.parameters()))


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("$lambda x: torch.where(x[[2]] > 0, 4, torch.where(x[[0]] > 0, 1, 0))", (0, 2)),
        ("$lambda y: torch.where(y[1] > 0, 1, 0)", (1,)),
        ("$lambda x: torch.where(x[[2]] > 0.5, 4, 0)", None),
        ("$lambda x: torch.where(x[[2]] > 0, 4, x)", None),
        ("$lambda x: os.system('ls')", None),
        ("$[" + "(" * 5000, None),
    ],
)
def test_the_order_of_painting_is_read_from_a_function_that_is_never_called(
    text: str, order: tuple[int, ...] | None
) -> None:
    assert painting_order(text) == order


# What bundles of the model zoo have, in small

YAML = """
image: $monai.utils.CommonKeys.IMAGE
shape: [16, 16, 16]
classes: 2
fine: true
network_def: {_target_: UNet, spatial_dims: $len(@shape), in_channels: 1, out_channels: '@classes',
  channels: [4, 8], strides: [2]}
network: $@network_def.to(@device)
first:
- {_target_: LoadImaged, keys: '@image', reader: ITKReader}
- {_target_: EnsureChannelFirstD, keys: ['@image']}
- {_target_: SpacingDict, keys: ['@image'], pixdim: '$[2, 2, 2] if @fine else [4, 4, 4]',
  mode: [bilinear]}
then:
- {_target_: ScaleIntensityRanged, keys: '@image', a_min: 0, a_max: 100, clip: true}
- {_target_: CropForegroundd, keys: ['@image'], source_key: '@image', mode: [minimum]}
- {_target_: CastToTyped, keys: '@image', dtype: $torch.float32}
preprocessing: {_target_: Compose, transforms: $@first + @then}
inferer: {_target_: SimpleInferer}
postprocessing:
  _target_: Compose
  transforms:
  - {_target_: AsDiscreted, keys: pred, argmax: true}
  - {_target_: KeepLargestConnectedComponentd, keys: pred, applied_labels: [1]}
  - {_target_: Invertd, keys: pred, transform: '@preprocessing', nearest_interp: false}
  - {_target_: SaveImaged, keys: pred, output_dtype: $torch.int16}
handlers: [{_target_: CheckpointLoader, load_path: "$@bundle_root + '/models/tuned.pt'"}]
"""


def test_a_bundle_in_yaml_of_references_and_choices_is_read(tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="PyYAML")
    folder = write_published(tmp_path / "b", "spleen", None, network(SPLEEN))
    (folder / "configs/inference.json").unlink()
    (folder / "configs/inference.yaml").write_text(YAML)
    content = metadata("spleen")
    formats = content["network_data_format"]
    formats["inputs"]["image"]["spatial_shape"] = [16, 16, 16]
    pred = formats["outputs"]["pred"]
    pred["label_def"] = pred.pop("channel_def")
    (folder / "configs/metadata.json").write_text("\ufeff" + json.dumps(content), encoding="utf-8")
    (folder / "models/model.pt").unlink()
    small = nets.UNet(3, 1, 2, channels=[4, 8], strides=[2])
    torch.save({"model": small.state_dict()}, folder / "models/tuned.pt")
    found = described(folder)
    assert found.input_spec.spacing == (2.0, 2.0, 2.0) and found.windows == "whole"
    assert found.input_spec.crop == "positive-normalised"
    assert found.input_spec.cleaning == (
        Cleaning("KeepLargestConnectedComponent", {"applied_labels": [1]}, "model"),
    )


def test_yaml_whose_aliases_stand_for_more_than_memory_holds_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="PyYAML")
    folder = write_published(tmp_path / "b", "spleen")
    (folder / "configs/inference.json").unlink()
    lines = ["a0: &a0 [1, 2]"] + [
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)
    ]
    (folder / "configs/inference.yaml").write_text("\n".join(lines))
    assert "aliases that expand to more" in refusal(folder)


def test_a_cut_after_resampling_and_scaling_is_monais(tmp_path: Path) -> None:
    """Without another spacing both cut at the same voxels: every label is the same."""
    config = pre({"_target_": "CropForegroundd", "keys": "image", "source_key": "image"})
    config["preprocessing"]["transforms"][2]["pixdim"] = [-1, -1, -1]
    config["preprocessing"]["transforms"][3]["b_min"] = 0
    config["postprocessing"]["transforms"][1]["orig_keys"] = "image"
    labels, expected, _ = both(tmp_path, config, (20, 18, 16))
    assert len(np.unique(expected)) == 2
    assert (labels == expected).mean() > 0.999


def test_an_image_of_a_fixed_size_is_monais(tmp_path: Path) -> None:
    """RGB slices through a network with a backbone, all channels scaled together."""
    config = {
        "network_def": {
            **{"_target_": "FlexibleUNet", "in_channels": 3, "out_channels": 2},
            **{"backbone": "efficientnet-b0", "pretrained": False, "is_pad": False},
            **{"decoder_channels": [16, 8, 8, 4, 4], "spatial_dims": 2},
        },
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image"},
                {"_target_": "EnsureChannelFirstd", "keys": "image", "channel_dim": -1},
                {
                    **{"_target_": "Resized", "keys": ["image"], "spatial_size": [64, 96]},
                    **{"mode": ["bilinear"]},
                },
                {"_target_": "ScaleIntensityd", "keys": ["image"]},
            ],
        },
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    **{"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing"},
                    **{"orig_keys": "image", "nearest_interp": False},
                },
                {"_target_": "AsDiscreted", "keys": ["pred"], "argmax": True, "to_onehot": 2},
                {"_target_": "Lambdad", "keys": ["pred"], "func": "$lambda x : x[1:]"},
            ],
        },
    }
    rng = np.random.default_rng(0)
    picture = sitk.GetImageFromArray(rng.integers(0, 255, (50, 70, 3), np.uint8), isVector=True)
    sitk.WriteImage(picture, str(tmp_path / "picture.png"))
    torch.manual_seed(0)
    arguments = {k: v for k, v in config["network_def"].items() if k != "_target_"}
    net = nets.FlexibleUNet(**arguments)
    with torch.no_grad():  # both classes as large
        z = net.eval()(torch.nn.functional.interpolate(torch.rand(1, 3, 70, 50), size=(64, 96)))
        net.segmentation_head[0].bias[1] -= (z[:, 1] - z[:, 0]).median()
    labels, expected, model = both(tmp_path, config, (), net, [tmp_path / "picture.png"])
    assert model.input_spec.size == (96, 64, None) and model.input_spec.resampling.maps == "logits"
    assert len(np.unique(expected)) == 2
    assert (labels == expected).mean() > 0.99


def test_a_searched_architecture_is_read_from_its_file(tmp_path: Path) -> None:
    """DiNTS, with what its search leaves: arrays of NumPy."""
    code_a = np.ones((2, 4), np.int64)
    code_c = np.zeros((2, 4), np.int64)
    space = {"_target_": "TopologyInstance", "num_blocks": 2, "num_depths": 2, "channel_mul": 0.1}
    config = copy.deepcopy(UNTURNED)
    config |= {
        "arch_path": "$@bundle_root + '/models/search_code.pt'",
        "arch": "$torch.load(@arch_path)",
        "dints_space": {
            **space,
            "arch_code": ["$@arch['arch_code_a']", "$@arch['arch_code_c']"],
            "device": "$torch.device('cuda')",
        },
        "network_def": {
            **{"_target_": "monai.networks.nets.DiNTS", "dints_space": "@dints_space"},
            **{"in_channels": 1, "num_classes": 2, "use_downsample": True},
            "node_a": "$torch.from_numpy(@arch['node_a'])",
        },
    }
    node_a = np.ones((3, 2), np.float32)
    made = nets.TopologyInstance(
        arch_code=[code_a, code_c], num_blocks=2, num_depths=2, channel_mul=0.1
    )
    net = nets.DiNTS(made, 1, 2, node_a=torch.from_numpy(node_a))
    folder = write_published(tmp_path / "b", "spleen", config, net)
    (folder / "configs/inference.json").write_text(json.dumps(config))
    arrays = {"arch_code_a": code_a, "arch_code_c": code_c, "node_a": node_a}
    torch.save(arrays, folder / "models/search_code.pt")
    before = open_model(folder).sha256()
    read = open_model(folder).load(CPU)
    x = torch.rand(1, 1, 16, 16, 16)
    with torch.no_grad():
        assert torch.equal(read.network.eval()(x), net.eval()(x))
    assert read.description.network["nodes"] == node_a.tolist()
    torch.save({**arrays, "node_a": node_a * 0}, folder / "models/search_code.pt")
    assert open_model(folder).sha256() != before


def both(
    folder: Path,
    config: dict[str, Any],
    size: tuple[int, ...],
    net: torch.nn.Module | None = None,
    files: list[Path] | None = None,
) -> tuple[np.ndarray, np.ndarray, Any]:
    """Labels by SFDALib and by MONAI, and our description."""
    if files is None:
        rng = np.random.default_rng(1)
        array = rng.normal(20, 60, size).astype(np.float32)
        array[:3] = array[:, -4:] = -500
        files = [folder / "image.nrrd"]
        sitk.WriteImage(sitk.GetImageFromArray(array), str(files[0]))
    net = net or network(config)
    bundle = folder / "bundle"
    (bundle / "configs").mkdir(parents=True)
    (bundle / "models").mkdir()
    content = metadata("spleen")
    shape = [64, 96] if "Flex" in str(config) else [32, 32, 32]
    content["network_data_format"]["inputs"]["image"]["spatial_shape"] = shape
    (bundle / "configs/metadata.json").write_text(json.dumps(content))
    (bundle / "configs/inference.json").write_text(json.dumps(config))
    torch.save(net.state_dict(), bundle / "models/model.pt")
    case = valid_monai.Case(bundle, files, config, ())
    expected = valid_monai.processed(case, net.eval())
    return valid_monai.segmented(case), expected, described(bundle)
