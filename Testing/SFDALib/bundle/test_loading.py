"""A loaded model is frozen, and MONAI builds the same networks from the bundle."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from bundles import write_bundle
from checked_bundles import (
    CPU,
    DESCRIPTIONS,
    INFERENCE,
    METADATA,
    MODEL,
    load,
)
from monai.bundle import ConfigParser

from SFDALib.bundle import bundle_files
from SFDALib.bundle.open_model import open_model


def test_a_loaded_model_is_ready_to_infer_and_not_to_train(tiny_bundle: Path) -> None:
    model = load(tiny_bundle)
    for network in (model.network, model.early_head, model.diffusion):
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())
    assert open_model(tiny_bundle).load(CPU, diffusion=False).diffusion is None


@pytest.mark.parametrize("name", ["2D, binary", "3D, three classes", "3D DynUNet"])
def test_monai_builds_the_networks_and_plain_torch_loads_the_weights(
    tmp_path: Path, name: str
) -> None:
    path = write_bundle(tmp_path / "bundle", DESCRIPTIONS[name])
    parser = ConfigParser()
    parser.read_meta(path / METADATA)
    parser.read_config(path / INFERENCE)
    assert parser.get("_meta_")["sfda"]["patch_size"] == list(DESCRIPTIONS[name].patch_size)
    model = load(path)
    for key, file, ours in (
        ("network_def", MODEL, model.network),
        ("diffusion_def", bundle_files.DIFFUSION, model.diffusion),
    ):
        theirs = parser.get_parsed_content(key)
        assert type(theirs) is type(ours)
        theirs.load_state_dict(torch.load(path / file, weights_only=True), strict=True)
        theirs.eval()
        for a, b in zip(theirs.parameters(), ours.parameters(), strict=True):
            assert torch.equal(a, b)
    image = torch.rand(1, 1, *DESCRIPTIONS[name].patch_size)
    theirs = parser.get_parsed_content("network_def").eval()
    theirs.load_state_dict(torch.load(path / MODEL, weights_only=True))
    assert torch.equal(theirs(image), model.network(image))
