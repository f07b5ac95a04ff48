"""Valid models of nnU-Net, varied within what its plans allow, and what becomes of an image by a
computation of its own: NumPy, and the networks of dynamic-network-architectures.

Nothing is resampled, and one window holds the image, so that every label can be compared.
"""

from __future__ import annotations

import importlib
import json
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from nnunet_models import PLAIN_LABELS, REGIONS, Setting, dataset, plans, write_checkpoint
from scipy.ndimage import binary_fill_holes, find_objects

from SFDALib.bundle.open_model import open_model
from SFDALib.inference.predict import predict
from SFDALib.methods.shared_options import InferenceOptions
from SFDALib.volume.conform import conform
from SFDALib.volume.image_file import read_volume

CPU = torch.device("cpu")
SCHEMES = (
    *("ZScoreNormalization", "CTNormalization", "NoNormalization"),
    *("RescaleTo01Normalization", "RGBTo01Normalization"),
)


@dataclass(frozen=True)
class Case:
    """A model on the disk with an image."""

    model: Path
    setting: Setting
    folds: int
    file: Path


def make(folder: Path, seed: int) -> Case:
    """One of endlessly many valid models, with its image."""
    rng = random.Random(seed)
    numbers = np.random.default_rng(seed)
    flat = rng.random() < 0.4
    channels = rng.choice([1, 1, 2])
    overlapping = rng.random() < 0.4
    spacing = tuple(rng.choice([0.8, 1.0, 2.5]) for _ in range(3))
    picture = flat and rng.random() < 0.3
    if picture:
        spacing = (1.0, 0.3, 0.3)  # of a file that states a resolution
    setting = Setting(
        configuration="2d" if flat else "3d_fullres",
        network=rng.choice(["PlainConvUNet", "ResidualEncoderUNet"]),
        schemes=tuple(rng.choice(SCHEMES) for _ in range(channels)),
        masked=rng.random() < 0.5,
        labels=REGIONS if overlapping else PLAIN_LABELS,
        order=tuple(rng.sample([1, 2, 3], 3)) if overlapping else None,
        patch_size=(24, 24) if flat else (16, 24, 24),
        strides=((1, 1), (2, 2)) if flat else ((1, 1, 1), (2, 2, 2)),
        transpose=(0, 1, 2) if flat else rng.choice([(0, 1, 2), (1, 0, 2), (2, 0, 1)]),
        mirrored=None,
        image_size=(1, *(rng.randrange(10, 21) for _ in range(2))) if picture else
        tuple(rng.randrange(8, 15) for _ in range(3)),
        image_spacing=spacing,
    )  # fmt: skip
    seen = tuple(spacing[axis] for axis in setting.transpose)
    setting = replace(setting, spacing=seen[1:] if flat else seen)
    described = plans(setting, old=rng.random() < 0.2)
    if picture:
        described["image_reader_writer"] = "NaturalImage2DIO"
        described["configurations"]["parent"]["spacing"] = [1.0, 1.0]
    model = folder / f"nnUNetTrainer__nnUNetPlans__{setting.configuration}"
    model.mkdir(parents=True)
    (model / "plans.json").write_text(json.dumps(described))
    (model / "dataset.json").write_text(json.dumps(dataset(setting)))
    folds = rng.choice([1, 1, 2])
    for fold in range(folds):
        torch.manual_seed(100 * seed + fold)
        net = network(setting)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        prefix = rng.choice(["", "module."])
        weights = {prefix + key: value for key, value in net.state_dict().items()}
        write_checkpoint(model / f"fold_{fold}/checkpoint_final.pth", setting, weights)
    array = numbers.normal(150, 80, (channels, *setting.image_size)).astype(np.float32)
    array[array > 300] = 0
    for channel, scheme in enumerate(setting.schemes):
        if scheme.startswith("RGB"):
            array[channel] = array[channel].clip(0, 255)
    if rng.random() < 0.6:
        empty = rng.randrange(1, 4)
        array[:, :, :empty] = 0
        array[:, :, :, -empty:] = 0
    if not flat and rng.random() < 0.2:
        array[:, : setting.image_size[0] - 1] = 0  # but for one slice
    image = sitk.GetImageFromArray(np.moveaxis(array, 0, -1), isVector=True)
    image.SetSpacing(setting.image_spacing[::-1])
    file = folder / "image.nrrd"
    sitk.WriteImage(image if channels > 1 else sitk.VectorIndexSelectionCast(image, 0), str(file))
    return Case(model, setting, folds, file)


