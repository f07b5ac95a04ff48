"""Results in the scene: in the right place, complete, beside what the user has; and found again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from heads import LEFT_HANDED, OBLIQUE, geometry_around_head, head
from phantoms import write
from scene_bench import centre_ras, finish, ids

BRAIN_RAS = (-5.0, 3.0, 8.0)  # the centre of the phantom's brain; LPS (5, -3, 8)


@pytest.mark.parametrize(
    ("direction", "spacing", "size"),
    [
        pytest.param(OBLIQUE, (2.5, 2.2, 6.0), (36, 40, 14), id="oblique"),
        pytest.param(LEFT_HANDED, (2.5, 2.5, 6.0), (36, 40, 14), id="left-handed"),
    ],
)
@pytest.mark.parametrize("moved", [False, True], ids=["in place", "under a transform"])
def test_segmentation_and_maps_lie_on_the_anatomy(
    segmenter: Any,
    tmp_path: Path,
    direction: tuple[float, ...],
    spacing: tuple[float, ...],
    size: tuple[int, ...],
    moved: bool,
) -> None:
    import vtk

    slicer = segmenter.slicer
    path = tmp_path / "head.nrrd"
    geometry = geometry_around_head(size, spacing, direction)
    write(path, head(geometry).array, geometry)
    volume = segmenter.load(path)
    expected = np.array(BRAIN_RAS)
    if moved:
        matrix = vtk.vtkMatrix4x4()
        for row, values in enumerate(((0, -1, 0, 40), (1, 0, 0, -7), (0, 0, 1, 12))):
            for column, value in enumerate(values):
                matrix.SetElement(row, column, value)
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        transform.SetMatrixTransformToParent(matrix)
        volume.SetAndObserveTransformNodeID(transform.GetID())
        expected = np.array(matrix.MultiplyPoint((*BRAIN_RAS, 1.0))[:3])
    before = slicer.util.arrayFromVolume(volume).copy()

    results = segmenter.run([volume])

    assert np.linalg.norm(centre_ras(slicer, results.node) - expected) < 3.0
    entropy = results.get("entropy")
    assert entropy.GetTransformNodeID() == volume.GetTransformNodeID()
    own, of_volume = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
    entropy.GetIJKToRASMatrix(own)
    volume.GetIJKToRASMatrix(of_volume)
    assert np.allclose(
        slicer.util.arrayFromVTKMatrix(own), slicer.util.arrayFromVTKMatrix(of_volume), atol=1e-4
    )
    assert np.array_equal(slicer.util.arrayFromVolume(volume), before), "the input is untouched"


def test_all_channels_of_a_color_volume_reach_the_model(
    segmenter: Any, phantom: Callable[..., Any]
) -> None:
    volume = segmenter.load(phantom(channels=3).image)
    assert volume.IsA("vtkMRMLVectorVolumeNode")
    results = segmenter.run([volume])
    assert np.linalg.norm(centre_ras(segmenter.slicer, results.node) - BRAIN_RAS) < 3.0


def test_channels_may_be_volumes_of_their_own(
    segmenter: Any, phantom: Callable[..., Any], tmp_path: Path
) -> None:
    image = sitk.ReadImage(str(phantom(channels=3).image))
    nodes = []
    for index in range(3):
        path = tmp_path / f"channel{index}.nrrd"
        sitk.WriteImage(sitk.VectorIndexSelectionCast(image, index), str(path))
        nodes.append(segmenter.load(path))
    results = segmenter.run(nodes)
    assert np.linalg.norm(centre_ras(segmenter.slicer, results.node) - BRAIN_RAS) < 3.0


def test_every_file_of_a_run_has_its_node_in_one_folder_beside_the_input(
    segmenter: Any, placed: Callable[[], Any]
) -> None:
    slicer = segmenter.slicer
    results = placed().results
    names = {
        role: results.get(role).GetName()
        for role in ("source", "denoised", "entropy", "nig_uncertainty", "samples", "report")
    }
    assert names["entropy"] == "head HEAL entropy"
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(results.node))
    assert hierarchy.GetItemName(folder) == "head HEAL"
    for role in names:
        item = hierarchy.GetItemByDataNode(results.get(role))
        assert hierarchy.GetItemParent(item) == folder, role
    assert hierarchy.GetItemParent(folder) == hierarchy.GetItemParent(
        hierarchy.GetItemByDataNode(results.input)
    )


def test_segments_have_names_and_colors_of_the_bundle_and_the_inputs_geometry(
    placed: Callable[[], Any],
) -> None:
    results = placed().results
    segment = results.node.GetSegmentation().GetNthSegment(0)
    assert segment.GetName() == "Brain"
    assert np.allclose(np.array(segment.GetColor()) * 255, (250, 170, 70), atol=1)
    role = results.node.GetReferenceImageGeometryReferenceRole()
    assert results.node.GetNodeReferenceID(role) == results.input.GetID()
    assert results.node.GetSegmentation().GetConversionParameter("Reference image geometry")


def test_maps_are_float_with_a_fixed_window_and_a_color_table_of_their_own(
    segmenter: Any, placed: Callable[[], Any]
) -> None:
    results = placed().results
    for role, name in (("entropy", "SFDA inferno"), ("nig_uncertainty", "SFDA viridis")):
        node = results.get(role)
        assert segmenter.slicer.util.arrayFromVolume(node).dtype == np.float32
        display = node.GetDisplayNode()
        assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0.0, 1.0)
        assert not display.GetAutoWindowLevel()
        assert display.GetColorNode().GetName() == name
        table = display.GetColorNode().GetLookupTable()
        lightness = [
            np.dot((0.2126, 0.7152, 0.0722), table.GetTableValue(i)[:3]) for i in range(0, 256, 8)
        ]
        assert (np.diff(lightness) > 0).all(), "brighter means more doubtful, throughout"


def test_the_window_of_entropy_ends_at_what_the_classes_allow(
    segmenter: Any, result_folder: Path, tmp_path: Path
) -> None:
    """With four classes at log2 of 4, whatever the volume holds."""
    from SFDASegmenterLib.scene.placement import Origin, Placement

    folder = tmp_path / "four classes"
    shutil.copytree(result_folder, folder)
    report = json.loads((folder / "report.json").read_text())
    report["volumes"] *= 3
    (folder / "report.json").write_text(json.dumps(report))
    placement = Placement(folder, Origin("head", None), "run")
    for _step in placement.steps():
        pass
    maxima = {
        role: node.GetDisplayNode().GetWindowLevelMax()
        for role, node in placement.results.maps.items()
        if role != "sample"
    }
    assert maxima == {"entropy": 2.0, "nig_uncertainty": 1.0}


def test_a_new_map_needs_an_entry_in_the_layout_alone(
    segmenter: Any,
    phantom: Callable[..., Any],
    result_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is placed with its title, window and colours, found by its role, and gets a legend."""
    from SFDASegmenterLib.scene import layers
    from SFDASegmenterLib.scene.placement import Origin, Placement

    from SFDALib.results import layout

    toy = layout.MapFile(
        "toy", "toy.nrrd", "Toy", "What a toy shows.", unit="mm", maximum=7.0, colormap="viridis"
    )
    monkeypatch.setattr(layout, "RESULT_FOLDER", (*layout.RESULT_FOLDER, toy))
    folder = tmp_path / "heal"
    shutil.copytree(result_folder, folder)
    shutil.copyfile(folder / "entropy.nrrd", folder / "toy.nrrd")
    report = json.loads((folder / "report.json").read_text())
    report["files_written"]["toy"] = "toy.nrrd"
    (folder / "report.json").write_text(json.dumps(report))
    volume = segmenter.load(phantom().image)
    placement = Placement(folder, Origin("head", volume.GetID()), "run")
    for _step in placement.steps():
        pass
    node = placement.results.maps["toy"]
    assert node.GetName() == "head HEAL toy"
    assert node.GetDisplayNode().GetWindowLevelMax() == 7.0
    assert node.GetDisplayNode().GetColorNode().GetName() == "SFDA viridis"
    layers.show_overlay(node, 0.6, 0.2)
    legend = segmenter.slicer.modules.colors.logic().GetColorLegendDisplayNode(node)
    assert legend.GetTitleText() == "Toy (mm)"


