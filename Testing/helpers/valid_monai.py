"""Valid MONAI bundles, varied within what the format allows, and what MONAI itself makes of each.

Nothing is resampled, so that both do the same arithmetic and every label can be compared.
"""

from __future__ import annotations

import json
import random
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.networks import nets

from SFDALib.bundle.open_model import open_model
from SFDALib.inference.predict import predict
from SFDALib.methods.shared_options import InferenceOptions
from SFDALib.volume.conform import conform
from SFDALib.volume.image_file import read_volume

CPU = torch.device("cpu")
SIZE = (12, 10, 14)  # K, J, I
NAMES = ("background", "liver", "spleen", "kidney", "cyst")


@dataclass(frozen=True)
class Case:
    """A bundle on the disk with an image.

    Args:
        order: of regions as they are painted, by channel; empty for classes.
    """

    bundle: Path
    files: list[Path]
    config: dict[str, Any]
    order: tuple[int, ...]


def spelled(name: str, rng: random.Random) -> str:
    """One of the names under which MONAI knows a transform for dictionaries."""
    base = name.removesuffix("d")
    module = rng.choice(["", "", "monai.transforms."])
    return module + rng.choice([name, name, f"{base}D", f"{base}Dict"])


def make(folder: Path, seed: int) -> Case:
    """One of endlessly many valid bundles, with its image and label."""
    rng = random.Random(seed)
    dims = rng.choice([3, 3, 3, 2])
    channels = rng.choice([1, 1, 1, 2, 3])
    outputs = rng.choice([1, 2, 2, 3, 4])
    torch.manual_seed(seed)
    definition = {
        "_target_": rng.choice(["UNet", "monai.networks.nets.UNet"]),
        "spatial_dims": dims,
        "in_channels": channels,
        "out_channels": outputs,
        "channels": [4, 4],
        "strides": [2],
        "num_res_units": rng.choice([0, 1]),
        "norm": rng.choice(["batch", "instance"]),
    }
    arguments = {k: v for k, v in definition.items() if k != "_target_"}
    network = nets.UNet(**arguments).eval()
    post, kind, order = _postprocessing(rng, outputs)
    config = {
        "image_key": "image",
        "flags": {"yes": True, "no": False},
        "network_def": definition,
        "network": "$@network_def.to(@device)",
        "preprocessing": _composed(rng, _preprocessing(rng, channels)),
        "inferer": _inferer(rng, dims),
        "postprocessing": {"_target_": "Compose", "transforms": post},
    }
    if isinstance(config["preprocessing"]["transforms"], str):
        config["listed"] = config["preprocessing"].pop("listed")
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    names = (
        list(NAMES[:outputs]) if outputs > 1 and kind != "regions" else list(NAMES[1:][:outputs])
    )
    described = {
        "inputs": {"image": {"modality": "CT", "spatial_shape": [16] * dims}},
        "outputs": {"pred": {"channel_def": {str(i): n for i, n in enumerate(names)}}},
    }
    metadata = {"version": "0.1.0", "name": "varied", "network_data_format": described}
    bom = "\ufeff" if rng.random() < 0.1 else ""
    (folder / "configs/metadata.json").write_text(bom + json.dumps(metadata), encoding="utf-8")
    if rng.random() < 0.2:
        import yaml

        (folder / "configs/inference.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    else:
        (folder / "configs/inference.json").write_text(json.dumps(config), encoding="utf-8")
    weights = network.state_dict()
    prefix = rng.choice(["", "", "module.", "_orig_mod."])
    weights = {prefix + key: value for key, value in weights.items()}
    torch.save(rng.choice([weights, {"model": weights}, {"state_dict": weights, "epoch": 3}]),
               folder / "models/model.pt")  # fmt: skip
    files = _images(folder.parent, channels, rng, flat=dims == 2 and rng.random() < 0.3)
    return Case(folder, files, config, order)


def _images(folder: Path, channels: int, rng: random.Random, flat: bool) -> list[Path]:
    numbers = np.random.default_rng(rng.randrange(1 << 30))
    spacing = [rng.choice([1.0, 1.5, 2.0]) for _ in range(3)]
    paths = []
    for channel in range(channels + 1):
        array = numbers.normal(40, 60, size=SIZE).astype(np.float32)
        array = 0.3 * array + 40 * np.sin(np.arange(SIZE[1]) / 2 + channel)[:, None]
        array[:, :2] = 0
        if channel == channels:
            array = (array > 40).astype(np.uint8)
        picture = sitk.GetImageFromArray(
            array.astype(np.uint8 if array.dtype == np.uint8 else np.float32)
        )
        picture.SetSpacing(spacing)
        paths.append(folder / f"image{channel}.nrrd")
        sitk.WriteImage(picture, str(paths[-1]))
    return paths


def _composed(rng: random.Random, transforms: list[dict[str, Any]]) -> dict[str, Any]:
    if rng.random() < 0.2:
        half = len(transforms) // 2
        return {
            "_target_": "Compose",
            "transforms": "$@listed#first + @listed#second",
            "listed": {"first": transforms[:half], "second": transforms[half:]},
        }
    return {"_target_": "Compose", "transforms": transforms}


def _preprocessing(rng: random.Random, channels: int) -> list[dict[str, Any]]:
    both, image = ["image", "label"], rng.choice(["image", "@image_key", ["image"]])
    each = {"channel_wise": rng.random() < 0.5} if channels > 1 or rng.random() < 0.5 else {}
    found: list[dict[str, Any]] = [
        {"_target_": spelled("LoadImaged", rng), "keys": both},
        {"_target_": spelled("EnsureChannelFirstd", rng), "keys": both},
    ]
    if rng.random() < 0.5:
        axcodes = rng.choice(["RAS", "LPS", "SAR", "PIR"])
        found.append({"_target_": spelled("Orientationd", rng), "keys": both, "axcodes": axcodes})
    if rng.random() < 0.2:
        found.append({
            "_target_": spelled("Spacingd", rng), "keys": both, "pixdim": [-1, -1, -1],
            "mode": ["bilinear", "nearest"],
        })  # fmt: skip
    if rng.random() < 0.2:
        found.append({"_target_": "CropForegroundd", "keys": both, "source_key": "image"})
    scalings = [
        {
            "_target_": spelled("ScaleIntensityRanged", rng), "a_min": -20, "a_max": 90,
            "b_min": rng.choice([0, -1]), "b_max": 1, "clip": rng.random() < 0.7,
        },
        {"_target_": spelled("NormalizeIntensityd", rng), "nonzero": rng.random() < 0.5, **each},
        {"_target_": spelled("ScaleIntensityd", rng), "minv": rng.choice([0.0, -1.0]), **each},
        {
            "_target_": spelled("ScaleIntensityRangePercentilesd", rng), "lower": 2, "upper": 97,
            "b_min": 0, "b_max": 1, "clip": True, **each,
        },
        {"_target_": "NormalizeIntensityd", "subtrahend": 30.0, "divisor": 25.0},
        {"_target_": "ThresholdIntensityd", "threshold": 10.0, "cval": 10.0},
    ]  # fmt: skip
    for scaling in rng.sample(scalings, rng.choice([1, 1, 2])):
        found.append({**scaling, "keys": image})
    extra = [
        {"_target_": "ScaleIntensityRanged", "keys": "label", "a_min": 0, "a_max": 1},
        {"_target_": "NormalizeIntensityd", "keys": "image", "_disabled_": True},
        {"_target_": "ScaleIntensityd", "keys": "image", "_disabled_": "true"},
        {"_target_": "ScaleIntensityd", "keys": "image", "_disabled_": "@flags#yes", "maxv": 7.0},
        {"_target_": "EnsureTyped", "keys": ["image"]},
        {"_target_": "Identityd", "keys": "image"},
        {"_target_": "CastToTyped", "keys": "image", "dtype": "$torch.float32"},
        {"_target_": "AsDiscreted", "keys": "label", "threshold": 0.5},
    ]
    for one in rng.sample(extra, 2):
        found.insert(rng.randrange(2, len(found) + 1), one)
    return found


def _inferer(rng: random.Random, dims: int) -> dict[str, Any]:
    if dims == 2:
        return {"_target_": "SliceInferer", "roi_size": [16, 16], "spatial_dim": rng.randrange(3)}
    how = {"overlap": 0.5, "mode": rng.choice(["constant", "gaussian"])}
    how |= {"padding_mode": rng.choice(["constant", "replicate"])}
    return rng.choice([
        {"_target_": "SlidingWindowInferer", "roi_size": [8, 8, 8], **how},
        {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16], **how},
        {"_target_": "monai.inferers.SlidingWindowInferer", "roi_size": 10, **how},
        {"_target_": "SimpleInferer"},
    ])  # fmt: skip


