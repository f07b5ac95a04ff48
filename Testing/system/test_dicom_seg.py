"""Results as DICOM SEG: what Slicer's exporter demands of files and nodes, and a true conversion.

Slicer hands a segmentation to dcmqi with a description made of every segment's tags. Here that
description is made of the same tags, read by Slicer's own logic, and dcmqi converts it, too.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from heads import OBLIQUE, geometry_around_head, head

from SFDALib import __version__
from SFDALib.__main__ import main


@pytest.fixture(scope="module")
def series(slicer_app: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the phantom's oblique head as a DICOM series. Read only."""
    from SFDASegmenterLib.self_test_dicom import write_series

    folder = tmp_path_factory.mktemp("series")
    volume = head(geometry_around_head((36, 40, 14), (2.5, 2.2, 6.0), OBLIQUE))
    write_series(volume.to_sitk(), folder)
    return folder


@pytest.fixture(scope="module")
def compared(
    series: Path, phantom: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The results of HEAL and another method for the series, and their consensus. Read only."""
    output = tmp_path_factory.mktemp("compared") / "results"
    words = ["compare", "--bundle", str(phantom(classes=3).bundle), "--input", str(series)]
    words += ["--methods", "heal,early-features", "--option", "early-features.epochs=1"]
    words += ["--option", "heal.samples=2", "--option", "heal.steps=2", "--device", "cpu"]
    assert main([*words, "--output", str(output)]) == 0
    return output


# By the node's role: the file, and what made it
ROLES = {
    "result": ("heal/segmentation.seg.nrrd", "HEAL"),
    "source": ("heal/source_segmentation.seg.nrrd", "No adaptation"),
    "adapted": ("heal/adapted_segmentation.seg.nrrd", "HEAL"),
    "denoised": ("heal/denoised.seg.nrrd", "HEAL, denoised"),
    "consensus_staple": ("consensus_staple.seg.nrrd", "Consensus (staple) of 2 methods"),
    "consensus_majority": ("consensus_majority.seg.nrrd", "Consensus (majority) of 2 methods"),
}
CODES = {
    "Brain": (("SCT", "123037004", "Anatomical Structure"), ("SCT", "12738006", "Brain")),
    "Lesion": (
        ("SCT", "49755003", "Morphologically Altered Structure"),
        ("SCT", "52988006", "Lesion"),
    ),
}


def test_every_file_holds_what_the_export_demands(compared: Path) -> None:
    slicerio = pytest.importorskip("slicerio")
    written = {path.relative_to(compared).as_posix() for path in compared.rglob("*.seg.nrrd")}
    of_others = {path for path in written if path.startswith(("none/", "early-features/"))}
    assert written - of_others == {file for file, _ in ROLES.values()}
    methods = {file: method for file, method in ROLES.values()}
    for file in written:
        segments = slicerio.read_segmentation(str(compared / file))["segments"]
        assert [segment["name"] for segment in segments] == list(CODES)
        for segment in segments:
            category, type_ = CODES[segment["name"]]
            assert tuple(segment["terminology"]["category"]) == category, file
            assert tuple(segment["terminology"]["type"]) == type_, file
            assert segment["tags"]["DICOM.SegmentAlgorithmType"] == "AUTOMATIC", file
            name = segment["tags"]["DICOM.SegmentAlgorithmName"]
            assert name.endswith(f" (SFDA {__version__})") and len(name) <= 64
            assert file in of_others or name.startswith(methods[file])


def test_every_node_exports_and_reads_back(
    scene: Any, compared: Path, series: Path, tmp_path: Path
) -> None:
    dcmqi = pytest.importorskip("dcmqi")
    for role, node in nodes_of(compared, series, tmp_path).items():
        reference = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
        assert reference is not None and reference.IsA("vtkMRMLScalarVolumeNode"), role
        file = compared / ROLES[role][0]
        described = description_of(node)
        labels = sitk.ReadImage(str(file))
        present = [value for value in (1, 2) if (sitk.GetArrayFromImage(labels) == value).any()]
        assert 1 in present, role
        folder = tmp_path / role
        folder.mkdir()
        masks = []
        for value in present:
            masks.append(str(folder / f"{value}.nrrd"))
            sitk.WriteImage(sitk.Cast(labels == value, sitk.sitkUInt16), masks[-1])
        described["segmentAttributes"] = [
            [described["segmentAttributes"][value - 1]] for value in present
        ]
        (folder / "description.json").write_text(json.dumps(described))
        convert(
            dcmqi,
            *("itkimage2segimage", "--inputDICOMDirectory", series),
            *("--inputImageList", ",".join(masks), "--outputDICOM", folder / "seg.dcm"),
            *("--inputMetadata", folder / "description.json"),
        )
        back = folder / "back"
        back.mkdir()
        convert(
            dcmqi,
            *("segimage2itkimage", "--inputDICOM", folder / "seg.dcm", "--mergeSegments"),
            *("--outputDirectory", back),
        )
        read = json.loads((back / "meta.json").read_text())["segmentAttributes"]
        for found, given in zip(
            (one for group in read for one in group),
            (one for group in described["segmentAttributes"] for one in group),
            strict=True,
        ):
            for key in set(given) - {"labelID", "recommendedDisplayRGBValue"}:
                assert found[key] == given[key], (role, key)
        restored = sitk.GetArrayFromImage(sitk.ReadImage(str(back / "1.nrrd")))
        assert np.count_nonzero(restored) == np.count_nonzero(sitk.GetArrayFromImage(labels)), role


def nodes_of(compared: Path, series: Path, folder: Path) -> dict[str, Any]:
    """The segmentation nodes of HEAL's results and of the consensus, by role."""
    import slicer
    from SFDASegmenterLib.scene.placement import Origin, Placement

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series)))
    sitk.WriteImage(reader.Execute(), str(folder / "head.nrrd"))
    volume = slicer.util.loadVolume(str(folder / "head.nrrd"))
    placement = Placement(compared / "heal", Origin("head", volume.GetID()), "run")
    for _step in placement.steps():
        pass
    written = json.loads((compared / "comparison.json").read_text())["files_written"]
    for _step in placement.place_agreement(compared, written, []):
        pass
    found = {role: placement.results.get(role) for role in ROLES if role != "result"}
    return {"result": placement.results.node, **found}