def test_samples_are_browsed_and_the_chosen_one_is_shown_first(
    segmenter: Any, placed: Callable[[], Any], result_folder: Path
) -> None:
    slicer = segmenter.slicer
    results = placed().results
    report = json.loads((result_folder / "report.json").read_text())
    assert results.get("samples").GetNumberOfDataNodes() == 3
    chosen = report["details"]["chosen_sample"]
    assert results.get("browser").GetSelectedItemNumber() == chosen
    for index in (2, 0, 1):
        results.select_sample(index)
        image = sitk.ReadImage(str(result_folder / "samples" / f"sample_{index}.nrrd"))
        shown = slicer.util.arrayFromVolume(results.sample)
        assert np.array_equal(shown, sitk.GetArrayFromImage(image))
        score = float(results.get("samples").GetNthDataNode(index).GetAttribute("SFDA.Score"))
        assert score == pytest.approx(report["details"]["samples"][index]["score"], rel=1e-5)


def test_provenance_stays_with_the_result(placed: Callable[[], Any]) -> None:
    node = placed().results.node
    assert node.GetAttribute("SFDA.Method") == "HEAL"
    assert json.loads(node.GetAttribute("SFDA.Options"))["samples"] == 3
    assert len(node.GetAttribute("SFDA.SourceModelSHA256")) == 64
    assert "not a medical device" in node.GetAttribute("SFDA.Notice")
    assert "torch" in json.loads(node.GetAttribute("SFDA.Software"))


