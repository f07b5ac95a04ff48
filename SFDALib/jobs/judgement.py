"""The judge's verdict on a result, and which segmentation is delivered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from SFDALib.bundle import assembly
from SFDALib.inference.predict import predict
from SFDALib.jobs.engine import Engine
from SFDALib.jobs.image_run import ImageRun
from SFDALib.methods.outcome import Adapted, Segmented
from SFDALib.progress import Progress
from SFDALib.trust.findings import Finding
from SFDALib.trust.judge import judge
from SFDALib.trust.levels import LEVELS, Decision, Delivered
from SFDALib.trust.signals import Evidence, Segment, Signals, measure, weight_distance
from SFDALib.trust.structures import compared
from SFDALib.trust.verdict import Verdict
from SFDALib.volume.intensity import normalise_unit

NOTE = "verdict "  # how the note of a verdict begins
LOOKS = 2  # segmentations of changed copies of the image by each network, see ``signals.stability``


@dataclass(frozen=True)
class Judgement:
    """The verdict on one result, and which segmentation is delivered.

    Args:
        signals: what the verdict is based on.
        verdict: of the judge.
        gate: "on" delivers what the verdict says; "off" always delivers the result.
    """

    signals: Signals
    verdict: Verdict
    gate: str

    @property
    def delivered(self) -> Delivered:
        """Which segmentation is delivered: the source model's or the result."""
        return self.verdict.delivered if self.gate == "on" else "result"

    def to_dict(self) -> dict[str, Any]:
        """The field "trust" of report.json."""
        return self.verdict.to_dict(self.signals, self.delivered)

    def note(self) -> str:
        """The sentence and its reasons, for the log."""
        verdict = self.verdict
        return verdict_note(verdict.decision, verdict.sentence(self.delivered), verdict.reasons)


def verdict_note(decision: Decision, sentence: str, reasons: Sequence[str]) -> str:
    """A verdict as one of the notes of a report."""
    return f"{NOTE}({LEVELS[decision].colour}): {sentence} Why: {'; '.join(reasons)}."


def without_verdict(notes: Sequence[str]) -> list[str]:
    """The notes of a report without that of its verdict."""
    return [note for note in notes if not note.startswith(NOTE)]


def judge_result(
    image: ImageRun, segmented: Segmented, adapted: Adapted | None, gate: str
) -> Judgement | None:
    """The judgement of a result; None if it is the source model's own."""
    if segmented.probabilities is image.target.source_probabilities:
        return None
    evidence, signals = image.attempt("judging", lambda _: _measured(image, segmented, adapted))
    found = compared(evidence.in_source.structures, evidence.in_result.structures)
    return Judgement(signals, judge(signals, *found), gate)


def signals_of(image: ImageRun, segmented: Segmented, adapted: Adapted | None) -> Signals:
    """The signals of a result.

    Each network segments ``LOOKS`` changed copies of the image, and the source network each
    diffusion sample.
    """
    return _measured(image, segmented, adapted)[1]


def _measured(
    image: ImageRun, segmented: Segmented, adapted: Adapted | None
) -> tuple[Evidence, Signals]:
    """The evidence on a result and its signals."""
    engine, target = image.engine, image.target
    model = engine.model
    looks = LOOKS * (1 if adapted is None else 2) + len(segmented.samples)
    passes = Passes(engine, image.reporter, looks)
    source_again = passes.of(model.network)
    geometry = target.conformed.geometry
    again = distance = None
    if adapted is not None:
        again = passes.of(engine.adapted_network(adapted))
        # the distance of each member's weights from the source's
        start = assembly.ensemble_of([model.network] * adapted.members).state_dict()
        distance = weight_distance(adapted.weights, start)
    evidence = Evidence(
        image=target.conformed.array,
        source=target.source_probabilities,
        result=segmented.probabilities,
        labels=model.description.labels,
        spacing_kji=geometry.spacing[::-1],
        source_again=source_again,
        result_again=again,
        weight_distance=distance,
        collapsed=adapted is not None and adapted.collapsed,
        at_home=model.description.at_home,
        draws=[
            source_again(normalise_unit(sample.numpy(), model.description.input_spec.normalisation))
            .argmax(0)
            .cpu()
            .numpy()
            for sample in segmented.samples
        ],
        draw_scores=[sample["score"] for sample in segmented.report.get("samples", ())],
    )
    return evidence, measure(evidence)


def judge_among(trust: Mapping[str, Any], others: float | None) -> dict[str, Any]:
    """A report's "trust", judged again with the mean Dice with other methods' results."""
    signals = replace(Signals(**trust["signals"]), others=others)
    in_source, in_result = (
        [Finding(**finding) for finding in trust[name]] for name in ("source_findings", "findings")
    )
    return judge(signals, in_source, in_result).to_dict(signals, trust["delivered"])


def choice(trusts: Mapping[str, Mapping[str, Any] | None]) -> str | None:
    """The method with the best result that may be delivered: the best level, then the least harm.

    None if no result may be delivered.

    Args:
        trusts: the field "trust" of each method's report.
    """
    return foremost(adopted(trusts))


def adopted(trusts: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Mapping[str, Any]]:
    """The verdicts of the results that may be delivered."""
    return {name: trust for name, trust in trusts.items() if trust and trust["adopted"]}


def foremost(trusts: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The method with the best level, and of that the least harm; None of none."""
    levels = list(LEVELS)
    ranks = {name: (levels.index(one["decision"]), one["harm"]) for name, one in trusts.items()}
    return min(ranks, key=ranks.__getitem__, default=None)


class Passes:
    """Segmentations of the image by several networks, reported as one stage."""

    def __init__(self, engine: Engine, progress: Progress, total: int) -> None:
        self._engine, self._progress, self._total, self._done = engine, progress, total, 0
        progress("judging", 0, total)

    def of(self, network: nn.Module) -> Segment:
        """A function that segments an image ``(C, k, j, i)`` by the network."""

        def segment(image: np.ndarray) -> Tensor:
            engine = self._engine
            options = engine.options
            found = predict(engine.model, image, options, self._tell, network, "judging")
            self._done += 1
            return found

        return segment

    def _tell(self, stage: str, step: int, total: int, **details: Any) -> None:
        self._progress(stage, self._done * total + step, self._total * total)
