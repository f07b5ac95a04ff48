"""What a method may need of a source model or a request, and what to do where it is missing.

The only place that names these facts: methods list them under ``needs``, ``Description.holds``
answers for a source model. Standard library alone.
"""

from __future__ import annotations

EARLY_HEAD = "early-head"
DIFFUSION = "diffusion"
BATCH_NORM = "batch-norm"
LABELS = "labels"
THREE_D = "3d"

REMEDIES = {
    EARLY_HEAD: "a head on early features; add one with SFDALib train early-head",
    DIFFUSION: "a diffusion model; add one with SFDALib train diffusion",
    BATCH_NORM: "batch normalisation, of which this network has none; choose another method",
    LABELS: "segmentations to learn from; give them with --labels",
    THREE_D: "a 3D network, and this one segments slice by slice; choose another method",
}
