"""What the panel's tests share: the panel in the application's window, and what a user does."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

FOR_EVER = "500"  # epochs of AdaMI: it would never end by itself
LIMIT = 120  # seconds that a job may take here


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every process that is started during a test."""
    started: list[Any] = []

    class Noted(subprocess.Popen):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    return started


@pytest.fixture
def panel(slicer_app: Any, scene: Any, recorded_jobs: Path, processes: list[Any]) -> Iterator[Any]:
    """The panel after the user opened the module; closed as the application closes it."""
    import slicer
    from slicer_standin import modules

    widget = modules.select("SFDASegmenter")
    yield widget.panel
    widget = modules.widget("SFDASegmenter")  # a test may have reloaded the module
    widget.exit()
    modules.close(widget)
    assert not list(Path(slicer.app.temporaryPath).glob("SFDA-*")), "a run left its files"
    assert all(process.poll() is not None for process in processes), "a process was left"


@pytest.fixture
def fill(panel: Any, head_bundle: Path, head_file: Path) -> Callable[..., Any]:
    """Chooses the head's volume and bundle, a method and its options, as a user does."""
    import slicer

    def choose(method: str, **options: str) -> Any:
        volume = slicer.util.loadVolume(str(head_file))
        choose_model(panel, head_bundle)
        choose_volume(panel, volume)
        choose_method(panel, method, **options)
        return volume

    return choose


@pytest.fixture
def asked(panel: Any) -> list[list[str]]:
    """What the panel asks of the library for its estimates: words of the command line."""
    questions: list[list[str]] = []
    services = panel.device.services

    def ask(words: list[str]) -> Any:
        questions.append(words)
        return services.ask(words)

    panel.device.services = replace(services, ask=ask)
    return questions


@pytest.fixture
def run(panel: Any, pump: Callable[..., None]) -> Callable[[], Any]:
    """Presses the button and waits for the end of the run, which it returns."""
    from slicer_standin import user

    def press() -> Any:
        user.click(panel.ui.applyButton)
        assert panel.ui.applyButton.text == "Cancel", panel.ui.messageLabel.text
        pump(lambda: not panel.logic.running, LIMIT)
        settle()
        return panel.logic.run

    return press


@pytest.fixture
def start(panel: Any, pump: Callable[..., None]) -> Callable[[], Any]:
    """Presses the button and waits until the run adapts."""
    from slicer_standin import user

    def press() -> Any:
        user.click(panel.ui.applyButton)
        started = panel.logic.run
        pump(lambda: started.progress.stage == "adapting", LIMIT)
        return started

    return press


def settle() -> None:
    from slicer_standin import window

    window.settle()


def choose_model(panel: Any, path: Path | str) -> None:
    from slicer_standin import user

    user.unfold(panel.ui.inputSection)
    user.write(panel.ui.bundlePathEdit, str(path))


def choose_volume(panel: Any, volume: Any) -> None:
    from slicer_standin import user

    user.unfold(panel.ui.inputSection)
    user.choose(panel.ui.inputVolumeSelector, volume.GetName())


def choose_method(panel: Any, method: str, **options: str) -> None:
    from slicer_standin import user

    from SFDALib.methods import registry

    user.unfold(panel.ui.inputSection)
    user.choose(panel.ui.methodComboBox, registry.find(method).title)
    for name, text in options.items():
        set_option(panel, name, text)


def offered(panel: Any) -> list[Any]:
    """The methods that are not greyed."""
    from SFDASegmenterLib.panel.method import FLAGS

    from SFDALib.methods import registry

    combo = panel.ui.methodComboBox
    return [
        registry.find(combo.itemData(index))
        for index in range(combo.count)
        if combo.itemData(index, FLAGS)
    ]


def set_option(panel: Any, name: str, text: str) -> None:
    """In the field under Advanced; a check box is clicked."""
    from slicer_standin import user

    user.unfold(panel.ui.advancedSection)
    kind = panel.method.field(name).metaObject().className()
    if kind == "QCheckBox":
        user.click(panel.method.field(name))
    elif kind == "QComboBox":
        user.choose(panel.method.field(name), text)
    else:
        user.write(panel.method.field(name), text)


def compare(panel: Any, *methods: str) -> None:
    """Tick the comparison; of these methods alone, as if the source model could serve no other."""
    from slicer_standin import user

    if methods:
        panel.input.facts["methods"][:] = methods
    user.unfold(panel.ui.advancedSection)
    user.click(panel.ui.compareCheckBox)


def shown_in(node: Any, view: str) -> bool:
    """Whether a segmentation is to be seen in a slice view."""
    import slicer

    display, name = node.GetDisplayNode(), f"vtkMRMLSliceNode{view}"
    assert slicer.mrmlScene.GetNodeByID(name) is not None, view
    return bool(display.GetVisibility()) and display.IsDisplayableInView(name)
