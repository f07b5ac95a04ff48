"""What lies in a result folder: role, name, title, and how to show it, of every file.

The one list that the library writes by and the panel shows by; standard library alone. To add a
map: one ``MapFile`` here, in ``RESULT_FOLDER``, and the values where they are computed, in
``Segmented.maps`` under its role.

    >>> from SFDALib.results import layout
    >>> layout.ENTROPY.name, layout.ENTROPY.legend, layout.ENTROPY.window(classes=4)
    ('entropy.nrrd', 'Entropy (bits)', (0.0, 2.0))
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ResultFile:
    """One file or folder of a result.

    Args:
        role: its name in report.json, and of its node in a Slicer scene.
        name: of the file, relative to the result folder.
        title: what it is, in a few words.
        help: what it shows or is for, in a sentence.
    """

    role: str
    name: str
    title: str
    help: str


@dataclass(frozen=True)
class SegmentationFile(ResultFile):
    """A label map with the names and colours of its structures."""


@dataclass(frozen=True)
class MapFile(ResultFile):
    """A value for each voxel, to be shown over the image in colours.

    Args:
        unit: of the values; empty for a number without one.
        maximum: the largest value possible; None for the entropy of a choice between the classes,
            log2 of their number.
        colormap: matplotlib's name.
    """

    unit: str = ""
    maximum: float | None = 1.0
    colormap: str = "inferno"

    @property
    def legend(self) -> str:
        """The title with the unit, as beside a colour bar."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    def window(self, classes: int) -> tuple[float, float]:
        """The values of the first and the last colour: fixed, so that two results can be compared.

        Args:
            classes: how many the model tells apart, background included.
        """
        return 0.0, math.log2(classes) if self.maximum is None else self.maximum


SEGMENTATION = SegmentationFile(
    "result",
    "segmentation.seg.nrrd",
    "Result",
    "The segmentation that the run delivers.",
)
SOURCE_SEGMENTATION = SegmentationFile(
    "source",
    "source_segmentation.seg.nrrd",
    "source model",
    "The source model's segmentation, without any adaptation.",
)
ADAPTED_SEGMENTATION = SegmentationFile(
    "adapted",
    "adapted_segmentation.seg.nrrd",
    "method's own",
    "The method's segmentation, also where the source model's is delivered.",
)
DENOISED = SegmentationFile(
    "denoised",
    "denoised.seg.nrrd",
    "denoised",
    "The source model's segmentation after hierarchical denoising (HEAL).",
)
ENTROPY = MapFile(
    "entropy",
    "entropy.nrrd",
    "Entropy",
    "Where the source model is unsure: entropy in bits.",
    unit="bits",
    maximum=None,
)
NIG_UNCERTAINTY = MapFile(
    "nig_uncertainty",
    "nig_uncertainty.nrrd",
    "NIG uncertainty",
    "NIG uncertainty of the source model's result, from 0 to 1 (HEAL).",
    colormap="viridis",
)
PROBABILITIES = ResultFile(
    "probabilities",
    "probabilities.nrrd",
    "Probabilities",
    "The probability of every class, a channel each; 255 is 1.",
)
SAMPLES = ResultFile(
    "samples",
    "samples",
    "Samples",
    "The diffusion samples, sample_0.nrrd and on (HEAL).",
)
ADAPTED_BUNDLE = ResultFile(
    "adapted_bundle",
    "adapted_bundle",
    "Adapted model",
    "The adapted model, to be used without adapting again.",
)
OVERVIEW = ResultFile(
    "overview",
    "overview.png",
    "Overview",
    "Source result, final result and uncertainty on the slices that differ most.",
)
TRIED = ResultFile(
    "tried",
    "tried",
    "Other methods",
    "A result folder of every other method that was tried (auto).",
)
REPORT = ResultFile(
    "report",
    "report.json",
    "Report",
    "What was run, on what, with which versions, and what came of it.",
)
COHORT = ResultFile(
    "cohort",
    "cohort.json",
    "Cohort",
    "The images of a cohort: folder, volumes and verdict of each, or why it failed.",
)
COMPARISON = ResultFile(
    "comparison",
    "comparison.json",
    "Comparison",
    "The methods of a comparison and how far their results agree.",
)
COMPARISON_PICTURE = ResultFile(
    "comparison_picture",
    "comparison.png",
    "Comparison",
    "The methods' results side by side, and the Dice between every two.",
)
VOTE_ENTROPY = MapFile(
    "vote_entropy",
    "vote_entropy.nrrd",
    "Disagreement",
    "Where the compared methods differ: the entropy of their votes in bits.",
    unit="bits",
    maximum=None,
)
STAPLE = SegmentationFile(
    "consensus_staple",
    "consensus_staple.seg.nrrd",
    "consensus (staple)",
    "The consensus of the compared methods by STAPLE.",
)
MAJORITY = SegmentationFile(
    "consensus_majority",
    "consensus_majority.seg.nrrd",
    "consensus (majority)",
    "The consensus of the compared methods by majority vote.",
)

RESULT_FOLDER: tuple[ResultFile, ...] = (
    SEGMENTATION,
    SOURCE_SEGMENTATION,
    ADAPTED_SEGMENTATION,
    DENOISED,
    ENTROPY,
    NIG_UNCERTAINTY,
    PROBABILITIES,
    SAMPLES,
    ADAPTED_BUNDLE,
    OVERVIEW,
    TRIED,
    REPORT,
)
"""The folder of one image, segmented by one method."""

COHORT_FOLDER: tuple[ResultFile, ...] = (ADAPTED_BUNDLE, COHORT)
"""Beside a result folder for each image; ``ADAPTED_BUNDLE`` where one model serves them all."""

COMPARISON_FOLDER: tuple[ResultFile, ...] = (
    VOTE_ENTROPY,
    STAPLE,
    MAJORITY,
    COMPARISON_PICTURE,
    COMPARISON,
)
"""Beside a result folder for each method."""

SUMMARIES = (REPORT, COHORT, COMPARISON)
"""Exactly one of them lies at the top of every finished output folder."""


def segmentations() -> dict[str, SegmentationFile]:
    """Every segmentation by its role, the delivered one first."""
    return {file.role: file for file in _every() if isinstance(file, SegmentationFile)}


def maps() -> dict[str, MapFile]:
    """Every map by its role."""
    return {file.role: file for file in _every() if isinstance(file, MapFile)}


def sample_name(index: int) -> str:
    """The file of a diffusion sample, counted from 0, relative to the result folder."""
    return f"{SAMPLES.name}/sample_{index}.nrrd"


def written(folder: Path, files: Iterable[ResultFile] | None = None) -> dict[str, str]:
    """Which of the files are in a folder: names by role, in the order of the list.

    Args:
        folder: a result folder, finished or not.
        files: that may be in it; ``RESULT_FOLDER`` unless others are given.
    """
    expected = RESULT_FOLDER if files is None else files
    return {file.role: file.name for file in expected if (folder / file.name).exists()}


def _every() -> tuple[ResultFile, ...]:
    return (*RESULT_FOLDER, *COHORT_FOLDER, *COMPARISON_FOLDER)
