"""Layouts and slice views: the real layout and slice logics, drawn by the real displayable managers
into pictures where OpenGL is there.
"""

from __future__ import annotations

from typing import Any

import slicer
import vtk

# What draws over a slice; each is a class of slicer-core. Its manager of colour legends draws
# nothing outside the application.
MANAGERS = ("vtkMRMLSegmentationsDisplayableManager2D",)
FOUR_UP = 3  # vtkMRMLLayoutNode.SlicerLayoutFourUpView


class LayoutManager:
    """slicer.app.layoutManager(): a slice logic for every slice view of the scene."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._logics = vtk.vtkCollection()
        application.SetSliceLogics(self._logics)
        self._layout = slicer.vtkMRMLLayoutLogic()
        self._layout.SetMRMLApplicationLogic(application)
        self._layout.SetMRMLScene(slicer.mrmlScene)
        scene = slicer.mrmlScene
        scene.AddObserver(scene.NodeAddedEvent, self._added)
        self.layoutLogic().GetLayoutNode().SetViewArrangement(FOUR_UP)
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            self._follow(node)

    def layoutLogic(self) -> Any:
        return self._layout

    def sliceViewNames(self) -> tuple[str, ...]:
        """Of the current layout."""
        nodes = self._layout.GetViewNodes()
        shown = [nodes.GetItemAsObject(i) for i in range(nodes.GetNumberOfItems())]
        return tuple(node.GetLayoutName() for node in shown if node.IsA("vtkMRMLSliceNode"))

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _added(self, _caller: Any, _event: Any, node: Any) -> None:
        if node.IsA("vtkMRMLSliceNode"):
            self._follow(node)

    def _follow(self, node: Any) -> None:
        if self._application.GetSliceLogic(node) is None:
            logic = slicer.vtkMRMLSliceLogic()
            logic.SetMRMLApplicationLogic(self._application)
            logic.SetMRMLScene(slicer.mrmlScene)
            logic.SetSliceNode(node)
            self._logics.AddItem(logic)


def picture(name: str, width: int, height: int) -> Any:
    """A slice view as it looks now, with the whole image in it, as vtkImageData with RGB.

    Needs OpenGL, see ``slicer_standin.rendering``.
    """
    logic = slicer.app.applicationLogic().GetSliceLogicByLayoutName(name)
    node = logic.GetSliceNode()
    offset = logic.GetSliceOffset()
    logic.ResizeSliceNode(width, height)
    logic.FitSliceToBackground()
    logic.SetSliceOffset(offset)
    logic.UpdateImageData()
    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(0)
    window.SetSize(width, height)
    window.SetNumberOfLayers(2)
    behind, over = vtk.vtkRenderer(), vtk.vtkRenderer()
    over.SetLayer(1)
    for renderer in (behind, over):
        window.AddRenderer(renderer)
    connection = logic.GetImageDataConnection()
    if connection is not None:
        mapper = vtk.vtkImageMapper()
        mapper.SetInputConnection(connection)
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        image = vtk.vtkActor2D()
        image.SetMapper(mapper)
        behind.AddViewProp(image)
    interactor = vtk.vtkGenericRenderWindowInteractor()
    interactor.SetRenderWindow(window)
    group = slicer.vtkMRMLDisplayableManagerGroup()
    group.SetRenderer(over)
    for manager in MANAGERS:
        made = getattr(slicer, manager)()
        made.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        group.AddDisplayableManager(made)
    group.SetMRMLDisplayableNode(node)
    window.Render()
    window.Render()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    grab.Update()
    shown = vtk.vtkImageData()
    shown.DeepCopy(grab.GetOutput())
    group.SetMRMLDisplayableNode(None)
    return shown
