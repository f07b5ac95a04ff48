"""Run several methods on one image, and tell how far their results agree.

All share one decoding of the bundle, one reading of the image and one segmentation by the source
model. The source model's result is the reference of every comparison. It takes no part in the
consensus, as it is the result that adaptation is to improve.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from SFDALib.bundle.description import Label
from SFDALib.errors import RequestError
from SFDALib.evaluation import agreement
from SFDALib.jobs.engine import Engine, open_engines
from SFDALib.jobs.events import Reporter
from SFDALib.jobs.failures import Failures
from SFDALib.jobs.image_run import ImageRun, Target
from SFDALib.jobs.judgement import choice, judge_among
from SFDALib.jobs.labelled import matched
from SFDALib.jobs.request import REFERENCE, Comparison
from SFDALib.jobs.run import deliver, new_notes
from SFDALib.jobs.volumes import ml
from SFDALib.jobs.write_result import DISPLAY
from SFDALib.machine import devices
from SFDALib.progress import Progress
from SFDALib.results import layout
from SFDALib.results.comparison import ComparedResult, ComparisonPicture, draw_comparison
from SFDALib.results.folder import ResultFolder
from SFDALib.results.images import write_map, write_segmentation
from SFDALib.results.report import write_report
from SFDALib.volume.geometry import Geometry
from SFDALib.volume.image_file import read_labels
from SFDALib.volume.orientation import oriented

log = logging.getLogger(__name__)
CONSENSUS = {"staple": agreement.staple, "majority": agreement.majority}

Maps = Mapping[str, np.ndarray]  # by method, (K, J, I)


def compare(comparison: Comparison, reporter: Reporter) -> dict[str, Any]:
    """Carry a comparison out.

    A method that fails is reported in comparison.json and does not stop the others; a bug does.
    What is compared are the methods' own results, whatever the judge's verdict on them.

    Args:
        comparison: checked, see ``Comparison.checked``.
        reporter: of progress and events.

    Returns:
        The content of comparison.json.

    Raises:
        RequestError: the request is unusable, or no method beside the reference worked.
    """
    output = Path(comparison.output).resolve()
    with ResultFolder(comparison.output) as folder:
        reporter.event("started", comparison=comparison.to_dict())
        engines = _open(comparison)
        # Read for a method that needs more memory than the reference; all share inference options.
        reader = next(engine for name, engine in engines.items() if name != REFERENCE)
        paths = [Path(path) for path in comparison.input]
        image = ImageRun.read(reader, paths, comparison.reading, reporter)
        shared = dict(image.stages.seconds)
        failures = Failures(reporter)
        reports = _run_each(image, engines, folder, failures)
        if not reports.keys() - {REFERENCE}:
            raise RequestError(f"compare: no method worked beside {REFERENCE}; {failures.first}")
        agreed = _agreement(folder, image.target, engines, reports, reporter)
        trusts = _judge_again(reports, agreed["dice"], agreed["voters"])
        summary = {
            "input": [path.name for path in image.target.paths],
            "bundle": next(iter(reports.values()))["bundle"],
            "seed": comparison.seed,
            "device": devices.describe(reader.model.device),
            "methods": [
                _row(engine, reports.get(name), failures.messages.get(name), trusts.get(name))
                for name, engine in engines.items()
            ],
            "chosen": choice(trusts) or REFERENCE,
            "done": len(reports),
            "failed": len(failures.messages),
            "shared_seconds": shared,
            "files_written": layout.written(folder, layout.COMPARISON_FOLDER),
            **agreed,
        }
        write_report(folder / layout.COMPARISON.name, summary)
    for name, report in reports.items():
        for note in new_notes(report, image):
            log.info("%s: %s", name, note)
    log.info("The comparison is in %s", output)
    reporter.event("result", output=str(output), done=summary["done"])
    return summary


def _open(comparison: Comparison) -> dict[str, Engine]:
    """The model loaded once, for every method."""
    device = devices.resolve(comparison.device)
    labelled = matched(comparison.labels, [comparison.input])
    opened = open_engines(
        Path(comparison.bundle),
        comparison.methods,
        device,
        comparison.seed,
        comparison.probabilities,
        comparison.postprocess,
    )
    return {
        name: engine.learning_from(labelled, comparison.reading) for name, engine in opened.items()
    }


def _run_each(
    image: ImageRun, engines: Mapping[str, Engine], folder: Path, failures: Failures
) -> dict[str, dict[str, Any]]:
    """Every method's result in a folder of its own; the reports of those that worked."""
    reports: dict[str, dict[str, Any]] = {}
    for index, (name, engine) in enumerate(engines.items()):
        image.reporter("compare", index, len(engines), method=name)
        devices.reset_peak_memory(engine.model.device)
        with failures.recorded(name, method=name), ResultFolder(folder / name) as inside:
            report = deliver(image.with_engine(engine), inside, gate="off")
        if name not in failures.messages:
            reports[name] = report
    image.reporter("compare", len(engines), len(engines))
    return reports


def _judge_again(
    reports: Mapping[str, dict[str, Any]], dice: Mapping[str, Any], voters: Sequence[str]
) -> dict[str, dict[str, Any] | None]:
    """Each method's "trust", its agreement with the other methods' results among the signals."""
    mean = dict(zip(dice["methods"], dice["mean"], strict=True))
    trusts: dict[str, dict[str, Any] | None] = {}
    for name, report in reports.items():
        scores = [
            score
            for other, score in zip(dice["methods"], mean[name], strict=True)
            if other in voters and other != name and np.isfinite(score)
        ]
        others = float(np.mean(scores)) if scores else None
        trusts[name] = report["trust"] and judge_among(report["trust"], others)
    return trusts


