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
from SFDALib.jobs.judgement import verdict_note, without_verdict
from SFDALib.results import layout
from SFDALib.results.report import write_report
from SFDALib.trust.cohort import CohortVerdict, judge_cohort
from SFDALib.trust.levels import LEVELS, Decision, Delivered
from SFDALib.trust.signals import Signals

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
        found = certainty.structures(target.entropy, target.source_labels, target.labels)
        return cls(folder, found)

    def settle(self, report: dict[str, Any], verdict: CohortVerdict, gate: str) -> None:
        """Make the folder that of an image on whose cohort the verdict was this.

        An image on which both segmentations look wrong keeps that verdict.

        Args:
            report: of the image; is brought up to date.
            verdict: on the cohort.
            gate: as in a ``Job``.
        """
        trust = report["trust"]
        wrong = trust["decision"] == "both-wrong"
        delivered = delivered_by("both-wrong" if wrong else verdict.decision, gate)
        if delivered == "source":
            self._deliver_source(report)
        shutil.rmtree(self.folder / SOURCE, ignore_errors=True)
        trust |= {"delivered": delivered, "images": verdict.images}
        if not wrong:
            sentence = verdict.sentence(delivered)
            note = verdict_note(verdict.decision, sentence, verdict.reasons)
            report["notes"] = [*without_verdict(report["notes"]), note]
            trust |= {"decision": verdict.decision, "sentence": sentence}
            trust["reasons"] = list(verdict.reasons)

    def _deliver_source(self, report: dict[str, Any]) -> None:
        report["uncertainty"] = self.uncertainty
        result = self.folder / layout.SEGMENTATION.name
        result.unlink()  # first, as the disk may be full
        shutil.copyfile(self.folder / layout.SOURCE_SEGMENTATION.name, result)
        for file in (self.folder / SOURCE).glob("*"):
            os.replace(file, self.folder / file.name)


def waits(image: ImageRun) -> bool:
    """Whether an image is judged with its cohort: a single slice cannot be judged by itself."""
    method = image.engine.method
    return image.target.conformed.array.shape[1] == 1 and method.judged and not method.chooses


def settle(
    folder: Path,
    reports: Mapping[str, dict[str, Any]],
    waiting: Mapping[str, Waiting],
    gate: str,
) -> dict[str, Any] | None:
    """Judge the images that are done together, and bring their folders up to date.

    Args:
        folder: of the cohort.
        reports: of the images that are done, by the names of their folders.
        waiting: those of them that are judged together.
        gate: as in a ``Job``.

    Returns:
        The field "trust" of cohort.json; None if there was nothing to judge.
    """
    judged = {name: report for name, report in reports.items() if report["trust"]}
    if not judged:
        return None
    verdict = judge_cohort([Signals(**report["trust"]["signals"]) for report in judged.values()])
    together = judged.keys() <= waiting.keys()
    for name, report in judged.items():
        if name in waiting:
            waiting[name].settle(report, verdict, gate)
        elif len(judged) > 1:
            report["notes"].append(f"cohort: {verdict.sentence(None)}")
        write_report(folder / name / layout.REPORT.name, report)
    return verdict.to_dict(delivered_by(verdict.decision, gate) if together else None)


def delivered_by(decision: Decision, gate: str) -> Delivered:
    """The segmentation that is delivered."""
    return LEVELS[decision].delivered if gate == "on" else "result"
