"""The parts of report.json on what was run and on what the method did."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from SFDALib.bundle import typed_volumes
from SFDALib.bundle.importers.common import last_name
from SFDALib.jobs.engine import Engine
from SFDALib.jobs.image_run import ImageRun, Target
from SFDALib.jobs.judgement import Judgement
from SFDALib.jobs.postprocessing import Changes, in_words
from SFDALib.jobs.volumes import implausible
from SFDALib.machine import devices
from SFDALib.methods.outcome import Adapted, Segmented
from SFDALib.results.report import software_versions


def what_was_run(engine: Engine, target: Target) -> dict[str, Any]:
    """The report's part on the request: method, options, inputs and versions."""
    description, grid = engine.model.description, target.conformed.geometry
    return {
        "method": engine.method.name,
        "title": engine.method.title,
        "paper": engine.method.paper,
        "preset": engine.method.preset_of(engine.options.to_dict()),
        "options": engine.options.to_dict(),
        "seed": engine.seed,
        "device": devices.describe(engine.model.device),
        "software": software_versions(),
        "typed_volumes": typed_volumes.to_json(engine.volumes),
        "input": _files(target.checksums),
        "labels": _files(engine.learned_from),
        "bundle": {
            "name": description.name,
            "folder": last_name(engine.bundle.path),
            "imported": description.provenance.get("import"),
            "sha256": engine.bundle_sha256,
            "modality": description.modality,
        },
        "model_grid": {"size": list(grid.size), "spacing_mm": list(grid.spacing)},
    }


def what_the_method_did(
    image: ImageRun,
    segmented: Segmented,
    adapted: Adapted | None,
    judgement: Judgement | None,
    measured: Mapping[str, Any],
) -> dict[str, Any]:
    """The report's part on the method: its details, verdict, notes, adaptation and costs.

    Args:
        image: the model, the method with its options, and the image.
        segmented: what the method returned.
        adapted: the adapted weights; None where the method updates none.
        judgement: None where the result is the source model's own.
        measured: the report's part on the images, of which "volumes" and "postprocessing" are read.
    """
    labels = image.engine.model.description.labels
    single_slice = image.target.conformed.array.shape[1] == 1
    outside = [] if single_slice else implausible(measured["volumes"])
    return {
        "details": dict(segmented.report),
        "trust": judgement and judgement.to_dict(),
        "notes": [
            *image.target.notes,
            *image.engine.model.description.cautions,
            *typed_volumes.notes(image.engine.volumes, labels, single_slice),
            *image.stages.notes,
            *segmented.notes,
            *(adapted.notes if adapted else ()),
            *_postprocessed(measured["postprocessing"]),
            *((judgement.note(),) if judgement else outside),
        ],
        "adaptation": None
        if adapted is None
        else {
            "curves": dict(adapted.curves),
            "best_epoch": adapted.best_epoch,
            "stopped": adapted.stopped,
        },
        "seconds": dict(image.stages.seconds),
        "peak_memory_mb": devices.peak_memory_mb(image.engine.model.device),
    }


def _postprocessed(changes: Mapping[str, Changes]) -> list[str]:
    """What post-processing changed, in words; once where source and result are the same."""
    source, result = changes["source"], changes["result"]
    if source is result:
        return in_words(result, "the result")
    return [*in_words(source, "the source model's result"), *in_words(result, "the result")]


def _files(checksums: Mapping[Path, str]) -> list[dict[str, str]]:
    return [{"name": file.name, "sha256": sum_} for file, sum_ in checksums.items()]
