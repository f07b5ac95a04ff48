"""Draws the README's pictures of the panel: before a run, while it runs, and HEAL's results.

The unmodified module and its .ui in the stand-in for Slicer: stand-in widgets, and slices drawn by
slicer-core's own MRML views. Not the application, and each picture says so.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "Testing"), str(ROOT / "Testing" / "helpers")]
import slicer_standin  # noqa: E402

MODULE = ROOT / "SFDASegmenter" / "SFDASegmenter.py"
SAMPLE = MODULE.parent / "Resources" / "Samples" / "patient04_t2w.nii.gz"
SIZE = (1280, 800)
CAPTION = "Drawn by MRML views of slicer-core and stand-in widgets, not by the application."
FOUR_UP = 3  # vtkMRMLLayoutNode.SlicerLayoutFourUpView
OPTIONS = {"samples": 2, "steps": 5}
LIMIT = 7200  # seconds


def save(path: Path) -> None:
    """A picture of the window, with what its slice views show."""
    import qt
    from slicer_standin import application
    from slicer_standin.window import View, settle

    settle()
    window = application.window().window
    picture = window.grab()
    if (picture.width(), picture.height()) != SIZE:
        raise RuntimeError(f"the window has grown to {picture.width()} x {picture.height()}")
    painter = qt.QPainter(picture)
    for view in window.findChildren(View):
        if view.visible:
            _draw_view(painter, view, view.mapTo(window, qt.QPoint(0, 0)))
    painter.setPen(qt.QColor(90, 90, 90))
    painter.drawText(8, SIZE[1] - 40, 384, 34, int(qt.Qt.TextWordWrap), CAPTION)
    painter.end()
    if not picture.save(str(path)):
        raise OSError(f"{path}: could not be written")
    print(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def _draw_view(painter: Any, view: Any, place: Any) -> None:
    """One view: its bar with its label, what it shows, and its name at the top edge."""
    import qt
    import slicer
    import vtk
    from slicer_standin import views
    from slicer_standin.window import CONTROLLER

    node, left, top = view.node, place.x(), place.y()
    width, height = view.width, view.height
    painter.fillRect(left, top, width, height, qt.QColor(40, 40, 46))
    is_slice = node.IsA("vtkMRMLSliceNode")
    color = [round(255 * part) for part in node.GetLayoutColor()]
    painter.fillRect(left + 1, top + 1, width - 2, CONTROLLER - 1, qt.QColor(*color))
    painter.setPen(qt.QColor(20, 20, 20))
    painter.drawText(left + 8, top + 16, node.GetLayoutLabel())
    painter.setPen(qt.QColor(235, 235, 235))
    if not is_slice:
        painter.drawText(left + 8, top + 40, "(not drawn here)")
        return
    name = node.GetLayoutName()
    painter.drawImage(left + 1, top + CONTROLLER, _image(views.picture(name)))
    annotation = slicer.app.layoutManager().sliceWidget(name).sliceView().cornerAnnotation()
    title = annotation.GetText(vtk.vtkCornerAnnotation.UpperEdge) or ""
    box = (left, top + CONTROLLER + 4, width, 20)
    painter.drawText(*box, int(qt.Qt.AlignCenter), title)


def _image(data: Any) -> Any:
    """vtkImageData with RGB as QImage; VTK's first row is the lowest."""
    import qt
    from vtk.util import numpy_support

    width, height, _ = data.GetDimensions()
    pixels = numpy_support.vtk_to_numpy(data.GetPointData().GetScalars())
    rows = pixels.reshape(height, width, -1)[::-1, :, :3].copy()
    return qt.QImage(rows.tobytes(), width, height, 3 * width, qt.QImage.Format_RGB888).copy()


def wait(until: Callable[[], Any]) -> None:
    """Let the application work until something is true."""
    import slicer

    end = time.monotonic() + LIMIT
    while not until():
        slicer.app.processEvents()
        time.sleep(0.01)
        if time.monotonic() > end:
            raise TimeoutError(f"not within {LIMIT} s")


def draw(folder: Path) -> None:
    """Run HEAL on the sample through the panel and take the pictures on the way."""
    import slicer
    from slicer_standin import application, modules
    from slicer_standin.window import settle

    modules.load_scripted_module(MODULE)
    application.window().window.resize(*SIZE)
    slicer.app.layoutManager().setLayout(FOUR_UP)
    settle()
    volume = slicer.util.loadVolume(str(SAMPLE))
    for view in slicer.app.layoutManager().sliceViewNames():
        logic = slicer.app.applicationLogic().GetSliceLogicByLayoutName(view)
        logic.GetSliceNode().RotateToVolumePlane(volume)
        logic.FitSliceToBackground()
    widget = modules.select("SFDASegmenter")
    panel = widget.panel
    ui = panel.ui
    panel.input.choose_example()
    wait(lambda: "of memory" in ui.estimateLabel.text)
    save(folder / "panel_before.png")

    ui.methodComboBox.currentIndex = ui.methodComboBox.findData("heal")
    for name, value in OPTIONS.items():
        panel.method.field(name).value = value

    ui.applyButton.click()
    run = panel.logic.run
    wait(lambda: run.ended or (run.progress.stage == "sampling" and run.progress.step > 8))
    save(folder / "panel_running.png")

    wait(lambda: run.ended)
    if run.state.value != "done":
        raise RuntimeError(run.message)
    save(folder / "panel_heal.png")
    ui.bothRadio.click()
    panel.results.maps.rows["nig_uncertainty"].box.click()
    ui.whyButton.click()
    save(folder / "panel_both.png")
    ui.whyButton.click()
    panel.results.maps.rows["sample"].box.click()
    ui.resultRadio.click()
    save(folder / "panel_sample.png")
    widget.exit()
    modules.close(widget)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--output", type=Path, default=ROOT / "Testing" / "pictures")
    folder = parser.parse_args().output
    reason = slicer_standin.missing() or slicer_standin.rendering()
    if reason:
        print(f"The pictures cannot be drawn here: {reason}", file=sys.stderr)
        return 2
    slicer_standin.start()
    folder.mkdir(parents=True, exist_ok=True)
    draw(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
