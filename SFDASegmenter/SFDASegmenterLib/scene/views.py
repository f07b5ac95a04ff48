"""Layouts of this module's own: linked slice views beside each other, each with its name, and a
plot beside the user's views. They show the slice that the user was looking at, and the user's
layout comes back when they are left.

Views have no size in the moment in which a layout is set. What depends on it waits until the event
loop has run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

import qt
import slicer
import vtk
from slicer.util import VTKObservationMixin

from SFDASegmenterLib.scene.slices import Plane, has_size, mend_fields_of_view, plane_of

SIDE_BY_SIDE = 20260  # number of the layout of two views
COMPARISON = SIDE_BY_SIDE + 1  # number of the layout of a view for each method
COLUMNS = 2  # the bar of a slice view takes some 330 pixels: a third column widens the window
COLORS = ("#7F8C8D", "#2E86C1", "#16A085", "#8E44AD", "#D68910", "#CB4335")
WAIT = 20  # milliseconds between two looks whether the views have their size
LOOKS = 100


@dataclass(frozen=True)
class Named:
    """The name of a view, which it shows.

    Args:
        label: one or two characters, which is what the bar of a narrow view has room for.
        title: as in the view.
    """

    label: str
    title: str


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
        plane = plane_of(volume)
        mend_fields_of_view()
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
        """Restore the layout that the user had."""
        self._timer.stop()
        self._waiting = None
        if self._shown is not None or self._arrangement in (SIDE_BY_SIDE, COMPARISON):
            self._switch(self._users)
            self._shown = None

    def close(self) -> None:
        """Restore the layout, and observe nothing any more."""
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
        if not all(has_size(logic.GetSliceNode()) for logic in logics.values()):
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
    """Register the layouts, so that a scene that was saved with one opens."""
    layout = _layout_node()
    two = {"SFDASource": Named("S", ""), "SFDAResult": Named("R", "")}
    for number in (SIDE_BY_SIDE, COMPARISON):
        if layout is not None and not layout.IsLayoutDescription(number):
            layout.AddLayoutDescription(number, _description(two))


def reset_3d() -> None:
    """Center the 3D views on what they show."""
    if slicer.app.layoutManager() is not None:
        slicer.util.resetThreeDViews()


def _write_title(view: str, title: str) -> None:
    """Write a title at the top edge of a view: Slicer itself writes into the corners."""
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
