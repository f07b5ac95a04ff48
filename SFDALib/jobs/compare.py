"""Run several methods on one image, and tell how far their results agree.

All share one decoding of the bundle, one reading of the image and one segmentation by the source
model. The source model's result is the reference of every comparison. It takes no part in the
consensus, as it is the result that adaptation is to improve.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from SFDALib.bundle.description import Label
from SFDALib.errors import RequestError
from SFDALib.evaluation import agreement
from SFDALib.jobs.engine import Engine, engines_of
from SFDALib.jobs.events import Reporter
from SFDALib.jobs.failures import Failures
from SFDALib.jobs.image_run import ImageRun
from SFDALib.jobs.judgement import choice
from SFDALib.jobs.labelled import matched
from SFDALib.jobs.request import REFERENCE, Comparison
from SFDALib.jobs.run import new_notes
from SFDALib.jobs.tried import Dice, Tried, change_percent
from SFDALib.jobs.volumes import ml
from SFDALib.jobs.write_result import DISPLAY
from SFDALib.machine import devices
from SFDALib.results import layout
from SFDALib.results.comparison import ComparedResult, ComparisonPicture, draw_comparison
from SFDALib.results.folder import ResultFolder
from SFDALib.results.images import write_map, write_segmentation
from SFDALib.results.report import write_report
from SFDALib.volume.geometry import Geometry
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
        tried = Tried(image, folder, Failures(reporter))
        for index, (name, engine) in enumerate(engines.items()):
            reporter("compare", index, len(engines), method=name)
            tried.run(engine)
        reporter("compare", len(engines), len(engines))
        reports, failures = tried.reports, tried.failures
        if not tried.voters:
            raise RequestError(f"compare: no method worked beside {REFERENCE}; {failures.first}")
        dice = tried.dice()
        agreed = _agreement(tried, engines, dice)
        trusts = tried.trusts(dice)
        summary = {
            "input": [path.name for path in image.target.paths],
            "bundle": next(iter(reports.values()))["bundle"],
            "seed": comparison.seed,
            "device": devices.describe(reader.model.device),
            "methods": [tried.row(engine, trusts.get(name)) for name, engine in engines.items()],
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
    labelled = matched(comparison.labels, [comparison.input])
    return {
        name: engine.learning_from(labelled, comparison.reading)
        for name, engine in engines_of(comparison, comparison.methods).items()
    }


def _agreement(tried: Tried, engines: Mapping[str, Engine], dice: Dice) -> dict[str, Any]:
    """Compare the segmentations as they were written; write the maps and the picture."""
    stage, steps = "comparing the results", 2 + len(CONSENSUS)
    folder, target, progress = tried.folder, tried.image.target, tried.image.reporter
    progress(stage, 0, steps)
    labels, geometry = engines[REFERENCE].model.description.labels, target.volume.geometry
    voters = {name: tried.maps[name] for name in tried.voters}
    entropy = agreement.vote_entropy(list(voters.values()))
    write_map(folder / layout.VOTE_ENTROPY.name, entropy, geometry)
    progress(stage, 1, steps)
    _draw(folder / layout.COMPARISON_PICTURE.name, tried, engines, dice.mean)
    progress(stage, 2, steps)
    consensus = {}
    for done, name in enumerate(CONSENSUS, start=3):
        consensus[name] = _consensus(folder, name, voters, geometry, labels)
        progress(stage, done, steps)
    return {
        "dice": {
            "methods": dice.methods,
            "classes": [
                {"label": label.value, "name": label.name, "matrix": dice.classes[label.value]}
                for label in labels
            ],
            "mean": dice.mean,
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


def _draw(path: Path, tried: Tried, engines: Mapping[str, Engine], dice: np.ndarray) -> None:
    target, reports, maps = tried.image.target, tried.reports, tried.maps
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
    change = change_percent({"source_ml": source, "result_ml": result})
    text = f"{ml(result)} ml" + ("" if len(volumes) == 1 else " labelled")
    return f"{ml(source)} → {text} ({change:+.0f} %)" if change else text