def description_of(node: Any) -> dict[str, Any]:
    """What Slicer's exporter tells its converter of a segmentation, by the same logic."""
    import slicer
    import vtk

    segmentation = node.GetSegmentation()
    attributes = []
    for index in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(index)
        voxels = segment.GetRepresentation("Binary labelmap").GetPointData()
        assert voxels.GetArray("ImageScalars") is not None, "taken for empty by the exporter"
        tags = {}
        for tag in (
            "DICOM.SegmentAlgorithmType",
            "DICOM.SegmentAlgorithmName",
            segment.GetTerminologyEntryTagName(),
        ):
            value = vtk.mutable("")
            assert segment.GetTag(tag, value), tag
            tags[tag] = str(value)
        entry = slicer.vtkSlicerTerminologyEntry()
        logic = slicer.vtkSlicerTerminologiesModuleLogic()
        assert logic.DeserializeTerminologyEntry(tags[segment.GetTerminologyEntryTagName()], entry)
        attributes.append(
            {
                "labelID": 1,
                "SegmentLabel": segment.GetName(),
                "SegmentDescription": entry.GetCategoryObject().GetCodeMeaning(),
                "SegmentAlgorithmType": tags["DICOM.SegmentAlgorithmType"],
                "SegmentAlgorithmName": tags["DICOM.SegmentAlgorithmName"],
                "recommendedDisplayRGBValue": [round(255 * part) for part in segment.GetColor()],
                "SegmentedPropertyCategoryCodeSequence": code(entry.GetCategoryObject()),
                "SegmentedPropertyTypeCodeSequence": code(entry.GetTypeObject()),
            }
        )
    return {
        "ContentCreatorName": "Slicer",
        "SeriesNumber": "107",
        "InstanceNumber": "1",
        "SeriesDescription": node.GetName(),
        "ClinicalTrialSeriesID": "1",
        "ClinicalTrialTimePointID": "1",
        "ClinicalTrialCoordinatingCenterName": "SFDA",
        "segmentAttributes": attributes,
    }


def code(coded: Any) -> dict[str, str]:
    return {
        "CodeValue": coded.GetCodeValue(),
        "CodingSchemeDesignator": coded.GetCodingSchemeDesignator(),
        "CodeMeaning": coded.GetCodeMeaning(),
    }


def convert(dcmqi: Any, program: str, *words: str | Path) -> None:
    """Run one of dcmqi's programs to a good end."""
    command = [str(dcmqi._lookup(program)), *map(str, words)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr or done.stdout