def _postprocessing(
    rng: random.Random, outputs: int
) -> tuple[list[dict[str, Any]], str, tuple[int, ...]]:
    """The transforms, "classes" or "regions", and the regions' order."""
    kind = "classes" if outputs == 1 or rng.random() < 0.6 else "regions"
    order: tuple[int, ...] = ()
    labels = list(range(1, max(outputs, 2)))
    masks = False
    if kind == "regions":
        activation = {"sigmoid": True}
        discrete: dict[str, Any] = {"threshold": rng.choice([0.5, 0.5, 0.4, 0.7])}
        order, masks = tuple(rng.sample(range(outputs), outputs)), True
        labels = list(range(outputs))
    elif outputs == 1:
        activation, discrete = {"sigmoid": True}, {"threshold": rng.choice([0.5, 0.3, 0.8])}
    else:
        activation = rng.choice([{"softmax": True}, {"sigmoid": True}, {}])
        discrete = {"argmax": True}
        if rng.random() < 0.3:
            discrete |= {"to_onehot": outputs}
            masks = True
        elif activation == {"softmax": True} and outputs == 2 and rng.random() < 0.3:
            discrete, masks = {"threshold": rng.choice([0.3, 0.6])}, True
        elif activation == {"softmax": True} and rng.random() < 0.2:
            discrete, masks = {"threshold": 0.6}, True
    steps: list[dict[str, Any]] = []
    if activation:
        steps.append({"_target_": spelled("Activationsd", rng), "keys": "pred", **activation})
    if rng.random() < 0.3:
        steps.append(
            {"_target_": "Activationsd", "keys": "pred", "sigmoid": True, "_disabled_": True}
        )
    invert = {
        "_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image",
        "nearest_interp": True, "to_tensor": True,
    }  # fmt: skip
    discretised = [{"_target_": spelled("AsDiscreted", rng), "keys": "pred", **discrete}]
    if rng.random() < 0.2:
        both = {k: [v, None if k != "argmax" else False] for k, v in discrete.items()}
        discretised = [{"_target_": "AsDiscreted", "keys": ["pred", "label"], **both}]
    cleaning = [_cleaning(rng, labels, masks, kind) for _ in range(rng.choice([0, 0, 1, 1, 2]))]
    place = rng.randrange(len(cleaning) + 2)
    rest = [*discretised, *cleaning]
    rest.insert(place, invert)
    if kind == "regions":
        rest.append({"_target_": "Lambdad", "keys": "pred", "func": painting(order)})
    elif masks and "argmax" in discrete and rng.random() < 0.3:
        rest.append({"_target_": "Lambdad", "keys": "pred", "func": "$lambda x : x[1:]"})
    return [*steps, *rest], kind, order


