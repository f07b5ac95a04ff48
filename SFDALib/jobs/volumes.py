"""Volumes of the structures in ml: as report.json has them, and as they are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from SFDALib.bundle.description import Label


def measure_volumes(
    source: np.ndarray, result: np.ndarray, labels: Sequence[Label], voxel_ml: float
) -> list[dict[str, Any]]:
    """The report's "volumes": each class before and after, with the bundle's plausible range.

    Args:
        source, result: label maps ``(K, J, I)`` of the source model and of the method.
        voxel_ml: the volume of a voxel.
    """
    return [
        {
            "label": label.value,
            "name": label.name,
            "source_ml": round(float((source == label.value).sum()) * voxel_ml, 4),
            "result_ml": round(float((result == label.value).sum()) * voxel_ml, 4),
            "plausible_ml": list(label.size_ml) if label.size_ml else None,
        }
        for label in labels
    ]


def implausible(volumes: Sequence[Mapping[str, Any]]) -> list[str]:
    """A warning for each class whose volume in the result lies outside the plausible range."""
    return [
        f"{volume['name']}: {ml(volume['result_ml'])} ml in the result lies outside the plausible"
        f" {ml(volume['plausible_ml'][0])} to {ml(volume['plausible_ml'][1])} ml: compare it with"
        " the image."
        for volume in volumes
        if volume["plausible_ml"]
        and not volume["plausible_ml"][0] <= volume["result_ml"] <= volume["plausible_ml"][1]
    ]


def change_text(volume: Mapping[str, Any]) -> str:
    """Such as "1320 → 1410 ml (+7 %)"."""
    before, after = volume["source_ml"], volume["result_ml"]
    change = f" ({100 * (after - before) / before:+.0f} %)" if before > 0 else ""
    return f"{ml(before)} → {ml(after)} ml{change}"


def ml(value: float) -> str:
    """A volume in ml with three digits; whole numbers from 100 on."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
