"""The uncertainty of each structure of a result, and the file of its class probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from SFDALib.bundle.description import Description, Label
from SFDALib.jobs.image_run import Target
from SFDALib.results import layout
from SFDALib.results.images import write_bytes
from SFDALib.volume.label_rules import least_byte
from SFDALib.volume.labelling import byte_maps

DOUBT = 0.5  # bits; with two classes, the larger probability is below 0.89


def structures(
    map_: np.ndarray, delivered: np.ndarray, labels: Sequence[Label]
) -> list[dict[str, Any]]:
    """The report's "uncertainty": the entropy of the model inside each delivered structure.

    H is the entropy in bits of a voxel's class probabilities on the input's grid. The probabilities
    are those that the delivered segmentation was made from.

    - "entropy_bits": the mean of H over the structure's voxels.
    - "uncertain_percent": the percentage of them with H above 0.5 bits.
    - "slices": the mean of H on each slice of the input (along K), starting at the slice "first",
      and the number of the structure's voxels on it; the mean is null on a slice without it.

    All are null if the structure has no voxel, or if the method returns labels without
    probabilities.

    Args:
        map_: H ``(K, J, I)``; 0 everywhere if the method returns labels alone.
        delivered: the label map ``(K, J, I)``.
        labels: the structures.
    """
    known = bool(map_.any())
    return [_structure(label, map_, delivered == label.value, known) for label in labels]


def _structure(label: Label, map_: np.ndarray, inside: np.ndarray, known: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"label": label.value, "name": label.name, "entropy_bits": None}
    found |= {"uncertain_percent": None, "slices": None}
    if not known or not inside.any():
        return found
    values, counts = map_[inside], inside.sum(axis=(1, 2))
    sums = np.where(inside, map_, 0.0).sum(axis=(1, 2), dtype=np.float64)
    present = np.flatnonzero(counts)
    first = int(present[0])
    part = slice(first, int(present[-1]) + 1)
    means = [
        round(float(total / count), 4) if count else None
        for total, count in zip(sums[part], counts[part], strict=True)
    ]
    return found | {
        "entropy_bits": round(float(values.mean(dtype=np.float64)), 4),
        "uncertain_percent": round(100 * float((values > DOUBT).mean()), 2),
        "slices": {"first": first, "entropy_bits": means, "voxels": counts[part].tolist()},
    }


def write_probabilities(
    folder: Path, target: Target, probabilities: Tensor, description: Description
) -> None:
    """Write probabilities.nrrd: one channel for each class on the input's grid; 255 means 1.

    The header names the channels and the rule by which the delivered segmentation follows:

    - "largest": the label is that of the channel with the largest value.
    - "painted in order where at least": for overlapping regions and models with a threshold. The
      channels are painted in their order, each where its byte is at least "least"; a later channel
      overwrites an earlier one.

    Args:
        folder: the result folder.
        target: the image, whose grid the file has.
        probabilities: on the model's grid, ``(C, k, j, i)``.
        description: of the model.
    """
    maps, labels = byte_maps(target.conformed, probabilities)
    names = {label.value: label.name for label in description.labels}
    regions, least = description.input_spec.regions, least_byte(description.input_spec)
    header = {"probability_of_255": "1", "rule": "largest"}
    if least is not None:
        header |= {"rule": "painted in order where at least", "least": str(least)}
    for channel, value in enumerate(labels):
        name = names.get(value, "background")
        if regions:  # later regions overwrite part of it, and the label is the rest
            name = f"region of {name}"
        header |= {f"channel{channel}_name": name, f"channel{channel}_label": str(value)}
    write_bytes(folder / layout.PROBABILITIES.name, maps, target.volume.geometry, header)
