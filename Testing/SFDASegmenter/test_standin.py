"""The stand-in for Slicer is as strict as the application, also where Qt and MRML alone are not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import pytest


@pytest.fixture
def dialect(scene: Any) -> Any:
    from slicer_standin import dialect

    return dialect


@pytest.fixture
def volume(scene: Any) -> Any:
    """50 x 40 x 20 voxels of 1 mm."""
    import slicer

    return slicer.util.addVolumeFromArray(np.zeros((20, 40, 50), np.float32), name="volume")


def told(dialect: Any) -> str:
    """What slots raised, which the test expects."""
    errors = "\n".join(str(error) for error in dialect.slot_errors)
    dialect.slot_errors.clear()
    return errors


# --- Qt as PythonQt shows it ---------------------------------------------------------------------


def test_what_is_empty_is_false_and_an_empty_layout_is_no_child(dialect: Any) -> None:
    import qt
    import slicer

    top = qt.QWidget()
    layout = qt.QVBoxLayout(top)
    layout.objectName = "rows"
    assert not layout
    assert not hasattr(slicer.util.childWidgetVariables(top), "rows")
    layout.addWidget(qt.QLabel("row"))
    assert layout
    assert slicer.util.childWidgetVariables(top).rows is layout
    for nothing in (qt.QIcon(), qt.QPixmap(), qt.QSize(0, 0), qt.QRect(), qt.QUrl(), qt.QColor()):
        assert not nothing
    for something in (qt.QWidget(), qt.QTableWidget(), qt.QButtonGroup(), qt.QSize(1, 1)):
        assert something


def test_an_object_is_an_instance_of_its_own_class_alone(dialect: Any) -> None:
    import qt

    button = qt.QPushButton()
    assert isinstance(button, qt.QPushButton)
    assert not isinstance(button, qt.QWidget)
    assert button.inherits("QWidget")


def test_properties_are_attributes_and_coerced_as_loosely_as_there(dialect: Any) -> None:
    import qt

    button, box, number = qt.QPushButton(), qt.QSpinBox(), qt.QDoubleSpinBox()
    button.enabled = "no"
    button.text = 5
    box.value = 2.7
    number.value = np.float32(0.5)
    assert (button.enabled, button.text, box.value, number.value) == (True, "5", 2, 0.5)
    for field, wrong in ((number, None), (number, "1.5"), (box, None), (box, "3")):
        with pytest.raises(AttributeError):
            field.value = wrong
    with pytest.raises(TypeError):
        button.text()
    with pytest.raises(AttributeError):
        button.txet = "5"
    button.setProperty("foo", 3)
    assert button.foo == 3


def test_both_forms_of_connect_print_what_a_slot_raises_and_go_on(dialect: Any) -> None:
    import qt

    heard: list[Any] = []
    button = qt.QPushButton()

    def fail() -> None:
        raise KeyError("of the slot")

    button.connect("clicked(bool)", fail)
    button.clicked.connect(fail)
    button.connect("clicked()", lambda *given: heard.append(given))
    button.clicked.connect(lambda *given: heard.append(given))
    button.click()
    assert heard == [(), (False,)]
    assert told(dialect).count("of the slot") == 2
    button.clicked.disconnect(fail)
    assert button.disconnect("clicked(bool)", fail)
    button.click()
    assert told(dialect) == ""
    with pytest.raises(ValueError, match="disconnect"):
        button.disconnect()
    with pytest.raises(AttributeError):
        button.nosuch.connect(fail)


def test_an_unknown_signal_is_told(dialect: Any) -> None:
    import qt

    assert not qt.QPushButton().connect("cliked()", lambda: None)
    assert "cliked()" in told(dialect)


# --- Objects that go during their own signal -----------------------------------------------------


class Form:
    """A field that is made anew whenever it changes, which is what the application dies of."""

    def __init__(self, drop: Callable[[Form], None]) -> None:
        import qt

        self.host = qt.QWidget()
        self.layout = qt.QVBoxLayout(self.host)
        self._drop = drop
        self.build()

    def build(self) -> None:
        import qt

        self.page = qt.QWidget()
        field = qt.QSpinBox(self.page)
        field.connect("valueChanged(int)", lambda *_: self._drop(self))
        self.layout.addWidget(self.page)

    def field(self) -> Any:
        import qt

        return self.host.findChild(qt.QSpinBox)

    def rebuild(self) -> None:
        self.page.setParent(None)
        self.build()

    def rebuild_and_delete_later(self) -> None:
        self.page.setParent(None)
        self.page.deleteLater()
        self.build()

    def rebuild_after_the_event(self) -> None:
        import qt

        old, self.page = self.page, None
        old.setParent(None)
        self.build()
        qt.QTimer.singleShot(0, lambda kept=old: None)


@pytest.mark.parametrize("way", ["rebuild", "rebuild_and_delete_later"])
def test_a_widget_that_loses_its_last_reference_in_its_own_slot_is_told(
    dialect: Any, way: str
) -> None:
    form = Form(lambda form: getattr(form, way)())
    form.field().value = 3
    assert "deleted inside a slot of its own" in told(dialect)
    assert form.field().value == 0, "the test goes on with the new form"


def test_a_widget_that_is_kept_until_its_event_is_over_is_fine(dialect: Any) -> None:
    import slicer

    form = Form(lambda form: form.rebuild_after_the_event())
    form.field().value = 3
    slicer.app.processEvents()
    assert told(dialect) == ""


def test_a_widget_that_qt_deletes_in_its_own_slot_is_told(dialect: Any) -> None:
    import qt
    import shiboken6

    page = qt.QWidget()
    button = qt.QPushButton(page)
    button.connect("clicked()", lambda: shiboken6.delete(page))
    button.click()
    assert "deleted inside a slot of its own" in told(dialect)


def test_a_window_that_is_dropped_in_its_own_slot_is_told(dialect: Any) -> None:
    import qt

    kept = {}
    kept["window"] = qt.QPushButton("close")
    kept["window"].connect("clicked()", lambda: kept.pop("window", None))
    kept["window"].show()
    from slicer_standin import user

    user.click(kept["window"])
    assert "QPushButton" in told(dialect)


def test_a_widget_without_parent_goes_with_its_last_reference(dialect: Any) -> None:
    import qt
    import shiboken6

    page = qt.QWidget()
    field = qt.QSpinBox(page)
    del page
    assert not shiboken6.isValid(field)


# --- Values and parameters -----------------------------------------------------------------------


def parameters_with(name: str, kind: Any, default: Any) -> Any:
    """A wrapper of a new node, with one parameter."""
    import slicer
    from slicer_standin.parameters import parameterNodeWrapper

    fields = {"__annotations__": {name: kind}, name: default}
    wrapper = parameterNodeWrapper(type("Parameters", (), fields))
    return wrapper(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))


def test_a_slider_whose_range_shrinks_clamps_its_value_and_writes_it_back(scene: Any) -> None:
    import ctk
    from slicer_standin.parameters import WithinRange

    parameters = parameters_with("threshold", Annotated[float, WithinRange(0, 8)], 2.0)
    slider = ctk.ctkSliderWidget()
    tag = parameters.connectParametersToGui({"threshold": slider})
    assert (slider.value, slider.maximum) == (2.0, 8.0), "it takes the parameter's range"
    slider.maximum = 1.0
    assert (slider.value, parameters.threshold) == (1.0, 1.0)
    slider.maximum = 0.0
    assert (slider.value, parameters.threshold) == (0.0, 0.0)
    parameters.disconnectGui(tag)


def test_a_new_parameter_node_holds_every_default_and_refuses_what_does_not_fit(
    scene: Any,
) -> None:
    from slicer_standin.parameters import WithinRange

    parameters = parameters_with("share", Annotated[float, WithinRange(0, 1)], 0.6)
    assert parameters.parameterNode.GetParameter("share") == "0.6"
    with pytest.raises(ValueError, match="not within"):
        parameters.share = 2.0
    with pytest.raises(TypeError):
        parameters.share = "much"


def test_a_change_by_a_widget_comes_back_before_its_slot_returns(scene: Any) -> None:
    import qt

    parameters = parameters_with("on", bool, False)
    node = parameters.parameterNode
    box = qt.QCheckBox()
    tag = parameters.connectParametersToGui({"on": box})
    order: list[str] = []
    node.AddObserver("ModifiedEvent", lambda *_: order.append(f"modified, {parameters.on}"))
    box.connect("stateChanged(int)", lambda *_: order.append("next slot"))
    box.checked = True
    assert order == ["modified, True", "next slot"]
    parameters.disconnectGui(tag)


# --- Nodes and scenes ----------------------------------------------------------------------------


def test_a_box_without_none_chooses_the_first_node_and_another_when_it_goes(
    scene: Any, volume: Any
) -> None:
    import slicer

    chosen: list[Any] = []
    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    box.connect("currentNodeChanged(vtkMRMLNode*)", chosen.append)
    assert box.currentNode() is None, "the scene comes through setMRMLScene alone"
    box.setMRMLScene(scene)
    assert chosen == [volume]
    label = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "label")
    assert box.currentNode() is volume, "later ones change nothing"
    slicer.mrmlScene.RemoveNode(volume)
    assert box.currentNode() is label, "a label map is a scalar volume"
    slicer.mrmlScene.RemoveNode(label)
    assert box.currentNode() is None
    box.setMRMLScene(None)


def test_the_layout_in_use_outlives_the_scene(scene: Any) -> None:
    import slicer

    manager = slicer.app.layoutManager()
    node = manager.layoutLogic().GetLayoutNode()
    node.SetAttribute("before", "3")
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    slicer.mrmlScene.Clear()
    assert manager.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView
    assert node.GetAttribute("before") is None, "what was noted in the scene went with it"


def test_removing_what_went_with_its_volume_is_an_error_in_the_log(
    volume: Any, expected_errors: Callable[[], list[str]]
) -> None:
    import slicer

    volume.CreateDefaultDisplayNodes()
    display = volume.GetDisplayNode()
    slicer.mrmlScene.RemoveNode(volume)
    assert display.GetScene() is None
    assert expected_errors() == []
    slicer.mrmlScene.RemoveNode(display)
    assert len(expected_errors()) == 1


def test_errors_of_python_vtk_and_qt_are_in_the_log(
    scene: Any, expected_errors: Callable[[], list[str]]
) -> None:
    import slicer
    from PySide6.QtCore import qCritical

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    hierarchy.RemoveItem(98765)
    logging.getLogger("somewhere").error("lost %s", "something")
    logging.getLogger("somewhere").warning("only this")
    qCritical("of Qt")
    vtk_, python, of_qt = expected_errors()
    assert "98765" in vtk_
    assert python == "somewhere: lost something"
    assert "of Qt" in of_qt
