"""The views, sizes, keys and clicks of the stand-in for Slicer are those of the application."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def dialect(scene: Any) -> Any:
    from slicer_standin import dialect

    return dialect


@pytest.fixture
def window(scene: Any) -> Iterator[Any]:
    from slicer_standin import application

    yield application.window()
    application.window().panel.set_module(None)


@pytest.fixture
def volume(scene: Any) -> Any:
    """50 x 40 x 20 voxels of 1 mm."""
    import slicer

    return slicer.util.addVolumeFromArray(np.zeros((20, 40, 50), np.float32), name="volume")


# --- Views and the window ------------------------------------------------------------------------

TWO_VIEWS = (
    '<layout type="horizontal">'
    + "".join(
        f'<item><view class="vtkMRMLSliceNode" singletontag="{name}"></view></item>'
        for name in ("Bench1", "Bench2")
    )
    + "</layout>"
)


def test_a_new_view_has_no_size_until_the_event_loop_has_run(scene: Any, volume: Any) -> None:
    import slicer

    manager = slicer.app.layoutManager()
    node = manager.layoutLogic().GetLayoutNode()
    node.AddLayoutDescription(4711, TWO_VIEWS)
    manager.setLayout(4711)
    assert manager.sliceViewNames() == ("Bench1", "Bench2")
    logic = manager.sliceWidget("Bench1").sliceLogic()
    assert logic.GetSliceNode().GetDimensions() == (0, 0, 1)
    logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
    logic.FitSliceToBackground()
    assert not np.isfinite(logic.GetSliceNode().GetFieldOfView()).all(), "fitted to nothing"
    slicer.app.processEvents()
    width, height, _ = logic.GetSliceNode().GetDimensions()
    assert 330 <= width <= 440
    assert 700 <= height <= 800
    logic.FitSliceToBackground()
    assert logic.GetSliceNode().GetFieldOfView()[0] == pytest.approx(50, rel=0.01)


def test_a_chart_is_shown_where_the_layout_has_a_plot_view_by_then(scene: Any) -> None:
    import slicer

    manager, logic = slicer.app.layoutManager(), slicer.app.applicationLogic()
    for node in slicer.util.getNodesByClass("vtkMRMLPlotViewNode"):
        slicer.mrmlScene.RemoveNode(node)
    chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode")
    logic.GetSelectionNode().SetActivePlotChartID(chart.GetID())
    logic.PropagatePlotChartSelection()
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotView)
    assert manager.plotViewCount == 1
    assert manager.plotWidget(0).mrmlPlotViewNode().GetPlotChartNodeID() is None
    logic.PropagatePlotChartSelection()
    assert manager.plotWidget(0).mrmlPlotViewNode().GetPlotChartNodeID() == chart.GetID()


def test_without_a_main_window_there_are_no_views(scene: Any) -> None:
    import slicer

    options = slicer.app.commandOptions()
    options.noMainWindow = True
    try:
        assert slicer.app.layoutManager() is None
        assert slicer.util.mainWindow() is None
    finally:
        options.noMainWindow = False


def test_a_module_has_412_by_435_pixels_and_what_does_not_fit_widens_the_window(
    window: Any,
) -> None:
    import qt
    from slicer_standin.window import cut_texts, in_sight, settle

    module = qt.QWidget()
    column = qt.QVBoxLayout(module)
    labels = [qt.QLabel(f"line {number}") for number in range(60)]
    for label in labels:
        column.addWidget(label)
    window.panel.set_module(module)
    settle()
    assert (window.window.width, window.window.height) == (1280, 800)
    assert window.panel.height == 435
    assert window.panel.width == 412
    assert in_sight(labels[0])
    assert not in_sight(labels[-1])
    assert cut_texts(module) == []
    labels[0].setFixedWidth(10)
    settle()
    assert cut_texts(module) == ["line 0"]
    labels[1].setMinimumWidth(900)
    settle()
    assert window.panel.width > 900
    assert window.window.width > 1280
    window.panel.set_module(None)
    settle()
    window.window.resize(1280, 800)


def test_more_views_beside_each_other_than_fit_widen_the_window(window: Any) -> None:
    import slicer
    from slicer_standin.window import settle

    wide = TWO_VIEWS.replace("</layout>", "") + "".join(
        f'<item><view class="vtkMRMLSliceNode" singletontag="{name}"></view></item>'
        for name in ("Bench3", "Bench4")
    )
    manager = slicer.app.layoutManager()
    manager.layoutLogic().GetLayoutNode().AddLayoutDescription(4712, f"{wide}</layout>")
    manager.setLayout(4712)
    settle()
    assert window.window.width > 1280
    manager.setLayout(3)
    settle()
    window.window.resize(1280, 800)
    settle()
    assert window.window.width == 1280


# --- Keys and clicks -----------------------------------------------------------------------------


def test_keys_and_clicks_do_what_a_user_does(window: Any, dialect: Any) -> None:
    import qt
    from slicer_standin import user
    from slicer_standin.window import settle

    module = qt.QWidget()
    column = qt.QVBoxLayout(module)
    box, combo, line, check = qt.QSpinBox(), qt.QComboBox(), qt.QLineEdit(), qt.QCheckBox("tick")
    for word in ("first", "second", "third"):
        combo.addItem(word)
    for one in (box, combo, line, check):
        column.addWidget(one)
    left: list[str] = []
    line.connect("editingFinished()", lambda: left.append(line.text))
    window.panel.set_module(module)
    settle()
    user.write(box, "17")
    user.choose(combo, "third")
    user.write(line, "1e-4")
    user.click(check)
    assert (box.value, combo.currentText, line.text, check.checked) == (17, "third", "1e-4", True)
    assert left == ["1e-4"]
