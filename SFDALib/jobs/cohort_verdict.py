"""The verdict on a cohort as a whole, and what it changes in the folders of its images.

An image that is a single slice cannot be judged by itself: there is no volume to compare with a
plausible range. Such images wait for the verdict on all of them together: until then their folders
hold the method's result as the delivered one, and afterwards what the verdict says. Volumes keep
their own verdicts, and get the cohort's as a note: in the benchmark, methods that help a cohort on
average harmed half of its volumes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from SFDALib.jobs import certainty
from SFDALib.jobs.image_run import ImageRun
from SFDALib.results import layout
from SFDALib.results.report import write_report
from SFDALib.trust.cohort import CohortVerdict, judge_cohort
from SFDALib.trust.levels import Delivered
from SFDALib.trust.signals import Signals
from SFDALib.volume.image_file import read_labels

SOURCE = ".source"  # in the folder of an image that waits: what else the source model delivers


@dataclass(frozen=True)
class Waiting:
    """An image whose folder holds the method's result until the cohort is judged.

    Args:
        folder: of the image.
        uncertainty: the report's field of that name for the source model's segmentation.
    """

    folder: Path
    uncertainty: list[dict[str, Any]]

    @classmethod
    def written(cls, inside: Path, folder: Path, image: ImageRun) -> Waiting:
        """Keep, beside what is written of an image, what the source model would deliver.

        Args:
            inside: where the folder is written.
            folder: where it will be.
            image: as it was read.
        """
        target, description = image.target, image.engine.model.description
        if image.engine.probabilities:
            (inside / SOURCE).mkdir()
            certainty.write_probabilities(
                inside / SOURCE, target, target.source_probabilities, description
            )
        labels = read_labels(inside / layout.SOURCE_SEGMENTATION.name).array[0]
        return cls(folder, certainty.structures(target.entropy, labels, description.labels))

    def settle(self, report: dict[str, Any], verdict: CohortVerdict, delivered: Delivered) -> None:
        """Make the folder one of an image on which the verdict was this.

        Args:
            report: of the image; is brought up to date.
            verdict: on the cohort.
            delivered: the segmentation that segmentation.seg.nrrd is to be.
        """
        source = self.folder / SOURCE
        if delivered == "source":
            report["uncertainty"] = self.uncertainty
            result = self.folder / layout.SEGMENTATION.name
            result.unlink()  # first, as the disk may be full
            shutil.copyfile(self.folder / layout.SOURCE_SEGMENTATION.name, result)
            for file in source.glob("*"):
                os.replace(file, self.folder / file.name)
        shutil.rmtree(source, ignore_errors=True)
        report["notes"] = [*_others(report), f"judge: {verdict.sentence}"]
        report["trust"] |= {
            "decision": verdict.decision,
            "sentence": verdict.sentence,
            "reasons": [*verdict.reasons],
            "delivered": delivered,
            "images": verdict.images,
        }


def waits(image: ImageRun) -> bool:
    """Whether an image is judged with its cohort: a single slice cannot be judged by itself."""
    return image.target.conformed.array.shape[1] == 1 and image.engine.method.judged


def settle(
    folder: Path,
    reports: Mapping[str, dict[str, Any]],
    waiting: Mapping[str, Waiting],
    gate: str,
) -> CohortVerdict | None:
    """Judge the images that are done together, and bring their folders up to date.

    Args:
        folder: of the cohort.
        reports: of the images that are done, by the names of their folders.
        waiting: those of them that wait for the verdict.
        gate: as in a ``Job``.

    Returns:
        The verdict; None if there was nothing to judge.
    """
    signals = [Signals(**one["trust"]["signals"]) for one in reports.values() if one["trust"]]
    if not signals:
        return None
    verdict = judge_cohort(signals)
    for name, report in reports.items():
        if not report["trust"]:
            continue
        if name in waiting:
            delivered = verdict.delivered if gate == "on" else "result"
            waiting[name].settle(report, verdict, delivered)
        elif len(signals) > 1:
            report["notes"].append(f"All images together: {verdict.sentence}")
        write_report(folder / name / layout.REPORT.name, report)
    return verdict


def _others(report: Mapping[str, Any]) -> list[str]:
    """The notes of a report without the verdict on the image by itself."""
    return [note for note in report["notes"] if not note.startswith("judge: ")]
