"""What the slice views look at, in views that have a size and in views that have none yet."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from panel_bench import settle

NO_SIZE = (0, 0, 1)  # of a view that the event loop has not laid out yet


@pytest.fixture
def volume(scene: Any) -> Any:
    """60 x 40 x 20 mm, 300 mm away from where empty views look."""
    import slicer

    made = slicer.util.addVolumeFromArray(np.ones((20, 40, 60), np.float32))
    made.SetOrigin(0, 0, 300)
    return made


@pytest.fixture
def red(scene: Any) -> Iterator[Any]:
    """A slice view, whose size is the same again afterwards."""
    import slicer

    node = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    size, field = node.GetDimensions(), node.GetFieldOfView()
    yield node
    node.SetDimensions(*size)
    node.SetFieldOfView(*field)


def test_a_volume_behind_a_view_without_a_size_leaves_its_field_of_view_a_number(
    volume: Any, red: Any
) -> None:
    from SFDASegmenterLib.scene import slices

    red.SetDimensions(*NO_SIZE)
    slices.put_behind(volume)
    assert all(math.isfinite(length) for length in red.GetFieldOfView())


def test_a_volume_behind_a_view_that_looks_past_it_comes_into_sight(volume: Any, red: Any) -> None:
    from SFDASegmenterLib.scene import slices

    assert slices.has_size(red)
    slices.put_behind(volume)
    settle()
    assert 300 <= red.GetSliceToRAS().GetElement(2, 3) <= 320
    assert min(red.GetFieldOfView()[:2]) >= 39


def test_the_plane_of_a_volume_is_never_that_of_a_view_without_extent(
    volume: Any, red: Any
) -> None:
    import slicer
    from SFDASegmenterLib.scene import slices

    slices.put_behind(volume)
    red.SetDimensions(*NO_SIZE)  # the application itself fits such views, too
    slicer.app.applicationLogic().GetSliceLogic(red).FitSliceToBackground()
    assert not all(math.isfinite(length) for length in red.GetFieldOfView())
    plane = slices.plane_of(volume)
    assert plane is not None  # of another view that shows it
    assert all(math.isfinite(length) and length > 0 for length in plane.size)


def test_a_plane_is_shown_by_views_with_a_size_alone(volume: Any, red: Any) -> None:
    from SFDASegmenterLib.scene import slices

    slices.put_behind(volume)
    plane = slices.plane_of(volume)
    assert plane is not None
    red.SetDimensions(*NO_SIZE)
    before = red.GetFieldOfView()
    plane.show_in(red)
    assert red.GetFieldOfView() == before
