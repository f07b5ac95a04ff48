"""Write what a job found into its result folder."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from SFDALib.adaptation import none
from SFDALib.bundle.importers.common import last_name
from SFDALib.errors import RequestError
from SFDALib.jobs import certainty
from SFDALib.jobs.engine import Engine
from SFDALib.jobs.image_run import ImageRun, Target
from SFDALib.jobs.judgement import Judgement
from SFDALib.machine import devices
from SFDALib.methods.outcome import Adapted, Segmented
from SFDALib.progress import Progress
from SFDALib.results import layout
from SFDALib.results.images import write_map, write_segmentation
from SFDALib.results.overview import Overview, draw_overview
from SFDALib.results.report import software_versions, write_report
from SFDALib.uncertainty import entropy
from SFDALib.volume.orientation import oriented

WRITING = "restoring and writing"  # the stage
DISPLAY = "LPS"  # arrays as radiologists look at them: i to the left, j to the back, k up


def write_result(
    folder: Path,
    image: ImageRun,
    segmented: Segmented,
    adapted: Adapted | None,
    judgement: Judgement | None,
    extra: Mapping[str, Any],
) -> dict[str, Any]:
    """Write every file of DESIGN's result folder but the adapted bundle; return the report.

    What is delivered as segmentation.seg.nrrd follows the judgement; the source's own and the
    method's stand beside it under names of their own, whatever it says.

    Args:
        extra: further fields of the report.
    """
    engine, target = image.engine, image.target
    _check_unchanged(engine, target)
    description = engine.model.description
    geometry = target.volume.geometry
    # before and after; the entropy and the other maps, made and written; the overview
    tick = _ticks(image.reporter, 2 + 2 * (1 + len(segmented.maps)) + len(segmented.samples) + 1)
    with image.stages.stage(WRITING, engine.options):
        before = target.source_labels
        tick()
        after = target.conformed.restore_labels(segmented.probabilities)
        tick()
        maps = {"entropy": target.entropy}
        tick()
        for name, map_ in segmented.maps.items():
            maps[name] = target.restored(map_)
            tick()
        own, source = (after, engine.method.title), (before, none.METHOD.title)
        segmentations = {layout.SEGMENTATION.name: own, layout.SOURCE_SEGMENTATION.name: source}
        if engine.method.judged:
            segmentations[layout.ADAPTED_SEGMENTATION.name] = own
        source_alone = judgement is not None and judgement.delivered == "source"
        if source_alone:
            segmentations[layout.SEGMENTATION.name] = source
        if segmented.denoised is not None:
            denoised = _restored_denoised(target, segmented.denoised, description.classes)
            segmentations[layout.DENOISED.name] = denoised, f"{engine.method.title}, denoised"
        delivered = target.source_probabilities if source_alone else segmented.probabilities
        doubt = (
            maps["entropy"]
            if delivered is target.source_probabilities
            else target.restored(entropy(delivered, "bits"))
        )
        unsure = certainty.structures(
            doubt, segmentations[layout.SEGMENTATION.name][0], description.labels
        )
        if engine.probabilities:
            certainty.write_probabilities(folder, target, delivered, description)
        for name, (labels, method) in segmentations.items():
            write_segmentation(folder / name, labels, geometry, description.labels, method)
        for name, map_ in maps.items():
            write_map(folder / layout.maps()[name].name, map_, geometry)
            tick()
        chosen = _write_samples(folder, target, segmented, tick)
        volumes = _volumes(before, after, engine, target)
        shown = "nig_uncertainty" if "nig_uncertainty" in maps else "entropy"
        draw_overview(
            folder / layout.OVERVIEW.name,
            _overview(
                engine, target, before, after, maps[shown], shown, chosen, segmented, volumes
            ),
        )
        tick()
    report = {
        "method": engine.method.name,
        "title": engine.method.title,
        "paper": engine.method.paper,
        "options": dict(engine.options),
        "seed": engine.seed,
        "device": devices.describe(engine.model.device),
        "software": software_versions(),
        "input": _files(target.checksums),
        "labels": _files(engine.learned_from),
        "bundle": {
            "name": description.name,
            "folder": last_name(engine.bundle.path),
            "imported": description.provenance.get("import"),
            "sha256": engine.bundle_sha256,
            "modality": description.modality,
        },
        "model_grid": {
            "size": list(target.conformed.geometry.size),
            "spacing_mm": list(target.conformed.geometry.spacing),
        },
        "volumes": volumes,
        "mean_entropy_bits": float(maps["entropy"].mean()),
        "uncertainty": unsure,
        "details": dict(segmented.report),
        "trust": judgement and judgement.to_dict(),
        "notes": [
            *target.notes,
            *description.cautions,
            *image.stages.notes,
            *segmented.notes,
            *(adapted.notes if adapted else ()),
            *_implausible(volumes),
            *((judgement.note(),) if judgement else ()),
        ],
        "adaptation": None
        if adapted is None
        else {
            "curves": dict(adapted.curves),
            "best_epoch": adapted.best_epoch,
            "stopped": adapted.stopped,
        },
        "seconds": dict(image.stages.seconds),
        "peak_memory_mb": devices.peak_memory_mb(engine.model.device),
        "files_written": layout.written(folder),
        **extra,
    }
    write_report(folder / layout.REPORT.name, report)
    return report


def _files(checksums: Mapping[Path, str]) -> list[dict[str, str]]:
    return [{"name": file.name, "sha256": sum_} for file, sum_ in checksums.items()]


def _ticks(progress: Progress, total: int) -> Callable[[], None]:
    """Tells one more step of the writing at each call."""
    steps = itertools.count(1)
    progress(WRITING, 0, total)
    return lambda: progress(WRITING, next(steps), total)


def _write_samples(
    folder: Path, target: Target, segmented: Segmented, tick: Callable[[], None]
) -> np.ndarray | None:
    """Write the samples, one by one as each is as large as the image; return the chosen one."""
    chosen = None
    if segmented.samples:
        (folder / layout.SAMPLES.name).mkdir()
    for index, sample in enumerate(segmented.samples):
        map_ = target.restored(sample.mean(dim=0))
        write_map(folder / layout.sample_name(index), map_, target.volume.geometry)
        tick()
        if index == segmented.chosen:
            chosen = map_
    return chosen


def _check_unchanged(engine: Engine, target: Target) -> None:
    """Refuse a result of which nobody can say what it is a result of."""
    for path, what, changed in (
        (target.paths[0], "image", lambda: target.image.checksums() != target.checksums),
        (engine.bundle.path, "bundle", lambda: engine.bundle.sha256() != engine.bundle_sha256),
    ):
        try:
            same = not changed()
        except (OSError, RequestError):  # gone, or no header any more
            same = False
        if not same:
            raise RequestError(
                f"{path}: found other content than when the run began, expected the same; the"
                f" {what} was changed meanwhile: wait until it is complete, then run again"
            )


def _restored_denoised(target: Target, labels: torch.Tensor, classes: int) -> np.ndarray:
    one_hot = torch.nn.functional.one_hot(labels.long(), classes).movedim(-1, 0).float()
    return target.conformed.restore_labels(one_hot)


def _volumes(
    before: np.ndarray, after: np.ndarray, engine: Engine, target: Target
) -> list[dict[str, Any]]:
    """ml of each class by the source model and in the result, with the bundle's plausible range."""
    voxel_ml = target.volume.geometry.voxel_ml
    return [
        {
            "label": label.value,
            "name": label.name,
            "source_ml": round(float((before == label.value).sum()) * voxel_ml, 4),
            "result_ml": round(float((after == label.value).sum()) * voxel_ml, 4),
            "plausible_ml": list(label.size_ml) if label.size_ml else None,
        }
        for label in engine.model.description.labels
    ]


