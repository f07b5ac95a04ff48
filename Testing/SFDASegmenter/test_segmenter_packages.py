"""Packages that are missing, and installing them from the panel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def test_packages_are_asked_for_at_the_click_and_a_refusal_is_respected(
    panel: Any, fill: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from SFDASegmenterLib import dependencies
    from SFDASegmenterLib.dependencies import Missing
    from slicer_standin import application, user

    fill("none")
    monkeypatch.setattr(dependencies, "missing", lambda: Missing(True, ("monai>=1.5",)))
    application.answers.append(False)
    user.click(panel.ui.applyButton)
    question = application.dialogs[-1].text
    assert "PyTorch (200 MB" in question
    assert "monai" in question
    assert not panel.logic.running
    assert "Nothing was changed" in panel.ui.messageLabel.text
    assert panel.ui.wheelsButton.visible
    assert "--no-index" in panel.ui.wheelsButton.toolTip


def test_installing_packages_keeps_the_pytorch_that_is_there(
    slicer_app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib.metadata import version

    import slicer
    from SFDASegmenterLib import dependencies
    from SFDASegmenterLib.dependencies import Missing
    from slicer_standin import application

    lacking = [Missing(False, ("monai>=1.5",)), Missing(False, ())]
    monkeypatch.setattr(dependencies, "missing", lambda: lacking.pop(0))
    installed: list[list[str]] = []
    monkeypatch.setattr(slicer.util, "pip_install", installed.append)
    application.answers.append(True)
    dependencies.ensure()
    assert installed == [["monai>=1.5", f"torch=={version('torch')}"]]
