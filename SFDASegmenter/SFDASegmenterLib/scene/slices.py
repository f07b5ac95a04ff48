"""What the slice views look at: their plane, and the volume behind everything else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import slicer


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
    def of(node: slicer.vtkMRMLSliceNode) -> Plane:
        """What a slice view shows now."""
        matrix, field = node.GetSliceToRAS(), node.GetFieldOfView()
        elements = tuple(matrix.GetElement(row, column) for row in range(4) for column in range(4))
        return Plane(elements, tuple(field), tuple(node.GetXYZOrigin()))

    def show_in(self, node: slicer.vtkMRMLSliceNode) -> None:
        """Show this plane in a view; a view of another shape shows more, never less."""
        width, height, _depth = node.GetDimensions()
        across, down, through = self.size
        if min(width, height, across, down, through) <= 0:  # a view that was never on the screen
            return
        across, down = max(across, down * width / height), max(down, across * height / width)
        before = node.StartModify()
        node.GetSliceToRAS().DeepCopy(self.slice_to_ras)
        node.SetFieldOfView(across, down, through)
        node.SetXYZOrigin(*self.origin)
        node.UpdateMatrices()
        node.EndModify(before)


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


def plane_of(volume: slicer.vtkMRMLVolumeNode | None) -> Plane | None:
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