def _row(
    engine: Engine,
    report: dict[str, Any] | None,
    error: str | None,
    trust: dict[str, Any] | None,
) -> dict[str, Any]:
    """What comparison.json says of one method."""
    row: dict[str, Any] = {
        "method": engine.method.name,
        "title": engine.method.title,
        "options": engine.options.to_dict(),
        "folder": None if report is None else engine.method.name,
        "error": error,
    }
    if report is not None:
        row |= {
            "volumes": [
                {**volume, "change_percent": _change_percent(volume)}
                for volume in report["volumes"]
            ],
            "notes": report["notes"],
            "trust": trust,
            "seconds": report["seconds"],
            "seconds_total": round(sum(report["seconds"].values()), 3),
            "peak_memory_mb": report["peak_memory_mb"],
        }
    return row


def _change_percent(volume: Mapping[str, Any]) -> float | None:
    before, after = volume["source_ml"], volume["result_ml"]
    return round(100 * (after - before) / before, 1) if before > 0 else None


def _agreement(
    folder: Path,
    target: Target,
    engines: Mapping[str, Engine],
    reports: Mapping[str, dict[str, Any]],
    progress: Progress,
) -> dict[str, Any]:
    """Compare the segmentations as they were written; write the maps and the picture."""
    stage, steps = "comparing the results", 3 + len(CONSENSUS)
    progress(stage, 0, steps)
    labels, geometry = engines[REFERENCE].model.description.labels, target.volume.geometry
    maps = {
        name: read_labels(folder / name / layout.SEGMENTATION.name).array[0] for name in reports
    }
    matrices = {
        label.value: agreement.pairwise_dice(list(maps.values()), label.value) for label in labels
    }
    mean = agreement.mean_dice(list(matrices.values()))
    progress(stage, 1, steps)
    voters = {name: map_ for name, map_ in maps.items() if name != REFERENCE}
    entropy = agreement.vote_entropy(list(voters.values()))
    write_map(folder / layout.VOTE_ENTROPY.name, entropy, geometry)
    progress(stage, 2, steps)
    _draw(folder / layout.COMPARISON_PICTURE.name, target, engines, reports, maps, mean)
    progress(stage, 3, steps)
    consensus = {}
    for done, name in enumerate(CONSENSUS, start=4):
        consensus[name] = _consensus(folder, name, voters, geometry, labels)
        progress(stage, done, steps)
    return {
        "dice": {
            "methods": list(maps),
            "classes": [
                {"label": label.value, "name": label.name, "matrix": matrices[label.value]}
                for label in labels
            ],
            "mean": mean,
        },
        "voters": list(voters),
        "mean_vote_entropy_bits": float(entropy.mean(dtype=np.float64)),
        "consensus": consensus,
    }


def _consensus(
    folder: Path, name: str, voters: Maps, geometry: Geometry, labels: tuple[Label, ...]
) -> dict[str, Any]:
    """Write a consensus; its volumes in ml, and the voxels that are background for a tie."""
    consensus = CONSENSUS[name](list(voters.values()))
    path = folder / layout.segmentations()[f"consensus_{name}"].name
    method = f"Consensus ({name}) of {len(voters)} methods"
    write_segmentation(path, consensus.labels, geometry, labels, method)
    counts = np.bincount(consensus.labels.ravel(), minlength=256)
    return {
        "undecided_voxels": consensus.undecided,
        "volumes": [
            {
                "label": label.value,
                "name": label.name,
                "ml": round(float(counts[label.value]) * geometry.voxel_ml, 4),
            }
            for label in labels
        ],
    }


def _draw(
    path: Path,
    target: Target,
    engines: Mapping[str, Engine],
    reports: Mapping[str, dict[str, Any]],
    maps: Maps,
    dice: np.ndarray,
) -> None:
    geometry = target.volume.geometry
    description = engines[REFERENCE].model.description
    image, spacing_kji = oriented(target.volume.array, geometry, DISPLAY)
    failed = [engine.method.title for name, engine in engines.items() if name not in reports]
    picture = ComparisonPicture(
        image=image,
        spacing_kji=spacing_kji,
        labels=description.labels,
        results=[
            ComparedResult(
                title=engines[name].method.title,
                labels=oriented(map_, geometry, DISPLAY)[0],
                caption=_caption(reports[name]["volumes"]),
            )
            for name, map_ in maps.items()
        ],
        dice=dice,
        title=f"{len(maps)} methods: {target.name}",
        subtitle=description.name,
        remarks=[f"Failed, see {layout.COMPARISON.name}: {', '.join(failed)}"] if failed else [],
    )
    draw_comparison(path, picture)


def _caption(volumes: list[dict[str, Any]]) -> str:
    """The volume and its change where there is one structure; of several, all together."""
    source = sum(volume["source_ml"] for volume in volumes)
    result = sum(volume["result_ml"] for volume in volumes)
    change = _change_percent({"source_ml": source, "result_ml": result})
    text = f"{ml(result)} ml" + ("" if len(volumes) == 1 else " labelled")
    return f"{ml(source)} → {text} ({change:+.0f} %)" if change else text
