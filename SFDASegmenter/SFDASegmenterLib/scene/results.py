"""The nodes of one run, found by their roles, after a reload too.

The result's segmentation refers to all the others by role, so that no list is kept elsewhere and
nodes that the user deletes are simply missing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import slicer

from SFDALib.results import layout
from SFDASegmenterLib.scene import tables

ROLE, RUN = "SFDA.Role", "SFDA.Run"  # attributes of every node of a run
RESULT = layout.SEGMENTATION.role  # of the segmentation that refers to the others
FOLDER = "SFDA.Folder"  # attribute of the result: where its files were written
INPUT = "SFDA.input"  # reference of the result
SEQUENCE = "SFDA.sequence"  # reference of the result: where it is one of a frame
IMAGE, FRAME = "SFDA.InputName", "SFDA.Frame"  # attributes of the result: what it is a result of


SAMPLE = "sample"  # the role of the volume that shows the sample chosen in the browser
CHARTS = {"curves": tables.curves_chart, "scores": tables.scores_chart}


class Results:
    """One run's nodes, by the segmentation that refers to them."""

    def __init__(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        self.node = node

    def get(self, role: str) -> slicer.vtkMRMLNode | None:
        """The node of that role, None where there is none."""
        return self.node.GetNodeReference(f"SFDA.{role}")

    def refer(self, role: str, node: slicer.vtkMRMLNode) -> None:
        """Let a node be found by its role."""
        self.node.SetNodeReferenceID(f"SFDA.{role}", node.GetID())

    @property
    def input(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The volume that was segmented, if it is still in the scene."""
        return self.node.GetNodeReference(INPUT)

    @property
    def maps(self) -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
        """The volumes that can be shown over the image, by role; the samples' is the one chosen."""
        found = {role: self.get(role) for role in layout.maps()} | {SAMPLE: self.sample}
        return {role: node for role, node in found.items() if node is not None}

    @property
    def charts(self) -> list[slicer.vtkMRMLPlotChartNode]:
        """The plots that this run has."""
        found = [self.get(role) for role in CHARTS]
        return [node for node in found if node is not None]

    @property
    def report(self) -> dict[str, Any]:
        """report.json; empty if its node was deleted."""
        node = self.get(layout.REPORT.role)
        return json.loads(node.GetText()) if node is not None else {}

    @property
    def own(self) -> slicer.vtkMRMLSegmentationNode:
        """The method's own segmentation, also where the judge delivers the source model's."""
        return self.get(layout.ADAPTED_SEGMENTATION.role) or self.node

    @property
    def compared(self) -> list[Results]:
        """All results of the same run on the same image: of every method compared or tried."""
        return [other for other in results_in_scene() if other._image == self._image]

    @property
    def other_verdicts(self) -> list[dict[str, Any]]:
        """The field "trust" of the reports of the others of these, where they have one."""
        others = (one.report for one in self.compared if one.node is not self.node)
        return [report["trust"] for report in others if report.get("trust")]

    @property
    def _image(self) -> tuple[str | None, ...]:
        """The run, and which of its images: a cohort has several."""
        node = self.node
        names = (RUN, IMAGE, FRAME)
        return (*(node.GetAttribute(name) for name in names), node.GetNodeReferenceID(INPUT))

    @property
    def folder(self) -> Path | None:
        """Where the run's files are, as long as they are kept."""
        folder = Path(self.node.GetAttribute(FOLDER) or "")
        return folder if (folder / layout.REPORT.name).is_file() else None

    @property
    def pictures(self) -> list[Path]:
        """The run's own pictures, as long as its files are kept."""
        if self.folder is None:
            return []
        places = (
            self.folder / layout.OVERVIEW.name,
            self.folder.parent / layout.COMPARISON_PICTURE.name,
        )
        return [place for place in places if place.is_file()]

    @property
    def probabilities(self) -> Path | None:
        """The file of the classes' probabilities, if the run made one and it is kept."""
        path = self.folder / layout.PROBABILITIES.name if self.folder is not None else None
        return path if path is not None and path.is_file() else None

    @property
    def adapted_bundle(self) -> Path | None:
        """The adapted model: this image's own, or the one of all images of a cohort."""
        if self.folder is None:
            return None
        name = layout.ADAPTED_BUNDLE.name
        places = (self.folder / name, self.folder.parent / name)
        return next((place for place in places if place.is_dir()), None)

    @property
    def sample(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The volume that shows the sample chosen in the browser."""
        browser, sequence = self.get("browser"), self.get("samples")
        if browser is None or sequence is None:
            return None
        return browser.GetProxyNode(sequence)

    def select_sample(self, index: int) -> None:
        """Show another sample in the proxy."""
        browser = self.get("browser")
        if browser is None:
            return
        browser.SetSelectedItemNumber(index)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)

    def select_frame(self) -> None:
        """Bring the input's sequence to the frame that this is the result of."""
        sequence = self.node.GetNodeReference(SEQUENCE)
        index = self.node.GetAttribute(FRAME)
        if sequence is None or index is None:
            return
        browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForSequenceNode(sequence)
        if browser is not None:
            browser.SetSelectedItemNumber(int(index))
            slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)


def results_in_scene() -> list[Results]:
    """Every run's results, in the order in which they came."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return [Results(node) for node in nodes if node.GetAttribute(ROLE) == RESULT]
