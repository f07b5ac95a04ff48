"""Write what a job found into its result folder."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from SFDALib.errors import RequestError
from SFDALib.jobs import certainty
from SFDALib.jobs.engine import Engine
from SFDALib.jobs.image_run import ImageRun, Target
from SFDALib.jobs.judgement import Judgement
from SFDALib.jobs.postprocessing import Changes, postprocess
from SFDALib.jobs.report_parts import what_the_method_did, what_was_run
from SFDALib.jobs.volumes import change_text, measure_volumes
from SFDALib.methods import registry
from SFDALib.methods.outcome import Adapted, Segmented
from SFDALib.progress import Progress
from SFDALib.results import layout
from SFDALib.results.images import write_map, write_segmentation
from SFDALib.results.overview import Overview, draw_overview
from SFDALib.results.report import write_report
from SFDALib.uncertainty import entropy
from SFDALib.volume.orientation import oriented

WRITING = "restoring and writing"  # the stage
DISPLAY = "LPS"  # arrays as radiologists look at them: i to the left, j to the back, k up

Tick = Callable[[], None]  # reports one more step of the stage


@dataclass(frozen=True)
class Outcome:
    """What a method made of one image.

    Args:
        segmented: on the model's grid.
        adapted: the adapted weights; None where the method updates none.
        judgement: None where the result is the source model's own.
    """

    segmented: Segmented
    adapted: Adapted | None = None
    judgement: Judgement | None = None

    @property
    def delivers_source(self) -> bool:
        """Whether the source model's segmentation is delivered in place of the method's."""
        return self.judgement is not None and self.judgement.delivered == "source"


@dataclass(frozen=True)
class Restored:
    """The same on the input's grid, arrays ``(K, J, I)``.

    Args:
        source: labels by the source model.
        own: labels by the method.
        maps: float32, by their roles in ``results.layout``.
        changes: what post-processing changed in "source" and in "result".
    """

    source: np.ndarray
    own: np.ndarray
    maps: Mapping[str, np.ndarray]
    changes: Mapping[str, Changes]


def write_result(
    folder: Path,
    image: ImageRun,
    outcome: Outcome,
    extra: Mapping[str, Any],
) -> dict[str, Any]:
    """Write every file of ``layout.RESULT_FOLDER`` but the adapted bundle.

    The delivered segmentation follows the judgement. The source model's and the method's own are
    written beside it under names of their own, whatever the judgement is.

    Args:
        folder: an empty folder, or one that holds the adapted bundle already.
        image: the model, the method with its options, and the image.
        outcome: what the method made of it.
        extra: further fields of the report.

    Returns:
        The report, as in report.json.

    Raises:
        RequestError: the image or the bundle was changed on disk during the run.
        OSError: the disk is full.
    """
    engine, target = image.engine, image.target
    _check_unchanged(engine, target)
    with image.stages.stage(WRITING, engine.options):
        measured = _write_images(folder, engine, target, outcome, image.reporter)
    report = {
        **what_was_run(engine, target),
        **measured,
        **what_the_method_did(
            image, outcome.segmented, outcome.adapted, outcome.judgement, measured
        ),
        "files_written": layout.written(folder),
        **extra,
    }
    write_report(folder / layout.REPORT.name, report)
    return report


def _write_images(
    folder: Path, engine: Engine, target: Target, outcome: Outcome, progress: Progress
) -> dict[str, Any]:
    """Write everything but the report; return its part on what was measured in the images."""
    description, segmented = engine.model.description, outcome.segmented
    # both segmentations; the entropy and the other maps, restored and written; the overview
    steps = 2 + 2 * (1 + len(segmented.maps)) + len(segmented.samples) + 1
    tick = _ticks(progress, steps)
    restored = _restore(target, segmented, tick)
    delivered = target.source_probabilities if outcome.delivers_source else segmented.probabilities
    unsure = certainty.structures(
        _entropy_of(delivered, target, restored),
        restored.source if outcome.delivers_source else restored.own,
        description.labels,
    )
    if engine.probabilities:
        certainty.write_probabilities(folder, target, delivered, description)
    _write_segmentations(folder, engine, target, outcome, restored)
    for role, map_ in restored.maps.items():
        write_map(folder / layout.maps()[role].name, map_, target.volume.geometry)
        tick()
    chosen = _write_samples(folder, target, segmented, tick)
    voxel_ml = target.volume.geometry.voxel_ml
    volumes = measure_volumes(restored.source, restored.own, description.labels, voxel_ml)
    picture = _overview(engine, target, segmented, restored, volumes, chosen)
    draw_overview(folder / layout.OVERVIEW.name, picture)
    tick()
    return {
        "volumes": volumes,
        "postprocessing": dict(restored.changes),
        "mean_entropy_bits": float(restored.maps[layout.ENTROPY.role].mean()),
        "uncertainty": unsure,
    }


def _ticks(progress: Progress, total: int) -> Tick:
    """A function that reports one more step of the stage at each call."""
    steps = itertools.count(1)
    progress(WRITING, 0, total)
    return lambda: progress(WRITING, next(steps), total)


def _check_unchanged(engine: Engine, target: Target) -> None:
    """Refuse to write if the image or the bundle changed on disk during the run."""
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


def _restore(target: Target, segmented: Segmented, tick: Tick) -> Restored:
    """The segmentations, post-processed alike, and the maps on the input's grid."""
    source, of_source = target.source_segmentation
    tick()
    own, of_own = source, of_source
    if segmented.probabilities is not target.source_probabilities:
        own, of_own = postprocess(target.conformed, segmented.probabilities, target.labels)
    tick()
    maps = {layout.ENTROPY.role: target.entropy}
    tick()
    for role, map_ in segmented.maps.items():
        maps[role] = target.restored(map_)
        tick()
    return Restored(source, own, maps, {"source": of_source, "result": of_own})


