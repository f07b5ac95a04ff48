"""Batch statistics of the target in the place of the source's; no weight is trained."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from SFDALib.adaptation.common.batch_norm import reestimate
from SFDALib.adaptation.common.model_selection import ModelSelection, evaluate, expected_shares
from SFDALib.adaptation.common.patches import TargetPatches
from SFDALib.bundle.source import Source
from SFDALib.methods.bn_statistics import BatchStatisticsOptions
from SFDALib.methods.outcome import Adapted
from SFDALib.progress import Progress
from SFDALib.volume.conform import Conformed


def adapt(
    model: Source,
    images: Sequence[Conformed],
    options: BatchStatisticsOptions,
    seed: int,
    progress: Progress,
) -> Adapted:
    """Re-estimate the statistics of a copy of the network; return the better of both states."""
    network = copy.deepcopy(model.network)
    patches = TargetPatches(model, [image.array for image in images])
    selection = ModelSelection(expected_shares(model.description, patches, images))
    temperature = model.description.temperature
    selection.update(network, evaluate(network, patches, temperature))
    reestimate(network, patches, options.batch)
    source = model.network.state_dict()
    for name, statistic in network.named_buffers():
        if statistic.is_floating_point():
            statistic.lerp_(source[name], options.source_share)
    selection.update(network, evaluate(network, patches, temperature))
    progress("adapting", 1, 1)
    return Adapted(
        selection.weights,
        selection.curves,
        selection.best_epoch,
        selection.stopped or "all statistics taken",
        collapsed=selection.collapsed,
    )
