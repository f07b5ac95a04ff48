"""The warnings of a run about its images, while it runs and after it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from panel_bench import FOR_EVER, settle


def test_what_is_doubtful_of_the_image_is_told_while_it_runs_and_not_of_a_cancelled_run(
    panel: Any,
    fill: Callable[..., Any],
    start: Callable[[], Any],
    pump: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from slicer_standin import user

    monkeypatch.setenv("SFDA_WARNINGS", "The gantry was tilted.\nThe image is inverted.")
    fill("adami", epochs=FOR_EVER)
    ended = start()
    ui = panel.ui
    assert ui.messageFrame.visible
    assert ui.messageLabel.text == "The gantry was tilted. (and 1 more)"
    assert ui.logButton.visible
    user.click(ui.applyButton)
    pump(lambda: not panel.logic.running and ended.ended, 60)
    assert not ui.messageFrame.visible


def test_what_is_doubtful_of_the_image_stays_in_sight_after_the_run(
    panel: Any, fill: Callable[..., Any], run: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import slicer

    monkeypatch.setenv("SFDA_WARNINGS", "The image is inverted.")
    fill("none")
    assert run().state.value == "done"
    assert panel.ui.messageLabel.text == "The image is inverted."
    assert panel.ui.messageFrame.visible and not panel.ui.logButton.visible
    slicer.mrmlScene.Clear()
    settle()
    assert not panel.ui.messageFrame.visible


def test_of_several_images_a_warning_names_its_own_once(
    slicer_app: Any, scene: Any, head_bundle: Path, head_file: Path
) -> None:
    import slicer
    from SFDASegmenterLib import staging
    from SFDASegmenterLib.request import Request
    from SFDASegmenterLib.runs import Run

    volumes = [slicer.util.loadVolume(str(head_file), {"name": name}) for name in ("one", "two")]
    said = {"event": "warning", "image": "0002_two.nrrd", "text": "0002_two.nrrd is inverted."}
    worker = SimpleNamespace(status=lambda: None, events=lambda: [said, said], end=lambda: None)
    images = tuple(staging.image_of([volume]) for volume in volumes)
    run = Run(Request(images, str(head_bundle), "none"), start=lambda _words: worker)
    run.advance()
    assert run.warnings == ["two: two is inverted."]
    run.abandon()