def _implausible(volumes: list[dict[str, Any]]) -> list[str]:
    """A warning for each class whose volume in the result lies outside the bundle's range."""
    return [
        f"{volume['name']}: {ml(volume['result_ml'])} ml in the result lies outside the plausible"
        f" {ml(volume['plausible_ml'][0])} to {ml(volume['plausible_ml'][1])} ml: compare it with"
        " the image."
        for volume in volumes
        if volume["plausible_ml"]
        and not volume["plausible_ml"][0] <= volume["result_ml"] <= volume["plausible_ml"][1]
    ]


def _overview(
    engine: Engine,
    target: Target,
    before: np.ndarray,
    after: np.ndarray,
    uncertainty: np.ndarray,
    uncertainty_name: str,
    chosen: np.ndarray | None,
    segmented: Segmented,
    volumes: list[dict[str, Any]],
) -> Overview:
    geometry = target.volume.geometry

    def shown(array: np.ndarray) -> np.ndarray:
        return oriented(array, geometry, DISPLAY)[0]

    image, spacing_kji = oriented(target.volume.array, geometry, DISPLAY)
    nig = uncertainty_name == "nig_uncertainty"
    classes = engine.model.description.classes
    caption = ""
    if chosen is not None:
        score = segmented.report["samples"][segmented.chosen]["score"]
        caption = f"Sample {segmented.chosen + 1} of {len(segmented.samples)}, S = {score:.3f}"
    return Overview(
        image=image,
        spacing_kji=spacing_kji,
        source_labels=shown(before),
        final_labels=shown(after),
        labels=engine.model.description.labels,
        volumes=[_change(volume) for volume in volumes],
        title=f"{engine.method.title}: {target.name}",
        subtitle=engine.model.description.name,
        uncertainty=shown(uncertainty),
        uncertainty_name="NIG uncertainty" if nig else "Entropy",
        uncertainty_unit="0 to 1" if nig else "bits",
        uncertainty_range=(0.0, 1.0 if nig else float(np.log2(classes))),
        sample=None if chosen is None else shown(chosen),
        sample_caption=caption,
    )


def _change(volume: dict[str, Any]) -> str:
    before, after = volume["source_ml"], volume["result_ml"]
    change = f" ({100 * (after - before) / before:+.0f} %)" if before > 0 else ""
    return f"{ml(before)} → {ml(after)} ml{change}"


def ml(value: float) -> str:
    """A volume in ml as it is shown."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
