"""The self-test of what leaves for the hospital's archive: a result as DICOM SEG, and back.

A part of the module's self-test, in a file of its own. Slicer has had the exporter since 5.12;
where it has none, the test is skipped with the reason.
"""

from __future__ import annotations

import json
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any

import slicer

from SFDASegmenterLib import library, staging
from SFDASegmenterLib.request import Request
from SFDASegmenterLib.runs import State

PLUGIN = "DICOMSegmentationPlugin"
LIMIT = 1200  # seconds that the job may take on a slow machine
TAGS = ("DICOM.SegmentAlgorithmType", "DICOM.SegmentAlgorithmName")


class DicomSelfTest(unittest.TestCase):
    """For ``SFDASegmenterTest``, which says what the module's logic is."""

    logic_type: type[Any]

    def test_a_result_is_exported_to_dicom_seg_and_read_back(self) -> None:
        """Every segment comes back with its voxels, its codes and the name of what made it."""
        plugins = getattr(slicer.modules, "dicomPlugins", {})
        if PLUGIN not in plugins:
            self.skipTest("this version of Slicer has no export to DICOM SEG")
        from DICOMLib import DICOMUtils

        plugin = plugins[PLUGIN]()
        with (
            tempfile.TemporaryDirectory() as folder,
            DICOMUtils.TemporaryDICOMDatabase() as db,
        ):
            write_series(_sample(), Path(folder))
            DICOMUtils.importDicom(folder, db)
            (volume_id,) = DICOMUtils.loadPatientByUID(db.patients()[0])
            volume = slicer.mrmlScene.GetNodeByID(volume_id)
            result = _result_for(volume, self.logic_type())
            with tempfile.TemporaryDirectory() as exported:
                self._export(plugin, result, exported)
                (file,) = (str(path) for path in Path(exported).glob("*.dcm"))
                before = set(slicer.util.getNodesByClass("vtkMRMLSegmentationNode"))
                (loadable,) = plugin.examineFiles([file])
                self.assertTrue(plugin.load(loadable))
            after = set(slicer.util.getNodesByClass("vtkMRMLSegmentationNode"))
            (restored,) = after - before
            self._compare(restored, result, volume)

    def _export(self, plugin: Any, node: Any, folder: str) -> None:
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        (exportable,) = plugin.examineForExport(hierarchy.GetItemByDataNode(node))
        exportable.directory = folder
        self.assertEqual(plugin.export([exportable]), "")  # else it says what it lacks

    def _compare(self, restored: Any, result: Any, volume: Any) -> None:
        found, wanted = restored.GetSegmentation(), result.GetSegmentation()
        self.assertEqual(found.GetNumberOfSegments(), wanted.GetNumberOfSegments())
        for index in range(wanted.GetNumberOfSegments()):
            one, other = found.GetNthSegment(index), wanted.GetNthSegment(index)
            self.assertEqual(one.GetName(), other.GetName())
            for tag in TAGS:
                self.assertEqual(_tag(one, tag), _tag(other, tag))
            name = other.GetTerminologyEntryTagName()
            category_and_type = slice(1, 3)  # the lists' names before them are the reader's own
            self.assertEqual(
                _tag(one, name).split("~")[category_and_type],
                _tag(other, name).split("~")[category_and_type],
            )
            voxels = [
                slicer.util.arrayFromSegmentBinaryLabelmap(
                    node, part.GetNthSegmentID(index), volume
                )
                for node, part in ((restored, found), (result, wanted))
            ]
            self.assertTrue((voxels[0] > 0).any())
            self.assertTrue(((voxels[0] > 0) == (voxels[1] > 0)).all())


def write_series(image: Any, folder: Path) -> None:
    """Write a 3D image of SimpleITK's as a series of MR slices, whole numbers, one file each."""
    import SimpleITK as sitk

    image = sitk.Cast(image, sitk.sitkInt16)
    direction = image.GetDirection()
    along_rows, along_columns = direction[0::3], direction[1::3]
    root = f"2.25.{time.time_ns()}"
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(image.GetDepth()):
        part = image[:, :, k]
        tags = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.4",  # MR Image Storage
            "0008|0018": f"{root}.1.{k + 1}",
            "0008|0020": "20260101",
            "0008|0030": "120000",
            "0008|0060": "MR",
            "0010|0010": "SFDA^Self-test",
            "0010|0020": "SFDA",
            "0020|000d": f"{root}.2",
            "0020|000e": f"{root}.3",
            "0020|0010": "1",
            "0020|0011": "1",
            "0020|0013": str(k + 1),
            "0020|0032": _numbers(image.TransformIndexToPhysicalPoint((0, 0, k))),
            "0020|0037": _numbers((*along_rows, *along_columns)),
            "0020|0052": f"{root}.4",
        }
        for tag, value in tags.items():
            part.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{k + 1:04}.dcm"))
        writer.Execute(part)


def _numbers(values: Any) -> str:
    """As DICOM writes them, 16 characters each at most."""
    return "\\".join(f"{value:.9g}" for value in values)


def _sample() -> Any:
    import SimpleITK as sitk

    listed = json.loads((library.SAMPLES / "samples.json").read_text(encoding="utf-8"))
    return sitk.ReadImage(str(library.SAMPLES / listed["cases"][0]["image"]))


def _result_for(volume: Any, logic: Any) -> Any:
    """The segmentation by the shipped model as it is."""
    request = Request((staging.image_of([volume]),), str(library.EXAMPLE_BUNDLE), "none")
    run = logic.start(request)
    end = time.monotonic() + LIMIT
    while not run.ended:
        run.advance()
        slicer.app.processEvents()
        time.sleep(0.01)
        if time.monotonic() > end:
            raise AssertionError(f"not within {LIMIT} s")
    logic.abandon()
    if run.state.value != State.DONE.value:  # a reload makes the class anew
        raise AssertionError(run.message)
    return run.results[0].node


def _tag(segment: Any, name: str) -> str:
    import vtk

    value = vtk.mutable("")
    segment.GetTag(name, value)
    return str(value)
