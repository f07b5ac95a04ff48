"""Med-DDPM's published weights as a bundle's diffusion model: ``import-model --diffusion``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from bundles import describe, write_bundle
from original_weights import fixture_tensor, tiny_original_weights

from SFDALib.__main__ import main
from SFDALib.bundle.description import Description
from SFDALib.bundle.importers.guided_diffusion import weights_from_guided_diffusion
from SFDALib.bundle.open_model import open_model
from SFDALib.networks.diffusion_unet import ConditionalDiffusionUNet
from SFDALib.networks.med_ddpm import MED_DDPM_PRESETS

TINY = {
    "spatial_dims": 3,
    "image_channels": 1,
    "condition_channels": 2,
    "channels": [32, 64],
    "num_res_blocks": 1,
    "attention_levels": [False, True],
    "num_head_channels": [0, 64],
}


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint as Med-DDPM's training writes it, of networks as small as the fixture's."""
    for name, encoding in (("med-ddpm-128", "signed"), ("med-ddpm-brats", "exclusive")):
        monkeypatch.setitem(MED_DDPM_PRESETS, name, {**TINY, "condition_encoding": encoding})
    original = {f"denoise_fn.{name}": x for name, x in tiny_original_weights().items()}
    average = {**original, "betas": torch.zeros(250)}
    last = {name: torch.zeros_like(x) for name, x in average.items()}
    torch.save({"step": 7, "model": last, "ema": average}, tmp_path / "model.pt")
    return tmp_path / "model.pt"


def run(weights: Path, preset: str, description: Description, *words: str) -> int:
    bundle = weights.parent / "bundle"
    if not bundle.exists():
        write_bundle(bundle, description)
    files = [str(weights), "--bundle", str(bundle), "--output", str(weights.parent / "out")]
    return main(["import-model", "--diffusion", preset, *files, *words])


@pytest.mark.parametrize("preset", ["med-ddpm-128", "med-ddpm-brats"])
def test_the_imported_network_predicts_what_the_original_does_for_its_own_conditions(
    weights: Path, preset: str
) -> None:
    """Whole heads: (head without tumour, tumour), -1 or 1; BraTS: (tumour, brain without it)."""
    assert run(weights, preset, describe(3, 2)) == 0
    model = open_model(weights.parent / "out").load(torch.device("cpu"))
    about = model.description.diffusion
    assert about.foreground and not about.source_only and about.timesteps == 250
    assert about.spacing == (1, 1, 1)
    x = fixture_tensor("tiny_input")[:, :1]
    tumour, body = torch.zeros_like(x), torch.zeros_like(x)
    body[..., 1:-1, 1:-1] = 1
    tumour[..., 2:4, 2:4] = 1
    alone = body - tumour
    signed = preset == "med-ddpm-128"
    theirs = torch.cat([2 * alone - 1, 2 * tumour - 1] if signed else [tumour, alone], dim=1)
    original = ConditionalDiffusionUNet(**TINY)
    original.load_state_dict(weights_from_guided_diffusion(tiny_original_weights(), original))
    t = torch.tensor([17])
    with torch.no_grad():
        found = model.diffusion(x, t, torch.cat([tumour, body], dim=1))
        expected = original(x, t, theirs)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_labels_of_another_order_have_their_own_channels(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nnU-Net's edema, 1, is BraTS's 2."""
    from SFDALib.bundle.importers import med_ddpm

    assert med_ddpm.condition_order(3, [(1, 2), (2, 1)], False) == [1, 0, 2, 3]
    assert med_ddpm.condition_order(3, [], False) == [0, 1, 2, 3]
    assert med_ddpm.condition_order(1, [], True) == [1, 0]


@pytest.mark.parametrize(
    ("description", "words", "expected"),
    [
        (describe(3, 3), (), "found a bundle of 1 image channel"),
        (describe(3, 2, 3), (), "found a bundle of 3 image channel"),
        (describe(2, 2), (), "expected a 3D one"),
        (describe(3, 2), ("--relabel", "1=2,2=1"), "--relabel"),
        (describe(3, 2), ("--relabel", "much"), "--relabel"),
    ],
)
def test_what_the_weights_are_not_for_is_refused_in_one_line(
    weights: Path, description: Any, words: tuple[str, ...], expected: str, caplog: Any
) -> None:
    assert run(weights, "med-ddpm-128", description, *words) == 2
    assert expected in caplog.text
    assert not (weights.parent / "out").exists()


def test_the_command_knows_every_published_network(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["import-model", "--help"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in MED_DDPM_PRESETS)
