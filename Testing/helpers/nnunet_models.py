"""Small models as nnU-Net v2 leaves them on the disk, and images for them.

Everything that its own predictor reads is there: plans, dataset description, checkpoints with the
log's NumPy scalars. The networks are tiny; their weights are random or trained for a few steps.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from heads import OBLIQUE

from SFDALib.bundle import assembly
from SFDALib.bundle.importers.nnunet_plans import read_plans
from SFDALib.networks.build import build_network
from SFDALib.training.segmentation import segmentation_loss
from SFDALib.volume.conform import conform, conform_labels
from SFDALib.volume.geometry import Geometry, Volume
from SFDALib.volume.input_spec import InputSpec

ARCHITECTURES = "dynamic_network_architectures.architectures.unet"
PLAIN_LABELS = {"background": 0, "brain": 1, "lesion": 2}
REGIONS = {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]}


@dataclass(frozen=True)
class Setting:
    """One kind of model; the fields are those of the plans, spacings and sizes along K, J, I."""

    configuration: str = "3d_fullres"
    network: str = "PlainConvUNet"
    schemes: tuple[str, ...] = ("ZScoreNormalization",)
    masked: bool = False
    labels: Mapping[str, Any] | None = None
    order: tuple[int, ...] | None = None
    spacing: tuple[float, ...] = (2.0, 1.5, 1.5)
    patch_size: tuple[int, ...] = (16, 24, 16)
    strides: tuple[tuple[int, ...], ...] = ((1, 1, 1), (1, 2, 2), (2, 2, 2))
    transpose: tuple[int, ...] = (0, 1, 2)
    mirrored: tuple[int, ...] | None = (0, 1, 2)
    image_size: tuple[int, int, int] = (22, 40, 36)
    image_spacing: tuple[float, float, float] = (2.6, 1.2, 1.3)

    @property
    def dims(self) -> int:
        return len(self.patch_size)


FLAT = {
    "configuration": "2d",
    "spacing": (1.5, 1.5),
    "patch_size": (24, 32),
    "strides": ((1, 1), (2, 2), (2, 2)),
    "mirrored": (0, 1),
}
SETTINGS = {
    "3d plain": Setting(),
    "3d residual, masked": Setting(network="ResidualEncoderUNet", masked=True),
    "3d CT, thick slices, transposed": Setting(
        schemes=("CTNormalization",),
        spacing=(1.4, 4.5, 1.4),
        patch_size=(24, 12, 24),
        strides=((1, 1, 1), (2, 1, 2), (2, 2, 2)),
        transpose=(1, 0, 2),
        image_size=(40, 20, 36),
        image_spacing=(1.2, 5.0, 1.3),
        mirrored=(0, 2),
    ),
    "3d residual, regions, 4 channels": Setting(
        network="ResidualEncoderUNet",
        schemes=("ZScoreNormalization",) * 4,
        masked=True,
        labels=REGIONS,
        order=(1, 2, 3),
    ),
    "2d plain, thick slices": Setting(**FLAT, image_spacing=(6.0, 1.2, 1.3)),
    "2d residual, regions": Setting(
        **FLAT, network="ResidualEncoderUNet", labels=REGIONS, order=(1, 3, 2)
    ),
}


def plans(setting: Setting, old: bool = False) -> dict[str, Any]:
    """plans.json; ``old``: with the flat architecture of earlier versions."""
    stages, d = len(setting.strides), setting.dims
    features = [8 * 2**i for i in range(stages)]
    counts = "n_conv_per_stage" if setting.network == "PlainConvUNet" else "n_blocks_per_stage"
    kernels = [[1 if s == 1 and i == 0 and d == 3 else 3 for s in stride]
               for i, stride in enumerate(setting.strides)]  # fmt: skip
    kernels[0] = [3] * d
    resampling = {"is_seg": False, "order_z": 0, "force_separate_z": None}
    function = "resample_data_or_seg_to_shape"
    configuration = {
        "data_identifier": f"nnUNetPlans_{setting.configuration}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(setting.patch_size),
        "spacing": list(setting.spacing),
        "normalization_schemes": list(setting.schemes),
        "use_mask_for_norm": [setting.masked] * len(setting.schemes),
        "resampling_fn_data": function,
        "resampling_fn_seg": function,
        "resampling_fn_data_kwargs": {**resampling, "order": 3},
        "resampling_fn_seg_kwargs": {**resampling, "is_seg": True, "order": 1},
        "resampling_fn_probabilities": function,
        "resampling_fn_probabilities_kwargs": {**resampling, "order": 1},
    }
    if old:
        configuration |= {
            "UNet_class_name": setting.network,
            "UNet_base_num_features": 8,
            "unet_max_num_features": 320,
            "n_conv_per_stage_encoder": [2] * stages,
            "n_conv_per_stage_decoder": [2] * (stages - 1),
            "num_pool_per_axis": [1] * d,
            "pool_op_kernel_sizes": [list(stride) for stride in setting.strides],
            "conv_kernel_sizes": kernels,
        }
    else:
        configuration["architecture"] = {
            "network_class_name": f"{ARCHITECTURES}.{setting.network}",
            "arch_kwargs": {
                "n_stages": stages,
                "features_per_stage": features,
                "conv_op": f"torch.nn.modules.conv.Conv{d}d",
                "kernel_sizes": kernels,
                "strides": [list(stride) for stride in setting.strides],
                counts: [2] * stages,
                "n_conv_per_stage_decoder": [2] * (stages - 1),
                "conv_bias": True,
                "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{d}d",
                "norm_op_kwargs": {"eps": 1e-5, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        }
    properties = {"mean": 180.0, "std": 90.0, "percentile_00_5": 20.0, "percentile_99_5": 330.0}
    return {
        "dataset_name": "Dataset900_Phantom",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": list(setting.transpose),
        "transpose_backward": [int(axis) for axis in np.argsort(setting.transpose)],
        "label_manager": "LabelManager",
        "experiment_planner_used": "ExperimentPlanner",
        "foreground_intensity_properties_per_channel": {
            str(c): properties for c in range(len(setting.schemes))
        },
        # what a configuration inherits is in its parent
        "configurations": {
            "parent": configuration,
            setting.configuration: {"inherits_from": "parent"},
        },
    }


def dataset(setting: Setting) -> dict[str, Any]:
    """dataset.json."""
    described = {
        "channel_names": {str(c): f"MR{c}" for c in range(len(setting.schemes))},
        "labels": dict(setting.labels or PLAIN_LABELS),
        "numTraining": 1,
        "file_ending": ".nrrd",
    }
    return described | ({"regions_class_order": list(setting.order)} if setting.order else {})


def image(setting: Setting, seed: int = 0) -> tuple[Volume, np.ndarray]:
    """A textured body with two nested structures in empty space, and its labels (K, J, I)."""
    rng = np.random.default_rng(seed)
    place = np.stack(
        np.meshgrid(*(np.linspace(-1, 1, n) for n in setting.image_size), indexing="ij")
    )

    def inside(centre: Sequence[float], radius: float) -> np.ndarray:
        return ((place - np.array(centre).reshape(3, 1, 1, 1)) ** 2).sum(0) < radius**2

    labels = np.zeros(setting.image_size, np.uint8)
    for value, radius in ((1, 0.6), (2, 0.42), (3, 0.25)):
        if value < max(3, len(setting.labels or PLAIN_LABELS)):
            labels[inside((0.1, -0.05, 0.05), radius)] = value
    body = inside((0, 0, 0), 0.85)
    channels = [
        np.where(
            body, 120 + 60.0 * labels * (1 - 0.2 * c) + 20 * rng.standard_normal(body.shape), 0
        )
        for c in range(len(setting.schemes))
    ]
    geometry = Geometry(
        setting.image_size[::-1], setting.image_spacing[::-1], (3.0, -20.0, 40.0), OBLIQUE
    )
    return Volume(np.stack(channels).astype(np.float32), geometry), labels


def write_model(
    folder: Path, setting: Setting, folds: Sequence[int] = (0,), steps: int = 0, old: bool = False
) -> Path:
    """A model folder with random weights, or weights trained for some steps on ``image``."""
    described = plans(setting, old)
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(described))
    (folder / "dataset.json").write_text(json.dumps(dataset(setting)))
    for fold in folds:
        weights = _weights(described, setting, seed=fold, steps=steps)
        write_checkpoint(folder / f"fold_{fold}" / "checkpoint_final.pth", setting, weights)
    return folder


def write_checkpoint(
    path: Path, setting: Setting, weights: Mapping[str, Any], trainer: str = "nnUNetTrainer"
) -> None:
    """A checkpoint with everything that nnU-Net's trainer puts there."""
    path.parent.mkdir(parents=True)
    checkpoint = {
        "network_weights": weights,
        "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01, "params": [0, 1]}]},
        "grad_scaler_state": None,
        "logging": {
            "mean_fg_dice": [np.float64(0.5), np.float32(0.25)],
            "dice_per_class_or_region": [[np.float64(0.5), np.float64(0.4)]],
            "epoch_start_timestamps": [1.7e9],
        },
        "_best_ema": np.float64(0.5),
        "current_epoch": 1,
        "init_args": {
            "plans": plans(setting),
            "configuration": setting.configuration,
            "fold": 0,
            "dataset_json": dataset(setting),
            "device": torch.device("cpu"),
        },
        "trainer_name": trainer,
        "inference_allowed_mirroring_axes": setting.mirrored,
    }
    torch.save(checkpoint, path)


