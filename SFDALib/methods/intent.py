"""InTEnt: predictions averaged over blends of the source's and the target's batch statistics."""

from __future__ import annotations

from dataclasses import dataclass

from SFDALib.methods.method import Method, Work
from SFDALib.methods.option import option
from SFDALib.methods.shared_options import InferenceOptions, batch_option


@dataclass(frozen=True, kw_only=True)
class IntentOptions(InferenceOptions):
    """Options of InTEnt."""

    batch: int = batch_option(24)
    blends: int = option(
        6,
        "Shares of the target's statistics, evenly from 0 to 1; more take longer and change"
        " little.",
        2,
        101,
    )


METHOD = Method(
    name="intent",
    title="InTEnt",
    summary="Averages over how much of the new images' brightness and contrast the model takes on.",
    paper="Dong, Konz, Gu, Mazurowski. Medical image segmentation with InTEnt: integrated entropy"
    " weighting for single image test-time adaptation. CVPR 2024 workshop DEF-AI-MIA,"
    " arXiv 2402.09604",
    updates="nothing",
    needs=("batch-norm",),
    cost="a pass over the image for each blend, and one for the statistics",
    options_type=IntentOptions,
    entry="SFDALib.adaptation.intent:segment",
    adapts=False,
    own_work=lambda options: Work(passes=options.blends),
)
