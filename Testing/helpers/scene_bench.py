"""For tests of results in the scene: runs through the logic, and HEAL's results placed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jobs_here import JobHere


@pytest.fixture
def segmenter(slicer_app: Any, scene: Any, phantom: Callable[..., Any]) -> Iterator[Any]:
    """``segmenter.run(volume node, method, options)``: a run through the logic, to its end."""
    import slicer
    from SFDASegmenterLib import staging
    from SFDASegmenterLib.request import Request

    from SFDASegmenter import SFDASegmenterLogic

    class Segmenter:
        def __init__(self) -> None:
            self.slicer = slicer
            self.logic = SFDASegmenterLogic(start=JobHere)

        def load(self, path: Path) -> Any:
            return slicer.util.loadVolume(str(path))

        def request(self, nodes: list[Any], method: str, **options: Any) -> Request:
            channels = sum(staging.channel_count(node) for node in nodes)
            bundle = phantom(channels=channels).bundle
            return Request((staging.image_of(nodes),), str(bundle), method, options)

        def run(self, nodes: list[Any], method: str = "none", **options: Any) -> Any:
            run = self.logic.start(self.request(nodes, method, **options))
            finish(run)
            assert run.state.value == "done", run.message
            return run.results[0]

    made = Segmenter()
    yield made
    made.logic.abandon()


@pytest.fixture(scope="session")
def result_folder(phantom: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What SFDALib writes for HEAL with three samples on the phantom. Read only."""
    from SFDALib.__main__ import main

    made = phantom()
    output = tmp_path_factory.mktemp("results") / "heal"
    words = ["run", "--bundle", str(made.bundle), "--input", str(made.image), "--method", "heal"]
    words += ["--option", "samples=3", "--option", "steps=2", "--device", "cpu"]
    assert main([*words, "--output", str(output)]) == 0
    return output


@pytest.fixture
def placed(segmenter: Any, phantom: Callable[..., Any], result_folder: Path) -> Callable[[], Any]:
    """Puts HEAL's results for a volume into the scene, as a run does at its end."""
    from SFDASegmenterLib.scene.placement import Origin, Placement

    volume = segmenter.load(phantom().image)

    def place() -> Placement:
        placement = Placement(result_folder, Origin("head", volume.GetID()), "run")
        for _step in placement.steps():
            pass
        return placement

    return place


def finish(run: Any) -> None:
    end = time.monotonic() + 120
    while not run.ended:
        run.advance()
        assert time.monotonic() < end, "the run never ended"


def centre_ras(slicer: Any, segmentation: Any) -> np.ndarray:
    """The centre of the first segment in world coordinates, transforms included."""
    import vtk
    from vtk.util import numpy_support

    image = slicer.vtkOrientedImageData()
    segment = segmentation.GetSegmentation().GetNthSegmentID(0)
    segmentation.GetBinaryLabelmapRepresentation(segment, image)
    array = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    array = array.reshape(image.GetDimensions()[::-1])
    extent = image.GetExtent()
    kji = np.argwhere(array > 0).mean(0) + np.array(extent)[[4, 2, 0]]
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    point = matrix.MultiplyPoint((*kji[::-1], 1.0))[:3]
    world = [0.0, 0.0, 0.0]
    segmentation.TransformPointToWorld(point, world)
    return np.array(world)


def ids(slicer: Any) -> set[str]:
    scene = slicer.mrmlScene
    return {scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes())}
