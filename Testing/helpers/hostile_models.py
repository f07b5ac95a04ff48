"""Hostile files of models from elsewhere, as ``hostile.py`` has them of everything else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hostile import Files, Reader, as_json, damaged, edited, saved, tensors
from hypothesis import strategies as st
from monai_models import CONFIGURATIONS, metadata, network
from nnunet_models import SETTINGS, Setting, dataset, plans, write_model

from SFDALib.bundle.configuration import TEMPLATE
from SFDALib.bundle.importers.plain_weights import PlainWeights
from SFDALib.bundle.open_model import open_model
from SFDALib.jobs.inspect import in_words
from SFDALib.jobs.inspect import inspect as inspect_model
from SFDALib.networks.build import build_network

MODEL = "nnUNetTrainer__nnUNetPlans__{}"
CHECKPOINT = "fold_0/checkpoint_final.pth"
SMALL = {**TEMPLATE, "network": {**TEMPLATE["network"], "channels": [4, 8], "strides": [2]}}
SMALL_NETWORK = {**SMALL["network"], "_target_": "UNet"}


def readers(place: Path) -> dict[str, Reader]:
    """All of them, by name; the valid files that they start from are made below ``place``."""
    flat = SETTINGS["2d plain, thick slices"]
    write_model(place / "nnunet", flat)
    checkpoint = torch.load(place / "nnunet" / CHECKPOINT, weights_only=False)
    every = [
        Reader("nnU-Net plans", st.one_of(*map(_plans, SETTINGS.values())), _described),
        Reader("nnU-Net dataset", st.one_of(*map(_dataset, SETTINGS.values())), _described),
        Reader("nnU-Net checkpoint", _checkpoints(flat, checkpoint), _read),
        Reader("MONAI inference", st.one_of(*map(_inference, CONFIGURATIONS)), _described),
        Reader("MONAI metadata", st.one_of(*map(_metadata, CONFIGURATIONS)), _described),
        Reader("plain description", _descriptions(), _plain),
    ]
    return {reader.name: reader for reader in every}


def _nnunet(
    setting: Setting, plans_: bytes, dataset_: bytes, checkpoint: bytes = b""
) -> dict[str, bytes]:
    files = {"plans.json": plans_, "dataset.json": dataset_, CHECKPOINT: checkpoint}
    folder = MODEL.format(setting.configuration)
    return {f"{folder}/{name}": content for name, content in files.items()}


def _plans(setting: Setting) -> st.SearchStrategy[Files]:
    described = as_json(dataset(setting))
    every = edited(plans(setting)) | edited(plans(setting, old=True))
    return every.map(lambda content: _nnunet(setting, content, described))


def _dataset(setting: Setting) -> st.SearchStrategy[Files]:
    planned = as_json(plans(setting))
    return edited(dataset(setting)).map(lambda content: _nnunet(setting, planned, content))


def _checkpoints(setting: Setting, good: Mapping[str, Any]) -> st.SearchStrategy[Files]:
    """Checkpoints with a wrong entry, at the top or among the weights, and damaged ones."""
    weights = good["network_weights"]

    def build(name: str, value: Any, legacy: bool, protocol: int) -> bytes:
        changed = (
            {**good, "network_weights": {**weights, name: value}}
            if name in weights
            else {**good, name: value}
        )
        return saved(changed, legacy, protocol)

    names = st.sampled_from([*good]) | st.sampled_from([*weights])
    values = tensors(next(iter(weights.values())))
    wrong = st.builds(build, names, values, st.booleans(), st.sampled_from([2, 2, 2, 4]))
    contents = wrong | damaged(saved(dict(good), False, 2))
    planned, described = as_json(plans(setting)), as_json(dataset(setting))
    return contents.map(lambda content: _nnunet(setting, planned, described, content))


def _monai(metadata_: bytes, inference: bytes) -> Files:
    files = {"configs/metadata.json": metadata_, "configs/inference.json": inference}
    return {**files, "models/model.pt": b""}


def _inference(name: str) -> st.SearchStrategy[Files]:
    told = as_json(metadata(name))
    return edited(CONFIGURATIONS[name]).map(lambda content: _monai(told, content))


def _metadata(name: str) -> st.SearchStrategy[Files]:
    config = as_json(CONFIGURATIONS[name])
    return edited(metadata(name)).map(lambda content: _monai(content, config))


def _descriptions() -> st.SearchStrategy[Files]:
    weights = saved(network({"network_def": SMALL_NETWORK}).state_dict(), False, 2)
    return edited(SMALL).map(lambda content: {"x.json": content, "x.pt": weights})


def _inside(folder: Path) -> Path:
    """The nnU-Net model in the folder, or the folder itself."""
    return next(iter(sorted(folder.glob("nnUNet*"))), folder)


def _described(folder: Path) -> None:
    in_words(inspect_model(_inside(folder)))
    build_network(open_model(_inside(folder)).describe().network)


def _read(folder: Path) -> None:
    open_model(_inside(folder)).load(torch.device("cpu"))


def _plain(folder: Path) -> None:
    PlainWeights(folder / "x.pt", folder / "x.json").load(torch.device("cpu"))