def test_a_second_run_makes_numbered_nodes_and_leaves_an_edited_segmentation_alone(
    placed: Callable[[], Any],
) -> None:
    first = placed().results
    first.node.GetSegmentation().GetNthSegment(0).SetName("edited by hand")
    second = placed().results
    assert (first.node.GetName(), second.node.GetName()) == ("head HEAL", "head HEAL 2")
    assert first.node.GetSegmentation().GetNthSegment(0).GetName() == "edited by hand"
    assert second.get("entropy").GetName() == "head HEAL 2 entropy"


def test_removing_a_placement_leaves_the_scene_as_it_was(
    segmenter: Any, placed: Callable[[], Any]
) -> None:
    placed()  # colour tables are made once and stay
    before = ids(segmenter.slicer)
    placement = placed()
    assert ids(segmenter.slicer) > before
    placement.remove()
    assert ids(segmenter.slicer) == before


def test_the_input_may_be_gone_when_the_run_ends(
    segmenter: Any, phantom: Callable[..., Any]
) -> None:
    volume = segmenter.load(phantom().image)
    name = volume.GetName()
    run = segmenter.logic.start(segmenter.request([volume], "none"))
    segmenter.slicer.mrmlScene.RemoveNode(volume)
    finish(run)
    assert run.state.value == "done", run.message
    assert run.results[0].input is None
    assert run.results[0].node.GetName().startswith(name)


def test_results_are_named_after_the_volume_that_was_run(
    segmenter: Any, phantom: Callable[..., Any]
) -> None:
    volume = segmenter.load(phantom().image)
    volume.SetName("first")
    run = segmenter.logic.start(segmenter.request([volume], "none"))
    volume.SetName("renamed since")
    finish(run)
    assert run.results[0].node.GetName().startswith("first ")


def test_a_cohort_gives_each_volume_its_results_and_names_what_failed(
    segmenter: Any, phantom: Callable[..., Any], tmp_path: Path
) -> None:
    from SFDASegmenterLib import staging
    from SFDASegmenterLib.request import Request

    good = segmenter.load(phantom().image)
    good.SetName("good")
    flat = segmenter.load(phantom().image)
    flat.SetName("flat")
    segmenter.slicer.util.updateVolumeFromArray(
        flat, np.zeros_like(segmenter.slicer.util.arrayFromVolume(flat))
    )
    images = tuple(staging.image_of([node]) for node in (flat, good))
    run = segmenter.logic.start(Request(images, str(phantom().bundle), "none"))
    finish(run)
    assert run.state.value == "done", run.message
    assert [results.node.GetName().split()[0] for results in run.results] == ["good"]
    assert len(run.failures) == 1
    assert "flat" in next(iter(run.failures))


def test_a_sequence_is_run_frame_by_frame(segmenter: Any, phantom: Callable[..., Any]) -> None:
    from SFDASegmenterLib import staging
    from SFDASegmenterLib.request import Request

    slicer = segmenter.slicer
    volume = segmenter.load(phantom().image)
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "heart")
    for time_ in ("0", "40"):
        sequence.SetDataNodeAtValue(volume, time_)
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    slicer.mrmlScene.RemoveNode(volume)
    request = Request(tuple(staging.frames_of(sequence)), str(phantom().bundle), "none")
    run = segmenter.logic.start(request)
    finish(run)
    assert run.state.value == "done", run.message
    assert len(run.results) == 2
    run.results[1].select_frame()
    assert browser.GetSelectedItemNumber() == 1
    assert run.results[1].input.GetID() == browser.GetProxyNode(sequence).GetID()
