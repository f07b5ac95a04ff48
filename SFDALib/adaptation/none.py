"""The source model as it is: what every other method is compared with."""

from __future__ import annotations

from torch import Tensor

from SFDALib.bundle.source import Source
from SFDALib.methods.outcome import Segmented
from SFDALib.methods.shared_options import InferenceOptions
from SFDALib.progress import Progress
from SFDALib.volume.conform import Conformed


def segment(
    model: Source,
    target: Conformed,
    source_probabilities: Tensor,
    options: InferenceOptions,
    seed: int,
    progress: Progress,
) -> Segmented:
    """Return the source model's own segmentation."""
    return Segmented(source_probabilities)