def painting(order: tuple[int, ...]) -> str:
    """The function of regions that are painted in this order, as labels 1, 2, 3, ..."""
    text = "0"
    for label, channel in enumerate(order, start=1):
        text = f"torch.where(x[[{channel}]] > 0, {label}, {text})"
    return f"$lambda x: {text}"


def _cleaning(rng: random.Random, labels: list[int], masks: bool, kind: str) -> dict[str, Any]:
    some = rng.sample(labels, rng.randrange(1, len(labels) + 1))
    chosen = rng.choice([{}, {"applied_labels": some}])
    every = [
        {
            "_target_": "KeepLargestConnectedComponentd", **chosen,
            "independent": rng.random() < 0.6, "connectivity": rng.choice([None, 1, 2]),
            "num_components": rng.choice([1, 1, 2]),
        },
        {
            "_target_": "RemoveSmallObjectsd", "min_size": rng.choice([5, 20]),
            "connectivity": rng.choice([1, 2]), "independent_channels": rng.random() < 0.7,
        },
        {
            "_target_": "RemoveSmallObjectsd", "min_size": 30, "by_measure": True,
        },
    ]  # fmt: skip
    if not masks or kind == "regions":
        every.append({"_target_": "FillHolesd", **chosen, "connectivity": rng.choice([None, 1])})
    if not masks:
        every.append({"_target_": "LabelFilterd", "applied_labels": some})
    return {**rng.choice(every), "keys": "pred"}


