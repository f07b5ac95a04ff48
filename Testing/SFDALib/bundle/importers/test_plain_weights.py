"""A state dict with a description that a person wrote becomes a bundle, or is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks.nets import UNet
from refusals import refusal

from SFDALib.__main__ import main
from SFDALib.bundle.configuration import TEMPLATE, describe
from SFDALib.bundle.importers.plain_weights import PlainWeights
from SFDALib.bundle.open_model import open_model
from SFDALib.bundle.source import Source

SMALL = {**TEMPLATE["network"], "channels": [4, 8], "strides": [2]}


@pytest.fixture
def description(tmp_path: Path) -> Path:
    """The template, filled in."""
    path = tmp_path / "description.json"
    assert main(["import-model", "--template", str(path)]) == 0
    return _change(path, network=SMALL)


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    return UNet(**{key: value for key, value in SMALL.items() if key != "_target_"}).state_dict()


def _change(path: Path, **fields: Any) -> Path:
    path.write_text(
        json.dumps({**json.loads(path.read_text(encoding="utf-8")), **fields}), encoding="utf-8"
    )
    return path


def read(weights: Path, description: Path) -> Source:
    return PlainWeights(weights, description).load(torch.device("cpu"))


def test_the_template_is_a_description_itself() -> None:
    assert describe(TEMPLATE).labels[0].name == "Liver"


def test_a_template_never_overwrites_a_file(description: Path) -> None:
    before = description.read_text(encoding="utf-8")
    assert main(["import-model", "--template", str(description)]) == 2
    assert description.read_text(encoding="utf-8") == before


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"state_dict": weights, "epoch": 7},
        lambda weights: {"model_state_dict": {f"module.{k}": v for k, v in weights.items()}},
        lambda weights: {f"_orig_mod.{k}": v for k, v in weights.items()},
    ],
)
def test_weights_are_found_where_trainings_put_them(
    tmp_path: Path, description: Path, weights: dict[str, torch.Tensor], wrap: Callable[..., Any]
) -> None:
    torch.save(wrap(weights), tmp_path / "weights.pt")
    bundle = tmp_path / "bundle"
    words = ["--describe", str(description), "--output", str(bundle)]
    assert main(["import-model", str(tmp_path / "weights.pt"), *words]) == 0
    loaded = open_model(bundle).load(torch.device("cpu"))
    assert loaded.description.name == TEMPLATE["name"]
    for key, value in loaded.network.state_dict().items():
        assert torch.equal(value, weights[key])


def test_weights_without_a_description_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], weights: dict[str, torch.Tensor]
) -> None:
    torch.save(weights, tmp_path / "weights.pt")
    words = [str(tmp_path / "weights.pt"), "--output", str(tmp_path / "bundle")]
    assert main(["import-model", *words]) == 2
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"spacing": [1.5, 0, 1.5]}, 'field "spacing"'),
        ({"patch": [96, 96, 96]}, 'the field "patch"'),
        ({"network": {**SMALL, "_target_": "os.system"}}, "not on the list of networks"),
        ({"normalisation": {"kind": "fixed", "std": 0}}, "std > 0"),
        ({"labels": []}, 'field "labels"'),
    ],
)
def test_a_wrong_description_is_refused_by_file_and_field(
    tmp_path: Path,
    description: Path,
    weights: dict[str, torch.Tensor],
    fields: dict[str, Any],
    words: str,
) -> None:
    torch.save(weights, tmp_path / "weights.pt")
    _change(description, **fields)
    line = refusal(lambda: read(tmp_path / "weights.pt", description))
    assert str(description) in line and words in line


def test_weights_of_another_network_are_refused(
    tmp_path: Path, description: Path, weights: dict[str, torch.Tensor]
) -> None:
    weights.pop(next(iter(weights)))
    torch.save(weights, tmp_path / "weights.pt")
    line = refusal(lambda: read(tmp_path / "weights.pt", description))
    assert str(tmp_path / "weights.pt") in line and "1 missing" in line


def test_a_pickled_model_is_refused_and_does_not_run(tmp_path: Path, description: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"state_dict": Evil()}, tmp_path / "weights.pt")
    line = refusal(lambda: read(tmp_path / "weights.pt", description))
    assert "nothing in it was executed" in line and not (tmp_path / "ran").exists()
