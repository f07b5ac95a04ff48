"""For pytest: the application, a clean scene for each test, and letting the application work."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import slicer_standin

FOUR_UP = 3  # vtkMRMLLayoutNode.SlicerLayoutFourUpView
MODULE = Path(__file__).resolve().parents[3] / "SFDASegmenter" / "SFDASegmenter.py"


@pytest.fixture(scope="session")
def slicer_app() -> Any:
    """The stand-in with the module loaded; skips where it cannot run."""
    reason = slicer_standin.missing()
    if reason:
        pytest.skip(f"the stand-in for Slicer: {reason}")
    slicer = slicer_standin.start()
    from slicer_standin import modules

    modules.load_scripted_module(MODULE)
    return slicer.app


@pytest.fixture
def scene(slicer_app: Any) -> Iterator[Any]:
    """An empty scene; afterwards no slot may have raised and no error may be in the log."""
    import slicer

    from slicer_standin import application, dialect, error_log, ownership
    from slicer_standin.window import SIZE, settle

    slicer.mrmlScene.Clear()
    slicer.app.layoutManager().setLayout(FOUR_UP)
    settle()
    application.window().window.resize(*SIZE)
    settle()
    slicer.app.settings().clear()
    for kept in (dialect.slot_errors, application.dialogs, application.answers, error_log.errors):
        kept.clear()
    yield slicer.mrmlScene
    slicer.mrmlScene.Clear()
    slicer.app.processEvents()
    ownership.forget()
    assert dialect.slot_errors == [], "a slot raised"
    assert error_log.errors == [], "errors in the log"
    assert not application.answers, "a question was not asked"


@pytest.fixture
def expected_errors(scene: Any) -> Callable[[], list[str]]:
    """``expected_errors()`` takes the errors out of the log, in a test that provokes them."""
    from slicer_standin import error_log

    return error_log.take


@pytest.fixture
def pump(slicer_app: Any) -> Callable[..., None]:
    """``pump(until, seconds)`` lets the application work until something is true."""

    def work(until: Callable[[], Any], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end, f"not within {seconds} s"
            slicer_app.processEvents()
            time.sleep(0.005)

    return work