def expected(case: Case) -> np.ndarray:
    """Labels ``(K, J, I)`` by MONAI's own transforms, inferer and network."""
    arguments = {k: v for k, v in case.config["network_def"].items() if k != "_target_"}
    network = nets.UNet(**arguments).eval()
    network.load_state_dict(_weights(case.bundle / "models/model.pt"))
    label = str(case.files[-1])
    return processed(Case(case.bundle, case.files[:-1], case.config, case.order), network, label)


def processed(case: Case, network: torch.nn.Module, label: str | None = None) -> np.ndarray:
    """The same of an image without a label, by this network."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parser = ConfigParser()
        file = next(case.bundle.glob("configs/inference.*"))
        parser.read_config(file)
        parser["device"] = "cpu"
        images = [str(file) for file in case.files]
        given = {"image": images if len(images) > 1 else images[0]}
        given |= {"label": label} if label else {}
        data = parser.get_parsed_content("preprocessing")(given)
        with torch.no_grad():
            logits = _inferred(parser, data["image"], network)
        data["pred"] = MetaTensor(logits, meta=data["image"].meta)
        data["pred"].applied_operations = data["image"].applied_operations
        found = parser.get_parsed_content("postprocessing")(data)["pred"]
    found = torch.as_tensor(found).numpy()
    if "x[1:]" in str(case.config["postprocessing"]):
        found = np.concatenate([np.zeros_like(found[:1]), found])
    if len(found) > 1:  # masks of classes, the first of which is the background
        found = np.where(found[1:].any(0), found[1:].argmax(0) + 1, 0)[None]
    found = found[0].round().astype(np.uint8)
    return found.transpose(2, 1, 0) if found.ndim == 3 else found.T[None]


def _inferred(parser: ConfigParser, image: MetaTensor, network: torch.nn.Module) -> torch.Tensor:
    """A network without windows is given sides that its strides allow: zeros around."""
    data = image.as_tensor()[None]
    if "Simple" not in parser["inferer"]["_target_"]:
        return parser.get_parsed_content("inferer")(data, network)[0]
    lack = [-n % 2 for n in data.shape[2:]]
    pads = [side for n in reversed(lack) for side in (n // 2, n - n // 2)]
    logits = parser.get_parsed_content("inferer")(torch.nn.functional.pad(data, pads), network)[0]
    inner = [slice(n // 2, n // 2 + have) for n, have in zip(lack, data.shape[2:], strict=True)]
    return logits[(slice(None), *inner)]


def _weights(file: Path) -> dict[str, torch.Tensor]:
    content = torch.load(file, weights_only=True)
    content = content.get("model", content.get("state_dict", content))
    return {k.removeprefix("module.").removeprefix("_orig_mod."): v for k, v in content.items()}


def ours(case: Case) -> np.ndarray:
    """The same by SFDALib."""
    return segmented(Case(case.bundle, case.files[:-1], case.config, case.order))


def segmented(case: Case) -> np.ndarray:
    """The same of an image without a label."""
    model = open_model(case.bundle).load(CPU)
    open_model(case.bundle).describe()
    conformed = conform(read_volume(case.files), model.description.input_spec)
    probabilities = predict(model, conformed.array, InferenceOptions())
    return conformed.restore_labels(probabilities)


def differing(case: Case) -> float:
    """The share of voxels on which the two do not agree."""
    return float((ours(case) != expected(case)).mean())
