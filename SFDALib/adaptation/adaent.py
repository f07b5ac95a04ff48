"""AdaEnt: entropy minimisation under KL(prior || prediction)."""

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
    name="adaent",
    title="AdaEnt",
    summary="As AdaMI with the prior the other way round: milder on structures that are absent, so"
    " that a wrong presence does less harm.",
    paper="Bateson, Kervadec, Dolz, Lombaert, Ben Ayed. Source-relaxed domain adaptation for image"
    " segmentation. MICCAI 2020",
    updates="all weights",
    needs=(),
    cost="one training pass over the images an epoch",
    options=prior_entropy.OPTIONS,
    entry="SFDALib.adaptation.adaent:adapt",
    adapts=True,
)


def adapt(
    model: Source,
    images: Sequence[Conformed],
    options: dict[str, Any],
    seed: int,
    progress: Progress,
) -> Adapted:
    from SFDALib.adaptation.common.losses import prior_given_ratio

    return prior_entropy.minimise(model, images, options, seed, progress, prior_given_ratio)
