"""HEAL: denoise, draw images of the source's kind, select one, segment it, fuse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from SFDALib.methods.method import Method, Work
from SFDALib.methods.option import option
from SFDALib.methods.shared_options import InferenceOptions


@dataclass(frozen=True, kw_only=True)
class HealOptions(InferenceOptions):
    """Options of HEAL, in the order of its steps: denoising, drawing, selection, fusion."""

    tau1: float = option(0.2, "Voxels with a larger entropy, in entropy_unit, are doubted.", 0, 10)
    tau2: float = option(0.2, "Voxels with a larger NIG uncertainty are rejected.", 0, 1e6)
    entropy_unit: Literal["bits", "nats", "normalised"] = option(
        "bits", "Unit of tau1; nats is the released code's, about 1.4 times looser."
    )
    region: Literal["3x3", "3x3x3"] = option(
        "3x3",
        "Neighbourhood of the regional entropy; without effect with entropy_source=hist10.",
        unit="voxels",
    )
    entropy_source: Literal["mean_entropy", "hist10"] = option(
        "mean_entropy",
        "Regional entropy as in the paper, or the released code's 10-bin histogram.",
    )
    diff: Literal["hard", "prob"] = option(
        "hard",
        "What the entropy step changed: labels, or the largest probability of every voxel.",
    )
    nig: Literal["monotone", "released", "paper"] = option(
        "monotone",
        "NIG variance that rises with uncertainty, as in the released code, or to the paper's"
        " letter (which rejects nothing).",
    )
    var_norm: Literal["minmax", "none"] = option("minmax", "Scale of the NIG variance before tau2.")
    hd_combine: Literal["nig_only", "and_entropy"] = option(
        "nig_only", "Keep the voxels that pass tau2, or only those that pass both thresholds."
    )
    samples: int = option(6, "Diffusion samples n.", 1, 64, lowers_memory=True)
    sampler: Literal["ddpm", "dpm-solver++", "ddim"] = option(
        "ddpm",
        "How samples are drawn: ancestral sampling, whose fresh noise corrects the errors of a"
        " small diffusion model, or a deterministic solver.",
    )
    steps: int = option(15, "Evaluations a sample; the papers use ddpm with 250.", 1, 1000)
    shared_noise: bool = option(True, "Slices of one sample start from the same noise (2D).")
    canny_sigma: float | None = option(
        None,
        "Standard deviation of Canny's Gaussian smoothing; a larger one finds fewer edges.",
        0.1,
        20,
        unit="voxels",
        none="1 for volumes, 3 for single images",
    )
    canny_low: float = option(0.1, "Canny's low threshold on samples scaled to 0..1.", 0, 10)
    canny_high: float = option(0.2, "Canny's high threshold.", 0, 10)
    label_edges: Literal["canny", "boundary"] = option(
        "canny",
        "Edges of the pseudo-label: the same detector, or its inner boundary; the samples' edges"
        " are Canny's in both cases.",
    )
    edge_tolerance: int = option(
        0,
        "Distance by which edges may miss each other.",
        0,
        20,
        unit="voxels",
    )
    edge_score: Literal["recall", "corrected"] = option(
        "recall",
        "Score by which the sample is chosen: the paper's S_i (recall), or S_i corrected for the"
        " edges that a sample of this edge density matches by chance, where samples are noisy.",
    )
    fusion: Literal["hard", "prob_lambda"] = option(
        "hard", "Size-aware fusion (models of several classes)."
    )


METHOD = Method(
    name="heal",
    title="HEAL",
    summary="Leaves the model as it is: removes doubtful regions from its first result, draws"
    " images of the source's kind that show the rest, and segments the one whose edges fit best.",
    paper="Shi, Li, Qi. HEAL: learning-free source free unsupervised domain adaptation for"
    " cross-modality medical image segmentation. BMVC 2025, arXiv 2511.17958",
    updates="nothing",
    needs=("diffusion",),
    cost="samples x steps evaluations of the diffusion network",
    options_type=HealOptions,
    entry="SFDALib.heal.pipeline:segment",
    adapts=False,
    own_work=lambda options: Work(
        passes=1, draws=options.samples * options.steps, samples=options.samples
    ),
    recommended={"steps": 10, "samples": 3},
)
