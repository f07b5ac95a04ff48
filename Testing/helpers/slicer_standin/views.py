"""Layouts and slice views: the real layout and slice logics, drawn by the real displayable managers
into pictures where OpenGL is there.

As in the application, a view that a layout brings has no size until the event loop has run.
"""

from __future__ import annotations

from typing import Any

import slicer
import vtk

from slicer_standin import dialect
from slicer_standin.window import Window

# What draws over a slice; each is a class of slicer-core. Its manager of colour legends draws
# nothing outside the application.
MANAGERS = ("vtkMRMLSegmentationsDisplayableManager2D",)
ORIENTATIONS = {"Green": "Coronal", "Yellow": "Sagittal"}  # by the view's name; others are axial
FOUR_UP = 3  # vtkMRMLLayoutNode.SlicerLayoutFourUpView


class SliceView:
    """layoutManager().sliceWidget(name).sliceView()."""

    def __init__(self) -> None:
        self._annotation = vtk.vtkCornerAnnotation()

    def cornerAnnotation(self) -> Any:
        return self._annotation

    def scheduleRender(self) -> None:
        return None


class SliceWidget:
    """layoutManager().sliceWidget(name)."""

    def __init__(self, logic: Any) -> None:
        self._logic = logic
        self._view = SliceView()

    def sliceLogic(self) -> Any:
        return self._logic

    def sliceView(self) -> SliceView:
        return self._view

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        return self._logic.GetSliceCompositeNode()

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground()


class ViewWidget:
    """layoutManager().plotWidget(index) and threeDWidget(index)."""

    def __init__(self, node: Any) -> None:
        self._node = node

    def mrmlPlotViewNode(self) -> Any:
        return self._node

    mrmlViewNode = mrmlPlotViewNode


class LayoutManager:
    """slicer.app.layoutManager(): a slice logic for every slice view of the scene."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._logics = vtk.vtkCollection()
        application.SetSliceLogics(self._logics)
        self._layout = slicer.vtkMRMLLayoutLogic()
        self._layout.SetMRMLApplicationLogic(application)
        self._layout.SetMRMLScene(slicer.mrmlScene)
        self._shown: tuple[int, str] | None = None  # the layout that is laid out
        self._widgets: dict[str, SliceWidget] = {}
        self.resets: list[int] = []  # layouts in which the 3D views were reset
        self._window = Window(self._resize)
        scene = slicer.mrmlScene
        scene.AddObserver(scene.NodeAddedEvent, self._added)
        scene.AddObserver(scene.EndCloseEvent, dialect.guarded(self._closed))
        node = self._layout.GetLayoutNode()
        node.AddObserver(vtk.vtkCommand.ModifiedEvent, dialect.guarded(self._arrange))
        node.SetViewArrangement(FOUR_UP)
        for one in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            self._follow(one)

    def layoutLogic(self) -> Any:
        return self._layout

    layout = property(lambda self: self._layout.GetLayoutNode().GetViewArrangement())

    def setLayout(self, number: int) -> None:
        self._layout.GetLayoutNode().SetViewArrangement(number)

    def sliceViewNames(self) -> tuple[str, ...]:
        """Of the current layout."""
        return tuple(node.GetLayoutName() for node in self._nodes("vtkMRMLSliceNode"))

    def sliceWidget(self, name: str) -> SliceWidget | None:
        logic = self._application.GetSliceLogicByLayoutName(name)
        if logic is None or name not in self.sliceViewNames():
            return None
        return self._widgets.setdefault(name, SliceWidget(logic))

    def resetThreeDViews(self) -> None:
        self.resets.append(self.layout)

    plotViewCount = property(lambda self: len(self._nodes("vtkMRMLPlotViewNode")))
    threeDViewCount = property(lambda self: len(self._nodes("vtkMRMLViewNode")))

    def plotWidget(self, index: int) -> ViewWidget:
        return ViewWidget(self._nodes("vtkMRMLPlotViewNode")[index])

    def threeDWidget(self, index: int) -> ViewWidget:
        return ViewWidget(self._nodes("vtkMRMLViewNode")[index])

    def _nodes(self, kind: str) -> list[Any]:
        """The current layout's view nodes of a class."""
        nodes = self._layout.GetViewNodes()
        shown = [nodes.GetItemAsObject(index) for index in range(nodes.GetNumberOfItems())]
        return [node for node in shown if node.GetClassName() == kind]

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _added(self, _caller: Any, _event: Any, node: Any) -> None:
        if node.IsA("vtkMRMLSliceNode"):
            self._follow(node)

    def _closed(self, *_: Any) -> None:
        """The views of a new scene look along the body's axes again."""
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            node.SetOrientation(ORIENTATIONS.get(node.GetLayoutName(), "Axial"))

    def _follow(self, node: Any) -> None:
        if self._application.GetSliceLogic(node) is None:
            logic = slicer.vtkMRMLSliceLogic()
            logic.SetMRMLApplicationLogic(self._application)
            logic.SetMRMLScene(slicer.mrmlScene)
            logic.SetSliceNode(node)
            self._logics.AddItem(logic)

    def _arrange(self, *_: Any) -> None:
        """Lay the views out as the layout node now says."""
        node = self._layout.GetLayoutNode()
        wanted = (node.GetViewArrangement(), node.GetCurrentLayoutDescription())
        if wanted == self._shown or not wanted[1]:
            return
        self._shown = wanted
        for new in self._window.set_layout(wanted[1], self._find):
            if new.IsA("vtkMRMLSliceNode"):
                new.SetDimensions(0, 0, 1)

    def _find(self, kind: str, name: str) -> Any:
        return slicer.mrmlScene.GetSingletonNode(name, kind)

    def _resize(self, node: Any, width: int, height: int) -> None:
        logic = self._application.GetSliceLogic(node) if node.IsA("vtkMRMLSliceNode") else None
        if logic is not None and width > 0 and height > 0:
            logic.ResizeSliceNode(width, height)


def picture(name: str) -> Any:
    """A slice view as it looks now, as vtkImageData with RGB.

    Needs OpenGL, see ``slicer_standin.rendering``.
    """
    logic = slicer.app.applicationLogic().GetSliceLogicByLayoutName(name)
    node = logic.GetSliceNode()
    width, height, _depth = node.GetDimensions()
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