def _entropy_of(probabilities: Tensor, target: Target, restored: Restored) -> np.ndarray:
    """Entropy in bits ``(K, J, I)`` of probabilities ``(C, k, j, i)``."""
    if probabilities is target.source_probabilities:
        return restored.maps[layout.ENTROPY.role]
    return target.restored(entropy(probabilities, "bits"))


def _write_segmentations(
    folder: Path, engine: Engine, target: Target, outcome: Outcome, restored: Restored
) -> None:
    """The delivered one, the source model's, the method's own and the denoised one."""
    title = engine.method.title
    own, source = (restored.own, title), (restored.source, registry.find(registry.REFERENCE).title)
    found = {
        layout.SEGMENTATION: source if outcome.delivers_source else own,
        layout.SOURCE_SEGMENTATION: source,
    }
    if engine.method.judged:
        found[layout.ADAPTED_SEGMENTATION] = own
    denoised = outcome.segmented.denoised
    if denoised is not None:
        classes = engine.model.description.classes
        one_hot = torch.nn.functional.one_hot(denoised.long(), classes).movedim(-1, 0).float()
        labels = target.conformed.restore_labels(one_hot)
        found[layout.DENOISED] = labels, f"{title}, denoised"
    for file, (labels, made_by) in found.items():
        write_segmentation(
            folder / file.name,
            labels,
            target.volume.geometry,
            engine.model.description.labels,
            made_by,
        )


def _write_samples(
    folder: Path, target: Target, segmented: Segmented, tick: Tick
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


def _overview(
    engine: Engine,
    target: Target,
    segmented: Segmented,
    restored: Restored,
    volumes: list[dict[str, Any]],
    chosen: np.ndarray | None,
) -> Overview:
    """The picture, with the method's own map where it makes one and the entropy where not."""
    geometry, description = target.volume.geometry, engine.model.description

    def shown(array: np.ndarray) -> np.ndarray:
        return oriented(array, geometry, DISPLAY)[0]

    image, spacing_kji = oriented(target.volume.array, geometry, DISPLAY)
    map_ = layout.maps()[next(iter(segmented.maps), layout.ENTROPY.role)]
    caption = ""
    if chosen is not None:
        assert segmented.chosen is not None
        score = segmented.report["samples"][segmented.chosen]["score"]
        caption = f"Sample {segmented.chosen + 1} of {len(segmented.samples)}, S = {score:.3f}"
    return Overview(
        image=image,
        spacing_kji=spacing_kji,
        source_labels=shown(restored.source),
        final_labels=shown(restored.own),
        labels=description.labels,
        volumes=[change_text(volume) for volume in volumes],
        title=f"{engine.method.title}: {target.name}",
        subtitle=description.name,
        uncertainty=shown(restored.maps[map_.role]),
        uncertainty_map=map_,
        uncertainty_window=map_.window(description.classes),
        sample=None if chosen is None else shown(chosen),
        sample_caption=caption,
    )
