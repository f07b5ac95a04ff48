"""Class-balanced self-training: the most confident pixels of each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from SFDALib.adaptation.common import pseudo_labels
from SFDALib.methods.method import Method
from SFDALib.progress import Progress

if TYPE_CHECKING:
    from SFDALib.bundle.source import Source
    from SFDALib.methods.outcome import Adapted
    from SFDALib.volume.conform import Conformed

METHOD = Method(
    name="cbst",
    title="Class-balanced self-training (CBST)",
    summary="Trains the model on its own most confident predictions of every structure alike.",
    paper="Zou, Yu, Kumar, Wang. Unsupervised domain adaptation for semantic segmentation via"
    " class-balanced self-training. ECCV 2018; without the source images that it mixes in",
    updates="all weights",
    needs=(),
    cost="one training pass over the images an epoch, two more passes a round",
    options=pseudo_labels.OPTIONS,
    entry="SFDALib.adaptation.cbst:adapt",
    adapts=True,
)


def adapt(
    model: Source,
    images: Sequence[Conformed],
    options: dict[str, Any],
    seed: int,
    progress: Progress,
) -> Adapted:
    return pseudo_labels.train(model, images, options, seed, progress, by_class=True)
