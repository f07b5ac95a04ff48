"""What a user does in the self-test: load the sample, fill the panel, run, and wait."""

from __future__ import annotations

import json
import time
from typing import Any

import slicer
import vtk

from SFDASegmenterLib import library, staging
from SFDASegmenterLib.request import Request
from SFDASegmenterLib.runs import State

MOMENT = 0.5  # seconds
LIMIT = 1200  # seconds that a job may take on a slow machine
SHORT: dict[str, dict[str, int]] = {"heal": {"samples": 2, "steps": 5}, "adami": {"epochs": 1}}


def load_sample() -> Any:
    """The first shipped volume, loaded."""
    listed = json.loads((library.SAMPLES / "samples.json").read_text(encoding="utf-8"))
    return slicer.util.loadVolume(str(library.SAMPLES / listed["cases"][0]["image"]))


def open_panel() -> Any:
    """The panel as it is after the user opened the module."""
    widget = slicer.util.getModuleWidget("SFDASegmenter")
    widget.enter()
    return widget.panel


def fill(panel: Any, volume: Any, method: str) -> None:
    """Choose everything through the widgets, with options that make the job short."""
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    panel.ui.bundlePathEdit.currentPath = str(library.EXAMPLE_BUNDLE)
    panel.ui.methodComboBox.currentIndex = panel.ui.methodComboBox.findData(method)
    for name, value in SHORT[method].items():
        panel.method.field(name).value = value


def run_to_the_end(panel: Any) -> None:
    """Press the button, and wait until the results are there."""
    panel.ui.applyButton.click()
    if panel.ui.applyButton.text != "Cancel":
        raise AssertionError(f"not started: {panel.ui.messageLabel.text}")
    wait(lambda: not panel.logic.running)
    if panel.logic.run.state.value != State.DONE.value:  # a reload makes the class anew
        raise AssertionError(f"{panel.logic.run.state}: {panel.ui.messageLabel.text}")


def plane(logic: Any) -> list[float]:
    """The plane of a slice view, rounded."""
    elements = slicer.util.arrayFromVTKMatrix(logic.GetSliceNode().GetSliceToRAS())
    return [round(float(value), 3) for value in elements.ravel()]


def wait_a_moment() -> None:
    """Let views get their size, and what waits for it be done."""
    end = time.monotonic() + MOMENT
    wait(lambda: time.monotonic() > end)


def request_for(volume: Any, method: str) -> Request:
    """What ``fill`` asks for, without the panel."""
    image = staging.image_of([volume])
    return Request((image,), str(library.EXAMPLE_BUNDLE), method, SHORT[method])


def wait(until: Any) -> None:
    """Let the application work until something is true."""
    end = time.monotonic() + LIMIT
    while not until():
        slicer.app.processEvents()
        time.sleep(0.01)
        if time.monotonic() > end:
            raise AssertionError(f"not within {LIMIT} s")


def matrix(node: Any) -> list[float]:
    """The IJK-to-RAS matrix of a volume, rounded."""
    found = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(found)
    return [round(float(value), 4) for value in slicer.util.arrayFromVTKMatrix(found).ravel()]
