"""Compare segmentations with a reference segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from SFDALib.errors import RequestError
from SFDALib.evaluation import metrics
from SFDALib.results import layout
from SFDALib.results.folder import write_atomically
from SFDALib.results.images import read_segment_names
from SFDALib.results.report import write_report
from SFDALib.volume.geometry import Volume
from SFDALib.volume.image_file import read_labels
from SFDALib.volume.regrid import on_grid_of


def evaluate(
    results: Sequence[Path], reference: Path, tolerance_mm: float, table: Path | None
) -> dict[str, Any]:
    """Dice, ASD, HD95, surface Dice and volumes of each class of each result, and their means.

    Args:
        results: segmentation files or result folders.
        reference: a segmentation on the same grid. Its axes may be stored in another order, and
            it may be cropped, as Slicer does.
        tolerance_mm: distance up to which two surfaces count as equal in the surface Dice.
        table: a JSON file to write the returned values to.

    Returns:
        "results", a row for each result; "means", for each class the mean of every measure over
        the results with its 95 % interval, see ``metrics.MeasureSummary``.

    Raises:
        RequestError: a file cannot be read, or the grids differ.
    """
    reference_labels = read_labels(reference)
    rows: list[dict[str, Any]] = []
    cases: dict[int, list[metrics.ClassMetrics]] = {}  # by label
    names: dict[int, str] = {}
    for path in results:
        file = path / layout.SEGMENTATION.name if path.is_dir() else path
        measured = _measure(file, reference, reference_labels, tolerance_mm)
        named = read_segment_names(file)
        classes = {}
        for label, values in measured.items():
            name = named.get(label, f"label {label}")
            classes[str(label)] = {"name": name, **asdict(values)}
            cases.setdefault(label, []).append(values)
            names.setdefault(label, name)
        rows.append({"result": str(path), "classes": classes})
    means = {
        str(label): {
            "name": names[label],
            **{measure: asdict(found) for measure, found in metrics.summarise(values).items()},
        }
        for label, values in sorted(cases.items())
    }
    summary = {
        "reference": str(reference),
        "tolerance_mm": tolerance_mm,
        "results": rows,
        "means": means,
    }
    if table is not None:
        with write_atomically(table) as partial:
            write_report(partial, summary)
    return summary


def _measure(
    file: Path, reference: Path, reference_labels: Volume, tolerance_mm: float
) -> dict[int, metrics.ClassMetrics]:
    """The measures of one segmentation by label, of every label in it or in the reference."""
    together = _on_one_grid(read_labels(file), reference_labels)
    if together is None:
        raise RequestError(
            f"{file}: found another grid than that of {reference}, expected both on the input"
            " image's grid; resample one of them"
        )
    found, truth = together
    labels = np.union1d(np.unique(found.array), np.unique(truth.array))
    return metrics.evaluate_labels(
        found.array[0],
        truth.array[0],
        truth.geometry.spacing_kji,
        [int(label) for label in labels if label],
        tolerance_mm,
    )


def _on_one_grid(found: Volume, truth: Volume) -> tuple[Volume, Volume] | None:
    """Both on the grid of the reference, or on that of the result where the reference is cropped;
    None if their voxels are at different positions.
    """
    if (moved := on_grid_of(found, truth.geometry)) is not None:
        return moved, truth
    if (moved := on_grid_of(truth, found.geometry)) is not None:
        return found, moved
    return None
