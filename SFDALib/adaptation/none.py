"""The source model as it is: what every other method is compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from SFDALib.methods.method import INFERENCE_OPTIONS, Method
from SFDALib.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor

    from SFDALib.bundle.source import Source
    from SFDALib.methods.outcome import Segmented
    from SFDALib.volume.conform import Conformed

METHOD = Method(
    name="none",
    title="No adaptation",
    summary="Runs the source model as it is.",
    paper="the baseline of every paper",
    updates="nothing",
    needs=(),
    cost="one pass over the image",
    options=INFERENCE_OPTIONS,
    entry="SFDALib.adaptation.none:segment",
    adapts=False,
    judged=False,
)


def segment(
    model: Source,
    target: Conformed,
    source_probabilities: Tensor,
    options: dict[str, Any],
    seed: int,
    progress: Progress,
) -> Segmented:
    from SFDALib.methods.outcome import Segmented

    return Segmented(source_probabilities)
