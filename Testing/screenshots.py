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

import slicer_standin

ROOT = Path(__file__).resolve().parent.parent
MODULE = ROOT / "SFDASegmenter" / "SFDASegmenter.py"
SAMPLE = MODULE.parent / "Resources" / "Samples" / "patient04_t2w.nii.gz"
WINDOW = (1280, 800)
PANEL_WIDTH = 400  # as narrow as people have it, with its scroll bar
CAPTION = "Drawn by MRML views of slicer-core and stand-in widgets, not by the application."
ONE_UP_RED = 6  # vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView
OPTIONS = {"steps": 10}
LIMIT = 1200  # seconds


class Window:
    """The application's window in outline: the panel at the left, the views at the right."""

    def __init__(self, panel: Any, size: tuple[int, int]) -> None:
        import qt

        self._size = size
        self._window = qt.QWidget()
        self._window.resize(*size)
        self._scroll = qt.QScrollArea(self._window)
        self._scroll.widgetResizable = True
        self._scroll.horizontalScrollBarPolicy = qt.Qt.ScrollBarAlwaysOff
        self._scroll.setWidget(panel)
        width, height = size
        self._scroll.setGeometry(0, 0, PANEL_WIDTH, height)
        self._views = qt.QLabel(self._window)
        self._views.setGeometry(PANEL_WIDTH, 0, width - PANEL_WIDTH, height)
        self._window.show()

    def save(self, path: Path, section: Any = None) -> None:
        """A picture of the window, scrolled so that a section is at the top."""
        import qt
        import slicer

        slicer.app.processEvents()
        bar = self._scroll.verticalScrollBar()
        bar.value = section.mapTo(self._scroll.widget(), qt.QPoint(0, 0)).y() if section else 0
        self._draw_views()
        slicer.app.processEvents()
        if not self._window.grab().save(str(path)):
            raise OSError(f"{path}: could not be written")
        print(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)

    def _draw_views(self) -> None:
        """The slice views of the layout, beside each other, under their names."""
        import qt
        import slicer
        from slicer_standin import views

        width, height = self._size[0] - PANEL_WIDTH, self._size[1]
        names = slicer.app.layoutManager().sliceViewNames()
        canvas = qt.QImage(width, height, qt.QImage.Format_RGB32)
        canvas.fill(qt.QColor(40, 40, 46))
        painter = qt.QPainter(canvas)
        painter.setPen(qt.QColor(225, 225, 225))
        header, footer, each = 24, 22, width // len(names)
        for place, name in enumerate(names):
            left = place * each
            shown = views.picture(name, each - 2, height - header - footer)
            painter.drawImage(left + 1, header, _image(shown))
            painter.drawText(left + 8, 17, TITLES.get(name, name))
        painter.drawText(8, height - 6, CAPTION)
        painter.end()
        self._views.setPixmap(qt.QPixmap.fromImage(canvas))


TITLES = {"Red": "Axial", "SFDASource": "S  Source model", "SFDAResult": "R  Result"}


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
    import qt
    import slicer
    from slicer_standin import modules

    modules.load_scripted_module(MODULE)
    widget = modules.widget("SFDASegmenter")
    slicer.app.layoutManager().layoutLogic().GetLayoutNode().SetViewArrangement(ONE_UP_RED)
    window = Window(widget.parent, WINDOW)
    volume = slicer.util.loadVolume(str(SAMPLE))
    widget.enter()
    panel = widget.panel
    ui = panel.ui
    ui.inputVolumeSelector.setCurrentNode(volume)
    panel.input._choose_example()
    ui.methodComboBox.currentIndex = ui.methodComboBox.findData("heal")
    wait(lambda: "about" in ui.estimateLabel.text)
    window.save(folder / "panel_before.png")

    for name, value in OPTIONS.items():
        ui.optionsWidget.findChild(qt.QWidget, f"option_{name}").value = value
    ui.applyButton.click()
    run = panel._logic.run
    wait(lambda: run.ended or (run.progress.stage == "sampling" and run.progress.step > 8))
    window.save(folder / "panel_running.png")

    wait(lambda: run.ended)
    if run.state.value != "done":
        raise RuntimeError(run.message)
    ui.bothRadio.click()
    ui.nigCheckBox.checked = True
    window.save(folder / "panel_heal.png", ui.resultsSection)
    ui.sampleCheckBox.checked = True
    ui.resultRadio.click()
    window.save(folder / "panel_sample.png", ui.resultsSection)
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
