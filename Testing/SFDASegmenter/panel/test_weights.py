"""Weights without a description in the panel, with real commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from panel_bench import choose_model


def test_weights_alone_are_described_filled_in_and_made_a_bundle(
    panel: Any,
    real_jobs: None,
    pump: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import qt
    import torch
    from slicer_standin import user

    from SFDALib.networks.build import build_network

    opened = []
    monkeypatch.setattr(
        qt.QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile())
    )
    definition = {
        **{"_target_": "monai.networks.nets.UNet", "spatial_dims": 3, "in_channels": 1},
        **{"out_channels": 2, "channels": [4, 8], "strides": [2]},
    }
    torch.save(build_network(definition).state_dict(), tmp_path / "liver.pt")
    ui, description = panel.ui, tmp_path / "liver.json"
    assert not ui.weightsButton.visible
    choose_model(panel, tmp_path / "liver.pt")
    assert ui.weightsButton.visible
    assert ui.weightsButton.text == "Write a description"
    assert "liver.json" in ui.weightsLabel.text
    assert not ui.applyButton.enabled

    user.click(ui.weightsButton)
    pump(lambda: opened, 240)
    assert opened == [str(description)]
    assert ui.weightsButton.text == "Make a bundle"

    user.click(ui.weightsButton)  # as the template is, it describes another network
    pump(lambda: ui.weightsButton.enabled, 240)
    assert "missing" in ui.messageLabel.text
    assert "liver.pt" in ui.messageLabel.text
    assert not (tmp_path / "liver-bundle").exists()

    filled = {**json.loads(description.read_text()), "network": definition}
    description.write_text(json.dumps(filled))
    user.click(ui.weightsButton)
    pump(lambda: not ui.weightsButton.visible, 240)
    assert ui.bundlePathEdit.currentPath == str(tmp_path / "liver-bundle")
    assert "Liver" in ui.bundleFactsLabel.text
    assert not ui.messageFrame.visible
