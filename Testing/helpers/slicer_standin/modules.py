"""slicer.modules: the logics of Slicer's own modules, and scripted ones made, reloaded and closed
as the application does it.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import qt
import slicer

from slicer_standin import error_log

# Module by name: the class of its logic.
LOGICS = {
    "colors": "vtkSlicerColorLogic",
    "volumes": "vtkSlicerVolumesLogic",
    "subjecthierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "segmentations": "vtkSlicerSegmentationsModuleLogic",
    "sequences": "vtkSlicerSequencesLogic",
    "tables": "vtkSlicerTablesLogic",
}
_widgets: dict[str, Any] = {}


class LoadedModule:
    """A module that Slicer brings."""

    def __init__(self, logic: Any) -> None:
        self._logic = logic

    def logic(self) -> Any:
        return self._logic


class ScriptedModule(types.SimpleNamespace):
    """What a scripted module's class writes into."""

    def __init__(self, path: str) -> None:
        super().__init__(path=path, icon=None, title="", categories=[], dependencies=[])


def start(application: Any) -> None:
    """Make the logics and give them scene and application, colours first: volumes need them."""
    scene = slicer.mrmlScene
    slicer.modules = types.SimpleNamespace()
    slicer.selfTests = {}
    for name, kind in LOGICS.items():
        logic = getattr(slicer, kind)()
        application.SetModuleLogic(name.capitalize(), logic)
        logic.SetMRMLApplicationLogic(application)
        setattr(slicer.modules, name, LoadedModule(logic))
    application.SetMRMLScene(scene)
    for name in LOGICS:
        getattr(slicer.modules, name).logic().SetMRMLScene(scene)
    _follow_hierarchy(scene)


def load_scripted_module(path: str | Path) -> Any:
    """Import a module's file and register it, as at start-up."""
    path = Path(path)
    name = path.stem
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    module = _execute(name, path)
    parent = ScriptedModule(str(path))
    getattr(module, name)(parent)
    setattr(slicer.modules, name.lower(), parent)
    return module


def _execute(name: str, path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def widget(name: str) -> Any:
    """The module's widget, made when it is first asked for; ``setup`` was called."""
    if name not in _widgets:
        parent = slicer.qMRMLWidget()
        parent.setLayout(qt.QVBoxLayout())
        parent.setMRMLScene(slicer.mrmlScene)
        made = getattr(sys.modules[name], f"{name}Widget")(parent)
        made.setup()
        _widgets[name] = made
    return _widgets[name]


def select(name: str) -> Any:
    """Open a module, as a user does: its widget is in the module panel and was entered."""
    from slicer_standin import application
    from slicer_standin.window import settle

    made = widget(name)
    application.window().panel.set_module(made.parent)
    made.enter()
    settle()
    return made


def close(made: Any) -> None:
    """As the application does when it unloads a module."""
    from slicer_standin import application

    application.window().panel.remove(made.parent)
    name = made.moduleName
    made.cleanup()
    for widget in made.parent.findChildren(qt.QWidget):
        if hasattr(widget, "setMRMLScene"):  # not destroyed here, it would go on looking
            widget.setMRMLScene(None)
    made.parent.setMRMLScene(None)
    made.parent.hide()
    made.parent.deleteLater()
    _widgets.pop(name, None)


def reload(name: str) -> Any:
    """slicer.util.reloadScriptedModule: the main file is executed again, nothing else."""
    if name in _widgets:
        close(_widgets[name])
    module = _execute(name, Path(getattr(slicer.modules, name.lower()).path))
    widget(name)
    return module


def _follow_hierarchy(scene: Any) -> None:
    """Give every node that shows in the subject hierarchy an item, as the application's plugins."""
    import vtk

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def added(_caller: Any, _event: Any, node: Any) -> None:
        shown = node.IsA("vtkMRMLStorableNode") and not node.GetHideFromEditors()
        if node.IsA("vtkMRMLSubjectHierarchyNode") or node.IsA("vtkMRMLColorNode") or not shown:
            return
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        if hierarchy is not None and not hierarchy.GetItemByDataNode(node):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    shown_by: dict[str, list[str]] = {}  # display nodes of a volume that is going, by its ID

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def removing(_caller: Any, _event: Any, node: Any) -> None:
        if node.GetScene() is None:  # it went with the node that it belonged to
            error_log.errors.append(f"no subject hierarchy for {node.GetName()}: not in a scene")
            return
        if node.IsA("vtkMRMLVolumeNode") and not scene.IsClosing():
            count = node.GetNumberOfDisplayNodes()
            shown_by[node.GetID()] = [node.GetNthDisplayNodeID(i) for i in range(count)]
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        item = hierarchy.GetItemByDataNode(node) if hierarchy is not None else 0
        if item:
            hierarchy.RemoveItem(item, False, False)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def removed(_caller: Any, _event: Any, node: Any) -> None:
        """What shows a volume goes with it."""
        for display in shown_by.pop(node.GetID(), []):
            if scene.GetNodeByID(display) is not None:
                scene.RemoveNode(scene.GetNodeByID(display))

    scene.AddObserver(scene.NodeAddedEvent, added)
    scene.AddObserver(scene.NodeAboutToBeRemovedEvent, removing)
    scene.AddObserver(scene.NodeRemovedEvent, removed)
