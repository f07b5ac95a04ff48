"""The nodes of one run, found by their roles, after a reload too.

The result's segmentation refers to all the others by role, so that no list is kept elsewhere and
nodes that the user deletes are simply missing.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer

from SFDASegmenterLib.scene import tables

ROLE, RUN = "SFDA.Role", "SFDA.Run"  # attributes of every node of a run
RESULT = "result"  # the role of the segmentation that refers to the others
FOLDER = "SFDA.Folder"  # attribute of the result: where its files were written
ADAPTED_BUNDLE = "adapted_bundle"  # a folder among those files
PROBABILITIES = "probabilities.nrrd"  # a file among them
INPUT = "SFDA.input"  # reference of the result
IMAGE, FRAME = "SFDA.InputName", "SFDA.Frame"  # attributes of the result: what it is a result of


@dataclass(frozen=True)
class Map:
    """An uncertainty map: its file's stem is its role.

    Args:
        title: as in the colour legend, with the unit.
        short: as in a node's name, and in the panel.
        help: what it shows, in a sentence.
        colors: its colour table.
    """

    title: str
    short: str
    colors: str
    help: str

    def maximum(self, classes: int) -> float:
        """The largest value that it can have; the window ends there, whatever a volume holds."""
        return math.log2(classes) if "bits" in self.title else 1.0


MAPS = {
    "entropy": Map(
        "Entropy (bits)",
        "entropy",
        "SFDA entropy",
        "Where the source model is unsure: entropy in bits.",
    ),
    "nig_uncertainty": Map(
        "NIG uncertainty",
        "NIG uncertainty",
        "SFDA NIG uncertainty",
        "NIG uncertainty of the source model's result, from 0 to 1 (HEAL).",
    ),
    "vote_entropy": Map(
        "Disagreement of the methods (bits)",
        "disagreement",
        "SFDA entropy",
        "Where the compared methods differ: the entropy of their votes in bits.",
    ),
}
SAMPLE = "sample"  # the role of the volume that shows the sample chosen in the browser
CHARTS = {"curves": tables.curves_chart, "scores": tables.scores_chart}
SEGMENTATIONS = {
    "source": ("source_segmentation.seg.nrrd", "source model"),
    "adapted": ("adapted_segmentation.seg.nrrd", "method's own"),
    "denoised": ("denoised.seg.nrrd", "denoised"),
}


class Results:
    """One run's nodes, by the segmentation that refers to them."""

    def __init__(self, node: slicer.vtkMRMLSegmentationNode) -> None:
        self.node = node

    def get(self, role: str) -> slicer.vtkMRMLNode | None:
        """The node of that role, None where there is none."""
        return self.node.GetNodeReference(f"SFDA.{role}")

    @property
    def input(self) -> slicer.vtkMRMLScalarVolumeNode | None:
        """The volume that was segmented, if it is still in the scene."""
        return self.node.GetNodeReference(INPUT)

    @property
    def maps(self) -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
        """The volumes that can be shown over the image, by role; the samples' is the one chosen."""
        found = {role: self.get(role) for role in MAPS} | {SAMPLE: self.sample}
        return {role: node for role, node in found.items() if node is not None}

    @property
    def charts(self) -> list[slicer.vtkMRMLPlotChartNode]:
        """The plots that this run has."""
        found = [self.get(role) for role in CHARTS]
        return [node for node in found if node is not None]

    @property
    def report(self) -> dict[str, Any]:
        """report.json; empty if its node was deleted."""
        node = self.get("report")
        return json.loads(node.GetText()) if node is not None else {}

    @property
    def own(self) -> slicer.vtkMRMLSegmentationNode:
        """The method's own segmentation, also where the judge delivers the source model's."""
        return self.get("adapted") or self.node

    @property
    def compared(self) -> list[Results]:
        """All results of the same run on the same image: of every method that was compared."""
        return [other for other in results_in_scene() if other._image == self._image]

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
        return folder if (folder / "report.json").is_file() else None

    @property
    def pictures(self) -> list[Path]:
        """The run's own pictures, as long as its files are kept."""
        if self.folder is None:
            return []
        places = (self.folder / "overview.png", self.folder.parent / "comparison.png")
        return [place for place in places if place.is_file()]

    @property
    def probabilities(self) -> Path | None:
        """The file of the classes' probabilities, if the run made one and it is kept."""
        path = self.folder / PROBABILITIES if self.folder is not None else None
        return path if path is not None and path.is_file() else None

    @property
    def adapted_bundle(self) -> Path | None:
        """The adapted model: this image's own, or the one of all images of a cohort."""
        if self.folder is None:
            return None
        places = (self.folder / ADAPTED_BUNDLE, self.folder.parent / ADAPTED_BUNDLE)
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
        sequence = self.node.GetNodeReference("SFDA.sequence")
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