def network(setting: Setting) -> torch.nn.Module:
    """As the plans name it, by the library that nnU-Net itself uses."""
    architecture = plans(setting)["configurations"]["parent"]["architecture"]
    arguments = dict(architecture["arch_kwargs"])
    for name in architecture["_kw_requires_import"]:
        if arguments[name] is not None:
            module, member = arguments[name].rsplit(".", 1)
            arguments[name] = getattr(importlib.import_module(module), member)
    module, member = architecture["network_class_name"].rsplit(".", 1)
    outputs = len(setting.order) if setting.order else len(setting.labels or PLAIN_LABELS)
    made = getattr(importlib.import_module(module), member)
    return made(
        input_channels=len(setting.schemes),
        num_classes=outputs,
        deep_supervision=False,
        **arguments,
    ).eval()


def expected(case: Case) -> np.ndarray:
    """Labels ``(K, J, I)`` by the computation of its own."""
    setting = case.setting
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(case.file))).astype(np.float32)
    array = np.moveaxis(image, -1, 0) if image.ndim == 4 else image[None]
    array = array.transpose(0, *(1 + axis for axis in setting.transpose))
    body = binary_fill_holes((array != 0).any(0))
    box = find_objects(body.astype(np.uint8))[0]
    whole, array, body = array.shape[1:], array[(slice(None), *box)], body[box]
    array = np.stack([_scaled(channel, scheme, body, setting)
                      for channel, scheme in zip(array, setting.schemes, strict=True)])  # fmt: skip
    data = torch.from_numpy(array)
    data = data.transpose(0, 1) if setting.dims == 2 else data[None]
    lack = [n - have for n, have in zip(setting.patch_size, data.shape[2:], strict=True)]
    pads = [side for n in reversed(lack) for side in (n // 2, n - n // 2)]
    inner = [slice(n // 2, n // 2 + have) for n, have in zip(lack, data.shape[2:], strict=True)]
    total = 0
    for fold in range(case.folds):
        file = case.model / f"fold_{fold}/checkpoint_final.pth"
        weights = torch.load(file, weights_only=False)["network_weights"]
        net = network(setting)
        net.load_state_dict({k.removeprefix("module."): v for k, v in weights.items()})
        with torch.no_grad():
            total = total + net(torch.nn.functional.pad(data, pads))[(..., *inner)]
    logits = total / case.folds
    logits = logits.transpose(0, 1) if setting.dims == 2 else logits[0]
    if setting.order:
        labels = np.zeros(logits.shape[1:], np.uint8)
        for channel, label in enumerate(setting.order):
            labels[(logits[channel] > 0).numpy()] = label
    else:
        labels = logits.argmax(0).numpy().astype(np.uint8)
    result = np.zeros(whole, np.uint8)
    result[box] = labels
    return result.transpose(np.argsort(setting.transpose))


def _scaled(channel: np.ndarray, scheme: str, body: np.ndarray, setting: Setting) -> np.ndarray:
    if scheme == "ZScoreNormalization" and setting.masked:
        values = channel[body]
        scaled = channel.copy()
        scaled[body] = (values - values.mean()) / max(values.std(), 1e-8)
        return scaled
    if scheme == "ZScoreNormalization":
        return (channel - channel.mean()) / max(channel.std(), 1e-8)
    if scheme == "CTNormalization":
        return (np.clip(channel, 20.0, 330.0) - 180.0) / 90.0
    if scheme == "RescaleTo01Normalization":
        channel = channel - channel.min()
        return channel / np.clip(channel.max(), 1e-8, None)
    return channel / 255.0 if scheme == "RGBTo01Normalization" else channel


def ours(case: Case) -> np.ndarray:
    """The same by SFDALib."""
    model = open_model(case.model).load(CPU)
    conformed = conform(read_volume([case.file]), model.description.input_spec)
    p: Any = predict(model, conformed.array, InferenceOptions())
    return conformed.restore_labels(p)


def differing(case: Case) -> float:
    """The share of voxels on which the two do not agree."""
    return float((ours(case) != expected(case)).mean())
