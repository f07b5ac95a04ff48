"""Batch statistics of the target in place of the source's; no weight is trained."""

from __future__ import annotations

from dataclasses import dataclass

from SFDALib.methods.method import Method, Work
from SFDALib.methods.option import option
from SFDALib.methods.shared_options import InferenceOptions, batch_option


@dataclass(frozen=True, kw_only=True)
class BatchStatisticsOptions(InferenceOptions):
    """Options of re-estimating batch statistics."""

    batch: int = batch_option(24)
    source_share: float = option(
        0.0,
        "Share of the source's statistics in the mixture, N / (N + n) of the paper; 0: the"
        " target's alone.",
        0,
        1,
    )


METHOD = Method(
    name="bn-statistics",
    title="Batch statistics",
    summary="Lets the model measure brightness and contrast on the new images; it learns nothing.",
    paper="Schneider, Rusak, Eck, Bringmann, Brendel, Bethge. Improving robustness against common"
    " corruptions by covariate shift adaptation. NeurIPS 2020",
    updates="means and variances of batch normalisation",
    needs=("batch-norm",),
    cost="one pass over the images",
    options_type=BatchStatisticsOptions,
    entry="SFDALib.adaptation.bn_statistics:adapt",
    adapts=True,
    own_work=lambda options: Work(passes=1, networks=1),
)
