"""Run several methods on one image, and tell how far their results agree.

All share one decoding of the bundle, one reading of the image and one segmentation by the source
model. The source model's result is what they are held against; it has no vote of its own in what
they agree on, as its failure is why one adapts.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from SFDALib.bundle.description import Label
from SFDALib.errors import RequestError
from SFDALib.evaluation import agreement
from SFDALib.jobs.engine import Engine, Stopwatch, Target, open_engines
from SFDALib.jobs.events import Reporter
from SFDALib.jobs.failures import Attempts
from SFDALib.jobs.judgement import choice, judge_among
from SFDALib.jobs.labelled import matched
from SFDALib.jobs.request import REFERENCE, Comparison
from SFDALib.jobs.run import run_on
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


def compare(request: Comparison, reporter: Reporter) -> dict[str, Any]:
    """Carry the comparison out and return what comparison.json holds.

    A method that fails is reported there and does not stop the others; a defect of ours does.
    What is compared are the methods' own results, whatever the judge says of them.

    Raises:
        RequestError: the request is unusable, or no method beside the reference worked.
    """
    with ResultFolder(request.output) as folder:
        reporter.event("started", comparison=request.to_dict())
        device = devices.resolve(request.device)
        labelled = matched(request.labels, [request.input])
        opened = open_engines(Path(request.bundle), request.methods, device, request.seed)
        engines = {
            name: engine.learning_from(labelled, request.reading) for name, engine in opened.items()
        }
        # any but the reference, which needs less memory: its options of inference are all methods'
        reader = next(engine for name, engine in engines.items() if name != REFERENCE)
        target = reader.read([Path(path) for path in request.input], reporter, request.reading)
        shared = dict(reader.stopwatch.seconds)
        attempt = Attempts(reporter)
        reports: dict[str, dict[str, Any]] = {}
        for index, (name, engine) in enumerate(engines.items()):
            reporter("compare", index, len(engines), method=name)
            devices.reset_peak_memory(device)
            with attempt(name, method=name):
                watch = Stopwatch(dict(shared))  # as a run of its own
                one = replace(engine, stopwatch=watch, probabilities=request.probabilities)
                with ResultFolder(folder / name) as inside:
                    report = run_on(target, one, inside, reporter, gate="off")
                reports[name] = report
        reporter("compare", len(engines), len(engines))
        if not reports.keys() - {REFERENCE}:
            first = next(iter(attempt.errors.values()))
            raise RequestError(f"compare: no method worked beside {REFERENCE}; {first}")
        agreed = _agreement(folder, target, engines, reports, reporter)
        trusts = _judge_again(reports, agreed["dice"], agreed["voters"])
        summary = {
            "input": [path.name for path in target.paths],
            "bundle": next(iter(reports.values()))["bundle"],
            "seed": request.seed,
            "device": devices.describe(device),
            "methods": [
                _row(engine, reports.get(name), attempt.errors.get(name), trusts.get(name))
                for name, engine in engines.items()
            ],
            "chosen": choice(trusts) or REFERENCE,
            "done": len(reports),
            "failed": len(attempt.errors),
            "shared_seconds": shared,
            "files_written": layout.written(folder, layout.COMPARISON_FOLDER),
            **agreed,
        }
        write_report(folder / layout.COMPARISON.name, summary)
    for name, report in reports.items():
        for note in report["notes"]:
            log.info("%s: %s", name, note)
    log.info("The comparison is in %s", Path(request.output).resolve())
    reporter.event("result", output=str(Path(request.output).resolve()), done=summary["done"])
    return summary


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
    row = {
        "method": engine.method.name,
        "title": engine.method.title,
        "options": dict(engine.options),
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
