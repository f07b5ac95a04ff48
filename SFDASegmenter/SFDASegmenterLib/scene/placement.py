"""Puts result folders into the scene, and takes them out again.

Files are read without storage nodes in the scene: nothing refers to the run's folder, which is
temporary, and saving the scene writes every node anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from SFDALib.results import layout
from SFDALib.results.layout import MapFile, ResultFile, SegmentationFile
from SFDASegmenterLib.scene import tables
from SFDASegmenterLib.scene.colors import color_node
from SFDASegmenterLib.scene.results import (
    CHARTS,
    FOLDER,
    FRAME,
    IMAGE,
    INPUT,
    ROLE,
    RUN,
    SAMPLE,
    SEQUENCE,
    Results,
    results_in_scene,
)


@dataclass(frozen=True)
class Origin:
    """The image that was segmented.

    Args:
        name: of the image when the run was started.
        node: ID of its volume, or of the sequence's proxy; None where there is none any more.
        frame: (ID of the sequence, index) where it is a frame of a sequence.
    """

    name: str
    node: str | None
    frame: tuple[str, int] | None = None


class Placement:
    """Puts the result folder of one image into the scene, a node at a time.

    ``steps`` is to be exhausted, with time for the window between its steps; ``remove`` takes
    everything away again.

    Args:
        folder: as SFDALib wrote it.
        origin: the image.
        run: an ID shared by all nodes of a run.
        trust: in place of the report's "trust"; of a comparison, where the judge knows the others.
    """

    def __init__(
        self, folder: Path, origin: Origin, run: str, trust: Mapping[str, Any] | None = None
    ) -> None:
        self._folder = folder
        self._origin = origin
        self._run = run
        self._report = json.loads((folder / layout.REPORT.name).read_text(encoding="utf-8"))
        self._report |= {} if trust is None else {"trust": trust}
        made_by = _("Automatic ({method})") if "auto" in self._report else "{method}"
        self._name = _unused(f"{origin.name} {made_by.format(method=self._report['title'])}")
        self._items: list[int] = []
        self._nodes: list[str] = []
        self.results: Results | None = None

    def steps(self) -> Iterator[None]:
        """Place node after node: every segmentation and map that the report says was written."""
        result = self._segmentation(layout.SEGMENTATION, self._folder, self._name)
        self._add(result, layout.SEGMENTATION.role)
        self._describe(result)
        self.results = Results(result)
        yield
        for file in _shown(layout.RESULT_FOLDER, self._report["files_written"]):
            if file is not layout.SEGMENTATION:
                self._add(self._node(file, self._folder, self._name), file.role)
                yield
        yield from self._samples()
        self._add(tables.volumes_table(f"{self._name} volumes", self._report), "volumes")
        for role, make in CHARTS.items():
            chart = make(self._name, self._report)
            if chart is not None:
                self._add(chart[0], role)
                for part in chart[1]:
                    self._note(part, f"{role} data")
        text = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", f"{self._name} report")
        text.SetText(json.dumps(self._report, indent=2, ensure_ascii=False))
        self._add(text, layout.REPORT.role)

    def place_agreement(
        self, folder: Path, written: Mapping[str, str], others: Sequence[Placement]
    ) -> Iterator[None]:
        """Place what a comparison writes about its methods together.

        Args:
            folder: of the comparison.
            written: what it has written: names of files by role.
            others: the placements of the other methods, whose results refer to the nodes, too.
        """
        for file in _shown(layout.COMPARISON_FOLDER, written):
            node = self._node(file, folder, self._origin.name)
            self._add(node, file.role)
            for other in others:
                if other.results is not None:
                    other.results.refer(file.role, node)
            yield

    def remove(self) -> None:
        """Take everything that was placed out of the scene."""
        for node_id in reversed(self._nodes):
            node = slicer.mrmlScene.GetNodeByID(node_id)
            if node is not None:
                _remove_whole(node)
        hierarchy = _hierarchy()
        for item in self._items:
            hierarchy.RemoveItem(item)
        self.results = None

    # --- The nodes -------------------------------------------------------------------------------

    @property
    def _input(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        node = self._origin.node
        return slicer.mrmlScene.GetNodeByID(node) if node else None

    def _node(self, file: ResultFile, folder: Path, name: str) -> slicer.vtkMRMLNode:
        """The node of a map, or of a segmentation beside the result, which is hidden."""
        if isinstance(file, MapFile):
            return self._map(file, folder, f"{name} {_in_a_name(file.title)}")
        node = self._segmentation(file, folder, f"{name} {file.title}")
        node.GetDisplayNode().SetVisibility(False)
        return node

    def _segmentation(
        self, file: ResultFile, folder: Path, name: str
    ) -> slicer.vtkMRMLSegmentationNode:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        self._nodes.append(node.GetID())
        _read(slicer.vtkMRMLSegmentationStorageNode(), folder / file.name, node)
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetOpacity2DFill(0.3)
        if self._input is not None:
            node.SetReferenceImageGeometryParameterFromVolumeNode(self._input)
        return node

    def _map(self, file: MapFile, folder: Path, name: str) -> slicer.vtkMRMLScalarVolumeNode:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        self._nodes.append(node.GetID())
        _read(slicer.vtkMRMLNRRDStorageNode(), folder / file.name, node)
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetAndObserveColorNodeID(color_node(file.colormap).GetID())
        display.SetInterpolate(False)  # a threshold between voxels would draw a rim
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(*file.window(len(self._report["volumes"]) + 1))
        return node

    def _samples(self) -> Iterator[None]:
        scores = self._report["details"].get("samples", [])
        if not scores:
            return
        scene = slicer.mrmlScene
        sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", f"{self._name} samples")
        sequence.SetIndexName("sample")
        sequence.SetIndexUnit("")
        self._add(sequence, layout.SAMPLES.role)
        for index, score in enumerate(scores):
            node = slicer.vtkMRMLScalarVolumeNode()  # in no scene: the sequence holds a copy
            path = self._folder / layout.sample_name(index)
            _read(slicer.vtkMRMLNRRDStorageNode(), path, node)
            node.SetName(f"{self._name} sample")
            node.SetAttribute("SFDA.Score", f"{score['score']:.6g}")
            node.SetAttribute("SFDA.Seed", str(score["seed"]))
            sequence.SetDataNodeAtValue(node, str(index + 1))
            yield
        browser = scene.AddNewNodeByClass(
            "vtkMRMLSequenceBrowserNode", f"{self._name} sample browser"
        )
        browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
        browser.SetSelectedItemNumber(self._report["details"]["chosen_sample"])
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        proxy = browser.GetProxyNode(sequence)
        proxy.SetName(f"{self._name} sample")
        self._note(proxy, SAMPLE)
        self._file(proxy)
        self._add(browser, "browser")  # after its proxy, so that it is removed before it
        yield

    # --- Where they belong -----------------------------------------------------------------------

    def _add(self, node: slicer.vtkMRMLNode, role: str) -> None:
        """Give a node its role: noted, filed, moved with the input, known to the result."""
        self._note(node, role)
        self._file(node)
        if self.results is not None:
            self.results.refer(role, node)

    def _note(self, node: slicer.vtkMRMLNode, role: str) -> None:
        if node.GetID() not in self._nodes:
            self._nodes.append(node.GetID())
        node.SetAttribute(RUN, self._run)
        node.SetAttribute(ROLE, role)
        if node.IsA("vtkMRMLTransformableNode") and self._input is not None:
            node.SetAndObserveTransformNodeID(self._input.GetTransformNodeID())

    def _file(self, node: slicer.vtkMRMLNode) -> None:
        """Put it into the run's folder, beside the input in the subject hierarchy."""
        hierarchy = _hierarchy()
        if not self._items:
            parent = hierarchy.GetSceneItemID()
            if self._input is not None:
                item = hierarchy.GetItemByDataNode(self._input)
                parent = hierarchy.GetItemParent(item) if item else parent
            self._items.append(hierarchy.CreateFolderItem(parent, self._name))
        item = hierarchy.GetItemByDataNode(node)
        if item:
            hierarchy.SetItemParent(item, self._items[0])

    def _describe(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        """The provenance, where a reader of the scene file finds it."""
        report = self._report
        provenance = {
            "Method": report["title"],
            "Paper": report["paper"],
            "Options": json.dumps(report["options"], sort_keys=True),
            "Seed": str(report["seed"]),
            "Device": report["device"],
            "SourceModel": report["bundle"]["name"],
            "SourceModelSHA256": report["bundle"]["sha256"],
            "InputSHA256": " ".join(file["sha256"] for file in report["input"]),
            "Software": json.dumps(report["software"], sort_keys=True),
            "Notice": report["notice"],
        }
        for key, value in provenance.items():
            node.SetAttribute(f"SFDA.{key}", value)
        node.SetAttribute(IMAGE, self._origin.name)
        node.SetAttribute(FOLDER, str(self._folder))
        if self._origin.frame is not None:
            node.SetNodeReferenceID(SEQUENCE, self._origin.frame[0])
            node.SetAttribute(FRAME, str(self._origin.frame[1]))
        if self._input is not None:
            node.SetNodeReferenceID(INPUT, self._input.GetID())
            role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
            node.SetNodeReferenceID(role, self._input.GetID())


def _shown(files: Sequence[ResultFile], written: Mapping[str, str]) -> list[ResultFile]:
    """The segmentations and maps among the files that were written."""
    kinds = (SegmentationFile, MapFile)
    return [file for file in files if file.role in written and isinstance(file, kinds)]


def _in_a_name(title: str) -> str:
    """A title within a name: without its first capital, unless that is of an abbreviation."""
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


def _read(storage: slicer.vtkMRMLStorageNode, path: Path, node: slicer.vtkMRMLNode) -> None:
    storage.SetFileName(str(path))
    if not storage.ReadData(node):
        raise OSError(f"{path}: could not be read back; the disk may be full or damaged")


def _remove_whole(node: slicer.vtkMRMLNode) -> None:
    """Remove a node with its display and storage nodes, which the scene would keep."""
    parts = []
    if node.IsA("vtkMRMLDisplayableNode"):
        parts += [node.GetNthDisplayNode(i) for i in range(node.GetNumberOfDisplayNodes())]
    if node.IsA("vtkMRMLStorableNode"):
        parts += [node.GetNthStorageNode(i) for i in range(node.GetNumberOfStorageNodes())]
    slicer.mrmlScene.RemoveNode(node)
    for part in parts:  # which the application may have removed with the node
        if part is not None and slicer.mrmlScene.IsNodePresent(part):
            slicer.mrmlScene.RemoveNode(part)


def _unused(name: str) -> str:
    """The name, numbered where a run has it already."""
    taken = {results.node.GetName() for results in results_in_scene()}
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name} {number}"
    return candidate


def _hierarchy() -> slicer.vtkMRMLSubjectHierarchyNode:
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
