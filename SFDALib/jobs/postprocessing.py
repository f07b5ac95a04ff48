"""What post-processing changed in a segmentation, step by step, for report.json and for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import ndimage
from torch import Tensor

from SFDALib.bundle.description import Label
from SFDALib.bundle.postprocessing import TITLES
from SFDALib.jobs.volumes import ml
from SFDALib.volume.conform import Conformed

Changes = list[dict[str, Any]]  # of each step, as ``postprocess`` returns them


def postprocess(
    conformed: Conformed, probabilities: Tensor, labels: Sequence[Label]
) -> tuple[np.ndarray, Changes]:
    """Segment the image from probabilities, and measure what each step of post-processing does.

    Args:
        conformed: the image; its ``input_spec`` holds the steps.
        probabilities: ``(C, k, j, i)``.
        labels: the structures.

    Returns:
        The labels ``(K, J, I)`` after all steps, and for each step a dictionary: "step" in words
        and "changes", a list with, for each structure that it changed, "label", "name",
        "removed_ml", "added_ml", and its connected components "pieces_before" and "pieces_after".
    """
    steps, changes = conformed.input_spec.cleaning, []
    spec = replace(conformed.input_spec, cleaning=())
    found = replace(conformed, input_spec=spec).restore_labels(probabilities)
    voxel_ml = conformed.input_geometry.voxel_ml
    for count, step in enumerate(steps, start=1):
        before, spec = found, replace(spec, cleaning=steps[:count])
        found = replace(conformed, input_spec=spec).restore_labels(probabilities)
        each = [_change(before == one.value, found == one.value, one, voxel_ml) for one in labels]
        changed = [one for one in each if one is not None]
        changes.append({"step": TITLES[step.transform], "changes": changed})
    return found, changes


def _change(
    before: np.ndarray, after: np.ndarray, label: Label, voxel_ml: float
) -> dict[str, Any] | None:
    """What a step changed in a structure; None if nothing."""
    removed, added = np.count_nonzero(before & ~after), np.count_nonzero(after & ~before)
    if not removed and not added:
        return None
    return {
        "label": label.value,
        "name": label.name,
        "removed_ml": round(removed * voxel_ml, 4),
        "added_ml": round(added * voxel_ml, 4),
        "pieces_before": _pieces(before),
        "pieces_after": _pieces(after),
    }


def _pieces(mask: np.ndarray) -> int:
    """The connected components of a mask, whose voxels touch by their faces."""
    box = ndimage.find_objects(mask.astype(np.uint8))
    return int(ndimage.label(mask[box[0]])[1]) if box else 0


def in_words(steps: Sequence[Mapping[str, Any]], of: str) -> list[str]:
    """A sentence for each step that changed a segmentation.

    Args:
        steps: as ``postprocess`` returns them.
        of: whose segmentation it is.
    """
    return [
        f"Post-processing of {of}, {step['step']}: "
        + "; ".join(_sentence_part(change) for change in step["changes"])
        + "."
        for step in steps
        if step["changes"]
    ]


def _sentence_part(change: Mapping[str, Any]) -> str:
    done = [
        f"{what} {ml(change[key])} ml"
        for what, key in (("removed", "removed_ml"), ("added", "added_ml"))
        if change[key]
    ]
    before, after = change["pieces_before"], change["pieces_after"]
    pieces = f", {before} → {after} pieces" if before != after else ""
    return f"{change['name']} {' and '.join(done)}{pieces}"
