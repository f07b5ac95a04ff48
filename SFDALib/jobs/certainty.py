"""What a result says of its own certainty: uncertainty of each structure, and its probabilities."""

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

DOUBT = 0.5  # bits; of two classes the likelier has a probability of less than 0.89


def structures(
    map_: np.ndarray, delivered: np.ndarray, labels: Sequence[Label]
) -> list[dict[str, Any]]:
    """The report's "uncertainty": how unsure the model is inside each delivered structure.

    With H the entropy of a voxel's class probabilities in bits, of the probabilities from which the
    delivered segmentation was made, on the input's grid:

    - "entropy_bits": the mean of H over the structure's voxels.
    - "uncertain_percent": how many of these have H above 0.5 bits.
    - "slices": the same mean on each of the input's slices (along K) from "first" on, with the
      number of the structure's voxels there; null on a slice without it.

    All are null where the structure has no voxel, or where a method gives labels alone.

    Args:
        map_: H ``(K, J, I)``; 0 everywhere where a method gives labels alone.
        delivered: ``(K, J, I)``.
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
    """Write probabilities.nrrd: a channel a class, 255 for 1, on the input's grid.

    Its header names the channels and says how the delivered segmentation follows from them: the
    class with the largest is the label; or, of overlapping regions and of models with a threshold
    of their own, each region or class in the channels' order, a later one over an earlier one,
    where its byte is at least the one named.
    """
    maps, labels = byte_maps(target.conformed, probabilities)
    names = {label.value: label.name for label in description.labels}
    regions, least = description.input_spec.regions, least_byte(description.input_spec)
    header = {"probability_of_255": "1", "rule": "largest"}
    if least is not None:
        header |= {"rule": "painted in order where at least", "least": str(least)}
    for channel, value in enumerate(labels):
        name = names.get(value, "background")
        if regions:  # the label is what later regions leave of it
            name = f"region of {name}"
        header |= {f"channel{channel}_name": name, f"channel{channel}_label": str(value)}
    write_bytes(folder / layout.PROBABILITIES.name, maps, target.volume.geometry, header)
