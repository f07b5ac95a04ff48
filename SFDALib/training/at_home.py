"""What a model does on images of its own kind that it was not trained on.

With it a judge can tell what is usual for this model, such as its entropy, from what is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np
from torch import Tensor

from SFDALib.bundle.parts import AtHome
from SFDALib.bundle.source import Source
from SFDALib.evaluation.agreement import label_dice
from SFDALib.inference.predict import predict
from SFDALib.json_fields import SMALLEST
from SFDALib.methods.shared_options import InferenceOptions
from SFDALib.progress import Progress
from SFDALib.training.manifest import Case
from SFDALib.trust.signals import mean_entropy, stability
from SFDALib.uncertainty import entropy

MOST = 10  # cases, evenly over all


def at_home(model: Source, cases: Sequence[Case], progress: Progress) -> AtHome | None:
    """The model on up to ``MOST`` cases; None without any.

    Args:
        model: the trained model.
        cases: that it was not trained on.
        progress: informed of every case.
    """

    def segment(image: np.ndarray) -> Tensor:
        return predict(model, image, InferenceOptions())

    chosen = cases[:: max(1, -(-len(cases) // MOST))]
    found = []
    for number, case in enumerate(chosen, start=1):
        image = np.array(case.image)  # it is read from the cache, which cannot be written
        probabilities = segment(image)
        labels = probabilities.argmax(0).cpu().numpy()
        bits = entropy(probabilities, "bits").cpu().numpy()
        found.append(
            (
                label_dice(labels, case.labels),
                mean_entropy(bits, labels > 0),
                stability(labels, image, segment),
            )
        )
        progress("at home", number, len(chosen))
    if not found:
        return None
    means = (max(round(fmean(values), 4), SMALLEST) for values in zip(*found, strict=True))
    return AtHome(len(found), *means)
