"""AdaMI: entropy minimisation under KL(prediction || prior)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from SFDALib.adaptation.common import prior_entropy
from SFDALib.methods.method import Method
from SFDALib.progress import Progress

if TYPE_CHECKING:
    from SFDALib.bundle.source import Source
    from SFDALib.methods.outcome import Adapted
    from SFDALib.volume.conform import Conformed

METHOD = Method(
    name="adami",
    title="AdaMI",
    summary="Makes the model confident on the new images while each structure keeps the size that"
    " anatomy expects.",
    paper="Bateson, Kervadec, Dolz, Lombaert, Ben Ayed. Source-free domain adaptation for image"
    " segmentation. Medical Image Analysis 2022",
    updates="all weights",
    needs=(),
    cost="one training pass over the images an epoch",
    options=prior_entropy.OPTIONS,
    entry="SFDALib.adaptation.adami:adapt",
    adapts=True,
)


def adapt(
    model: Source,
    images: Sequence[Conformed],
    options: dict[str, Any],
    seed: int,
    progress: Progress,
) -> Adapted:
    from SFDALib.adaptation.common.losses import ratio_given_prior

    return prior_entropy.minimise(model, images, options, seed, progress, ratio_given_prior)