def _weights(described: dict[str, Any], setting: Setting, seed: int, steps: int) -> dict[str, Any]:
    read = read_plans(described, dataset(setting), setting.configuration, "the test's plans")
    torch.manual_seed(seed)
    network = build_network(read.network)
    trained = assembly.assemble(lambda: network, 1, read.input_spec.regions)
    if steps:
        volume, labels = image(setting)
        _train(trained, read.input_spec, read.patch_size, volume, labels, steps)
    return network.state_dict()


def _train(
    network: torch.nn.Module,
    grid: InputSpec,
    size: Sequence[int],
    volume: Volume,
    labels: np.ndarray,
    steps: int,
) -> None:
    conformed = conform(volume, grid)
    images = torch.from_numpy(conformed.array).movedim(1, 0 if grid.is_2d else 1)
    truth = torch.from_numpy(conform_labels(labels, conformed).astype(np.int64))
    if not grid.is_2d:
        images, truth = images[None], truth[None]
    lack = [max(n - have, 0) for n, have in zip(size, truth.shape[1:], strict=True)]
    pads = [side for n in reversed(lack) for side in (n // 2, n - n // 2)]
    images, truth = (torch.nn.functional.pad(t, pads) for t in (images, truth))
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        which = rng.integers(len(images), size=2)
        start = [int(rng.integers(have - n + 1))
                 for n, have in zip(size, truth.shape[1:], strict=True)]  # fmt: skip
        window = tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))
        loss = segmentation_loss(
            network(images[(which, slice(None), *window)]), truth[(which, *window)]
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
