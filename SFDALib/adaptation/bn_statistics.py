"""Batch statistics of the target in the place of the source's; no weight is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from SFDALib.methods.method import INFERENCE_OPTIONS, Method, Option, batch_option
from SFDALib.progress import Progress

if TYPE_CHECKING:
    from SFDALib.bundle.source import Source
    from SFDALib.methods.outcome import Adapted
    from SFDALib.volume.conform import Conformed

METHOD = Method(
    name="bn-statistics",
    title="Batch statistics",
    summary="Lets the model measure brightness and contrast on the new images; it learns nothing.",
    paper="Schneider, Rusak, Eck, Bringmann, Brendel, Bethge. Improving robustness against common"
    " corruptions by covariate shift adaptation. NeurIPS 2020",
    updates="means and variances of batch normalisation",
    needs=("batch-norm",),
    cost="one pass over the images",
    options=(
        batch_option(24),
        Option(
            "source_share",
            0.0,
            "Share of the source's statistics in the mixture, N / (N + n) of the paper; 0: the"
            " target's alone.",
            0,
            1,
        ),
        *INFERENCE_OPTIONS,
    ),
    entry="SFDALib.adaptation.bn_statistics:adapt",
    adapts=True,
)


def adapt(
    model: Source,
    images: Sequence[Conformed],
    options: dict[str, Any],
    seed: int,
    progress: Progress,
) -> Adapted:
    """Settle the statistics of a copy of the network; the better of both states is returned."""
    import copy

    from SFDALib.adaptation.common.batch_norm import settle
    from SFDALib.adaptation.common.model_selection import Watch, expected_shares, measure
    from SFDALib.adaptation.common.patches import TargetPatches
    from SFDALib.methods.outcome import Adapted

    network = copy.deepcopy(model.network)
    patches = TargetPatches(model, [image.array for image in images])
    watch = Watch(expected_shares(model.description, patches, images))
    temperature = model.description.temperature
    watch.look(network, measure(network, patches, temperature))
    settle(network, patches, options["batch"])
    source = model.network.state_dict()
    for name, statistic in network.named_buffers():
        if statistic.is_floating_point():
            statistic.lerp_(source[name], options["source_share"])
    watch.look(network, measure(network, patches, temperature))
    progress("adapting", 1, 1)
    return Adapted(
        watch.weights, watch.curves, watch.best_epoch, watch.stopped or "all statistics taken"
    )
