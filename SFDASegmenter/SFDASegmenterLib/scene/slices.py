"""What the slice views look at: their plane, and the volume behind everything else.

A view has no size until the event loop has laid it out. A view that is fitted to a volume before
that, as the application does with all views when a volume is loaded, has a field of view that is no
number; saved with a scene and opened again it is 0. Either is logged as an error when the view is
drawn, and spreads to the views that are linked with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import slicer

NEW_FIELD_OF_VIEW = (250.0, 250.0, 1.0)  # of a slice view that shows nothing yet, in mm


@dataclass(frozen=True)
class Plane:
    """The plane, position and size that a slice view shows.

    Args:
        slice_to_ras: 16 numbers, row by row.
        size: of what is in sight, in mm: across, down and through.
        origin: XYZOrigin of its node, in mm.
    """

    slice_to_ras: tuple[float, ...]
    size: tuple[float, float, float]
    origin: tuple[float, float, float]

    @staticmethod
    def of(node: slicer.vtkMRMLSliceNode) -> Plane | None:
        """What a slice view shows now; None where its field of view has no extent."""
        if not _has_field_of_view(node):
            return None
        matrix, field = node.GetSliceToRAS(), node.GetFieldOfView()
        elements = tuple(matrix.GetElement(row, column) for row in range(4) for column in range(4))
        return Plane(elements, tuple(field), tuple(node.GetXYZOrigin()))

    def show_in(self, node: slicer.vtkMRMLSliceNode) -> None:
        """Show this plane in a view; a view of another shape shows more, never less."""
        if not has_size(node):
            return
        width, height, _depth = node.GetDimensions()
        across, down, through = self.size
        across, down = max(across, down * width / height), max(down, across * height / width)
        before = node.StartModify()
        node.GetSliceToRAS().DeepCopy(self.slice_to_ras)
        node.SetFieldOfView(across, down, through)
        node.SetXYZOrigin(*self.origin)
        node.UpdateMatrices()
        node.EndModify(before)


def has_size(node: slicer.vtkMRMLSliceNode) -> bool:
    """Whether a view is laid out; until then nothing can be fitted to it."""
    return min(node.GetDimensions()[:2]) > 0


def mend_fields_of_view() -> None:
    """Give every slice view of the scene that has no field of view that of a new one."""
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        if not _has_field_of_view(node):
            node.SetFieldOfView(*NEW_FIELD_OF_VIEW)


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
    for node in filter(has_size, slice_nodes()):
        center = [node.GetSliceToRAS().GetElement(axis, 3) for axis in range(3)]
        if not all(bounds[2 * axis] <= center[axis] <= bounds[2 * axis + 1] for axis in range(3)):
            slicer.app.applicationLogic().GetSliceLogic(node).FitSliceToBackground()


def plane_of(volume: slicer.vtkMRMLVolumeNode | None) -> Plane | None:
    """The plane of the first view that shows the volume; None where none does."""
    for node in slice_nodes():
        if volume is not None and _background(node) is volume:
            plane = Plane.of(node)
            if plane is not None:
                return plane
    return None


def _has_field_of_view(node: slicer.vtkMRMLSliceNode) -> bool:
    return all(math.isfinite(length) and length > 0 for length in node.GetFieldOfView())


def _background(node: slicer.vtkMRMLSliceNode) -> slicer.vtkMRMLVolumeNode | None:
    logic = slicer.app.applicationLogic().GetSliceLogic(node)
    if logic is None or logic.GetSliceCompositeNode() is None:
        return None
    identity = logic.GetSliceCompositeNode().GetBackgroundVolumeID()
    return slicer.mrmlScene.GetNodeByID(identity) if identity else None
