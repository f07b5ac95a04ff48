"""Layouts of this module's own: linked slice views beside each other, each with its name, and a
plot beside the user's views. They show the slice that the user was looking at, and the user's
layout comes back when they are left.

Views have no size in the moment in which a layout is set. What depends on it waits until the event
loop has run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

import qt
import slicer
import vtk
from slicer.util import VTKObservationMixin

SIDE_BY_SIDE = 20260  # number of the layout of two views
COMPARISON = SIDE_BY_SIDE + 1  # number of the layout of a view for each method
COLUMNS = 2  # the bar of a slice view takes some 330 pixels: a third column widens the window
COLORS = ("#7F8C8D", "#2E86C1", "#16A085", "#8E44AD", "#D68910", "#CB4335")
WAIT = 20  # milliseconds between two looks whether the views have their size
LOOKS = 100


@dataclass(frozen=True)
class Named:
    """A view that has its name in sight.

    Args:
        label: one or two characters, which is what the bar of a narrow view has room for.
        title: as in the view.
    """

    label: str
    title: str


@dataclass(frozen=True)
class Plane:
    """Where a slice view looks.

    Args:
        slice_to_ras: 16 numbers, row by row.
        size: of what is in sight, in mm: across, down and through.
        origin: XYZOrigin of its node, in mm.
    """

    slice_to_ras: tuple[float, ...]
    size: tuple[float, float, float]
    origin: tuple[float, float, float]

    @staticmethod
    def of(node: slicer.vtkMRMLSliceNode) -> Plane:
        matrix, field = node.GetSliceToRAS(), node.GetFieldOfView()
        elements = tuple(matrix.GetElement(row, column) for row in range(4) for column in range(4))
        return Plane(elements, tuple(field), tuple(node.GetXYZOrigin()))

    def show_in(self, node: slicer.vtkMRMLSliceNode) -> None:
        """Look there, with all in sight that was, whatever the shape of the view."""
        width, height, _depth = node.GetDimensions()
        across, down, through = self.size
        across, down = max(across, down * width / height), max(down, across * height / width)
        before = node.StartModify()
        node.GetSliceToRAS().DeepCopy(self.slice_to_ras)
        node.SetFieldOfView(across, down, through)
        node.SetXYZOrigin(*self.origin)
        node.UpdateMatrices()
        node.EndModify(before)


class Views(VTKObservationMixin):
    """The layouts, while the panel is there. Without a main window nothing happens.

    The user's layout is remembered here and not in the scene, as it outlives the scene.

    Args:
        left: called after the user chose another layout while one of these was shown.
    """

    def __init__(self, left: Callable[[], None]) -> None:
        VTKObservationMixin.__init__(self)
        self._left = left
        self._users = int(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self._shown: int | None = None  # the layout that was set here
        self._switching = False
        self._waiting: tuple[dict[str, Named], Plane | None, str | None] | None = None
        self._looks = 0
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self._arrange)
        self._layout = _layout_node()
        if self._layout is None:
            return
        register()
        self._remember()
        self.addObserver(self._layout, vtk.vtkCommand.ModifiedEvent, self._changed)

    def beside_each_other(
        self, number: int, views: Mapping[str, Named], volume: slicer.vtkMRMLVolumeNode | None
    ) -> None:
        """Linked views of a volume, at the slice that the user looks at.

        Args:
            number: SIDE_BY_SIDE or COMPARISON.
            views: by the names of their nodes.
        """
        if self._layout is None:
            return
        plane = _plane_of(volume)
        self._switch(number, _description(views))
        for name, named in views.items():
            logic = slicer.app.applicationLogic().GetSliceLogicByLayoutName(name)
            if logic is None:
                continue
            logic.GetSliceNode().SetLayoutLabel(named.label)
            composite = logic.GetSliceCompositeNode()
            composite.SetLinkedControl(True)
            composite.SetHotLinkedControl(True)
            if volume is not None:
                composite.SetBackgroundVolumeID(volume.GetID())
        identity = volume.GetID() if volume is not None else None
        self._waiting, self._looks = (dict(views), plane, identity), 0
        self._timer.start(0)

    def plot(self, chart: slicer.vtkMRMLPlotChartNode) -> None:
        """A plot beside slice views: the layout first, as a chart is shown in views that exist."""
        if self._layout is None:
            return
        self._switch(int(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotView))
        slicer.app.applicationLogic().GetSelectionNode().SetActivePlotChartID(chart.GetID())
        slicer.app.applicationLogic().PropagatePlotChartSelection()

    def leave(self) -> None:
        """Back to the layout that the user had."""
        self._timer.stop()
        self._waiting = None
        if self._shown is not None or self._arrangement in (SIDE_BY_SIDE, COMPARISON):
            self._switch(self._users)
            self._shown = None

    def close(self) -> None:
        """The panel goes."""
        self.leave()
        self.removeObservers()

    # --- The layout node -------------------------------------------------------------------------

    def _switch(self, number: int, description: str | None = None) -> None:
        """Set a layout of this module's, or the user's; with its description if that is new."""
        if self._layout is None:
            return
        self._switching = True
        try:
            if description is not None:
                self._layout.SetLayoutDescription(number, description)
            self._layout.SetViewArrangement(number)
        finally:
            self._switching = False
        self._shown = number

    def _changed(self, _caller: Any, _event: Any) -> None:
        if self._switching:
            return
        self._remember()
        if self._shown is not None and self._arrangement != self._shown:
            self._shown = None
            self._left()

    def _remember(self) -> None:
        arrangement = self._arrangement
        no_layout = int(slicer.vtkMRMLLayoutNode.SlicerLayoutNone)
        if arrangement not in (self._shown, no_layout, None, SIDE_BY_SIDE, COMPARISON):
            self._users = arrangement

    @property
    def _arrangement(self) -> int | None:
        """The number of the layout that is shown; None without a main window."""
        return self._layout.GetViewArrangement() if self._layout is not None else None

    # --- Once the views have a size --------------------------------------------------------------

    def _arrange(self) -> None:
        if self._waiting is None:
            return
        views, plane, identity = self._waiting
        volume = slicer.mrmlScene.GetNodeByID(identity) if identity is not None else None
        logics = {
            name: logic
            for name in views
            if (logic := slicer.app.applicationLogic().GetSliceLogicByLayoutName(name)) is not None
        }
        if any(0 in logic.GetSliceNode().GetDimensions()[:2] for logic in logics.values()):
            self._looks += 1
            if self._looks < LOOKS:
                self._timer.start(WAIT)
            return
        self._waiting = None
        for name, logic in logics.items():
            if plane is not None:
                plane.show_in(logic.GetSliceNode())
            elif volume is not None:
                logic.GetSliceNode().RotateToVolumePlane(volume)
                logic.FitSliceToBackground()
            _write_title(name, views[name].title)


def register() -> None:
    """Make the layouts known, so that a scene that was saved with one opens."""
    layout = _layout_node()
    two = {"SFDASource": Named("S", ""), "SFDAResult": Named("R", "")}
    for number in (SIDE_BY_SIDE, COMPARISON):
        if layout is not None and not layout.IsLayoutDescription(number):
            layout.AddLayoutDescription(number, _description(two))


def slice_nodes() -> Iterator[slicer.vtkMRMLSliceNode]:
    """The slice views of the current layout; none without a main window."""
    manager = slicer.app.layoutManager()
    if manager is None:
        return
    nodes = manager.layoutLogic().GetViewNodes()
    for index in range(nodes.GetNumberOfItems()):
        node = nodes.GetItemAsObject(index)
        if node.IsA("vtkMRMLSliceNode"):
            yield node


def volume_in_sight() -> slicer.vtkMRMLVolumeNode | None:
    """The volume that the user looks at: of the first slice view that shows one; while none does,
    the active one, which is just being shown.
    """
    for node in slice_nodes():
        volume = _background(node)
        if volume is not None:
            return volume
    identity = slicer.app.applicationLogic().GetSelectionNode().GetActiveVolumeID()
    return slicer.mrmlScene.GetNodeByID(identity) if identity else None


def put_behind(volume: slicer.vtkMRMLVolumeNode) -> None:
    """Show a volume in the background of every view, at the slice that is in sight; a view that
    looks past it is fitted to it.
    """
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        composite.SetBackgroundVolumeID(volume.GetID())
    bounds = [0.0] * 6
    volume.GetRASBounds(bounds)
    for node in slice_nodes():
        center = [node.GetSliceToRAS().GetElement(axis, 3) for axis in range(3)]
        if not all(bounds[2 * axis] <= center[axis] <= bounds[2 * axis + 1] for axis in range(3)):
            slicer.app.applicationLogic().GetSliceLogic(node).FitSliceToBackground()


def reset_3d() -> None:
    """Bring what is shown into the middle of the 3D views."""
    if slicer.app.layoutManager() is not None:
        slicer.util.resetThreeDViews()


def _plane_of(volume: slicer.vtkMRMLVolumeNode | None) -> Plane | None:
    """The plane of the first view that shows the volume; None where none does."""
    for node in slice_nodes():
        if volume is not None and _background(node) is volume:
            return Plane.of(node)
    return None


def _background(node: slicer.vtkMRMLSliceNode) -> slicer.vtkMRMLVolumeNode | None:
    logic = slicer.app.applicationLogic().GetSliceLogic(node)
    if logic is None or logic.GetSliceCompositeNode() is None:
        return None
    identity = logic.GetSliceCompositeNode().GetBackgroundVolumeID()
    return slicer.mrmlScene.GetNodeByID(identity) if identity else None


def _write_title(view: str, title: str) -> None:
    """At the top edge: Slicer itself writes into the corners."""
    widget = slicer.app.layoutManager().sliceWidget(view)
    if widget is None:
        return
    annotation = widget.sliceView().cornerAnnotation()
    annotation.SetText(vtk.vtkCornerAnnotation.UpperEdge, title)
    widget.sliceView().scheduleRender()


def _layout_node() -> slicer.vtkMRMLLayoutNode | None:
    manager = slicer.app.layoutManager()
    return manager.layoutLogic().GetLayoutNode() if manager is not None else None


def _description(views: Mapping[str, Named]) -> str:
    """The layout of these views, in rows of ``COLUMNS``."""
    items = [
        f'<item><view class="vtkMRMLSliceNode" singletontag="{tag}">'
        f'<property name="orientation" action="default">Axial</property>'
        f'<property name="viewlabel" action="default">{escape(named.label)}</property>'
        f'<property name="viewcolor" action="default">{color}</property>'
        "</view></item>"
        for (tag, named), color in zip(views.items(), COLORS, strict=False)
    ]
    rows = ["".join(items[at : at + COLUMNS]) for at in range(0, len(items), COLUMNS)]
    inside = [f'<layout type="horizontal" split="true">{row}</layout>' for row in rows]
    if len(inside) == 1:
        return inside[0]
    return (
        '<layout type="vertical" split="true">'
        + "".join(f"<item>{row}</item>" for row in inside)
        + "</layout>"
    )
