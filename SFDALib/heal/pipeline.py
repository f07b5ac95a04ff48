"""HEAL from end to end: denoise, draw samples, select one, segment it, fuse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from SFDALib.methods.method import INFERENCE_OPTIONS, Method, Option, choice
from SFDALib.progress import Progress
from SFDALib.rounding import round_up

if TYPE_CHECKING:
    from torch import Tensor

    from SFDALib.bundle.source import Source
    from SFDALib.methods.outcome import Segmented
    from SFDALib.volume.conform import Conformed

METHOD = Method(
    name="heal",
    title="HEAL",
    summary="Leaves the model as it is: cleans its first result of doubtful regions, draws images"
    " of the source's kind that show the rest, and segments the one whose edges fit best.",
    paper="Shi, Li, Qi. HEAL: learning-free source free unsupervised domain adaptation for"
    " cross-modality medical image segmentation. BMVC 2025, arXiv 2511.17958",
    updates="nothing",
    needs=("diffusion",),
    cost="samples x steps evaluations of the diffusion network",
    options=(
        Option("tau1", 0.2, "Voxels above this entropy are doubted, in entropy_unit.", 0, 10),
        Option("tau2", 0.2, "Voxels above this NIG uncertainty are rejected.", 0, 1e6),
        choice("entropy_unit", ("bits", "nats", "normalised"), "Unit of tau1."),
        choice("region", ("3x3", "3x3x3"), "Neighbourhood of the regional entropy, in voxels."),
        choice(
            "entropy_source",
            ("mean_entropy", "hist10"),
            "Regional entropy as in the paper, or the released code's 10-bin histogram.",
        ),
        choice(
            "diff",
            ("hard", "prob"),
            "What the entropy step changed: labels, or the largest probability of every voxel.",
        ),
        choice(
            "nig",
            ("monotone", "released", "paper"),
            "NIG variance that rises with uncertainty, as in the released code, or to the paper's"
            " letter (which rejects nothing).",
        ),
        choice("var_norm", ("minmax", "none"), "Scale of the NIG variance before tau2."),
        choice(
            "hd_combine",
            ("nig_only", "and_entropy"),
            "Keep what passes tau2, or only what passes both thresholds.",
        ),
        Option("samples", 6, "Diffusion samples n.", 1, 64, kind="int"),
        choice(
            "sampler",
            ("ddpm", "dpm-solver++", "ddim"),
            "How samples are drawn: ancestral sampling, whose fresh noise corrects what a small"
            " diffusion model gets wrong, or a deterministic solver.",
        ),
        Option(
            "steps", 15, "Evaluations a sample; the papers use ddpm with 250.", 1, 1000, kind="int"
        ),
        Option(
            "shared_noise",
            True,
            "Slices of one sample start from the same noise (2D).",
            kind="bool",
        ),
        Option(
            "canny_sigma",
            None,
            "Canny's smoothing in voxels; none: 1 for volumes, 3 for single images.",
            0.1,
            20,
            kind="float",
            optional=True,
        ),
        Option("canny_low", 0.1, "Canny's low threshold on samples scaled to 0..1.", 0, 10),
        Option("canny_high", 0.2, "Canny's high threshold.", 0, 10),
        choice(
            "label_edges",
            ("canny", "boundary"),
            "Edges of the pseudo-label: the same detector, or its inner boundary.",
        ),
        Option(
            "edge_tolerance", 0, "Voxels by which edges may miss each other.", 0, 20, kind="int"
        ),
        choice(
            "edge_score",
            ("recall", "corrected"),
            "What the sample is chosen by: the paper's S_i (recall), or S_i less what the sample's"
            " edge density meets by chance, where samples are noisy.",
        ),
        choice("fusion", ("hard", "prob_lambda"), "Size-aware fusion (models of several classes)."),
        *INFERENCE_OPTIONS,
    ),
    entry="SFDALib.heal.pipeline:segment",
    adapts=False,
)


def segment(
    model: Source,
    target: Conformed,
    source_probabilities: Tensor,
    options: dict[str, Any],
    seed: int,
    progress: Progress,
) -> Segmented:
    """Segment one image on the model's grid without changing a weight."""
    import torch

    from SFDALib.heal.denoising import DenoisingOptions, hierarchical_denoising
    from SFDALib.heal.fusion import size_aware_fusion
    from SFDALib.heal.selection import SelectionOptions, condition_edges, select_sample
    from SFDALib.inference.predict import predict
    from SFDALib.methods.outcome import Segmented
    from SFDALib.volume.intensity import normalise_unit

    progress("denoising", 0, 1)
    denoised = hierarchical_denoising(source_probabilities, _pick(DenoisingOptions, options))
    progress("denoising", 1, 1)
    maps = {"nig_uncertainty": denoised.nig}
    report: dict[str, Any] = {
        "kept_by_entropy": denoised.kept_by_entropy,
        "kept_by_nig": denoised.kept_by_nig,
        "max_nig_variance": denoised.max_variance,
        "diffusion_trained_on_source_only": model.description.diffusion.source_only,
    }
    notes = list(denoised.notes)
    spacing = model.description.diffusion.spacing
    shape = _shape_at(target, spacing)
    condition_labels = _nearest(denoised.labels, shape)
    selection_options = _pick(SelectionOptions, options)
    edges = condition_edges(condition_labels.cpu().numpy(), selection_options)
    if not edges.any():
        empty = not bool((denoised.labels > 0).any())
        notes.append(
            "No sample was drawn: the denoised pseudo-label has no edges. The result is "
            + ("the source model's own." if empty else "the denoised pseudo-label itself.")
        )
        final = (
            source_probabilities if empty else _one_hot(denoised.labels, len(source_probabilities))
        )
        return Segmented(final, maps, denoised.labels, (), None, report, tuple(notes))

    drawn = [
        (sample + 1) / 2
        for sample in _draw(model, target, condition_labels, options, seed, progress)
    ]
    selection = select_sample(
        [sample.numpy() for sample in drawn], condition_labels.cpu().numpy(), selection_options
    )
    notes.extend(selection.notes)
    report["samples"] = [
        {"seed": own, "score": score, "edge_density": density, "edge_voxels_met": met}
        for own, score, density, met in zip(
            _seeds(seed, len(drawn)),
            selection.scores,
            selection.densities,
            selection.intersections,
            strict=True,
        )
    ]
    report["chosen_sample"] = selection.chosen
    report["condition_edge_voxels"] = selection.condition_edge_count

    samples = tuple(_linear(sample, target.array.shape[1:]) for sample in drawn)
    image = normalise_unit(
        samples[selection.chosen].numpy(), model.description.input_spec.normalisation
    )
    generated = predict(model, image, options, progress, stage="segmenting the sample")
    fused = size_aware_fusion(generated, denoised.labels, source_probabilities, options["fusion"])
    notes.extend(fused.notes)
    report["fusion"] = {"smallest_class": fused.smallest_class, "lambdas": list(fused.lambdas)}
    final = generated if fused.skipped else _one_hot(fused.labels, len(generated))
    return Segmented(
        final,
        maps,
        denoised.labels,
        tuple(torch.clamp(sample, 0, 1) for sample in samples),
        selection.chosen,
        report,
        tuple(notes),
    )


def _draw(
    model: Source,
    target: Conformed,
    condition_labels: Tensor,
    options: Mapping[str, Any],
    seed: int,
    progress: Progress,
) -> list[Tensor]:
    import torch

    from SFDALib.diffusion.drawing import draw_samples, foreground_mask, mask_condition
    from SFDALib.diffusion.schedule import cosine_schedule
    from SFDALib.machine.batch_size import batch_that_fits

    description = model.description
    body = None
    if description.diffusion.foreground:
        silhouette = torch.from_numpy(foreground_mask(target.array))
        body = _nearest(silhouette, condition_labels.shape).to(model.device)
        body = body.bool() | (condition_labels > 0)
    condition = mask_condition(condition_labels, description.classes, body)
    network = model.diffusion
    slices = description.input_spec.is_2d
    part = condition.shape[2:] if slices else condition.shape[1:]
    divisor = network.divisor
    padded = tuple(round_up(n, divisor) for n in part)
    return list(
        draw_samples(
            network,
            cosine_schedule(description.diffusion.timesteps),
            condition,
            image_channels=description.input_spec.channels,
            spatial_dims=description.spatial_dims,
            divisor=divisor,
            seeds=_seeds(seed, options["samples"]),
            sampler=options["sampler"],
            steps=options["steps"],
            batch_size=batch_that_fits(
                network,
                (network.image_channels, *padded),
                model.device,
                extra=(torch.zeros(1, device="meta"), _on_meta(condition, padded)),
            ),
            shared_noise=options["shared_noise"],
            device=model.device,
            progress=lambda done, total: progress("sampling", done, total),
        )
    )


def _on_meta(condition: Tensor, padded: Sequence[int]) -> Tensor:
    import torch

    return torch.empty((1, condition.shape[0], *padded), device="meta")


def _seeds(seed: int, count: int) -> list[int]:
    """Of the samples: one each, none shared between runs of different seeds."""
    return [seed * 1000 + index for index in range(count)]


def _pick(kind: type, options: Mapping[str, Any]) -> Any:
    """An options dataclass from the method's options of the same names."""
    return kind(**{field.name: options[field.name] for field in fields(kind)})


def _shape_at(
    target: Conformed, spacing: tuple[float | None, float | None, float | None]
) -> tuple[int, ...]:
    """Array shape of the image's extent at the diffusion model's spacing."""
    return tuple(
        n if new is None else max(1, round(n * mm / new))
        for n, mm, new in zip(
            target.geometry.shape, target.geometry.spacing_kji, spacing[::-1], strict=True
        )
    )


def _nearest(labels: Tensor, shape: Sequence[int]) -> Tensor:
    import torch.nn.functional as F

    if tuple(labels.shape) == tuple(shape):
        return labels
    resampled = F.interpolate(labels[None, None].float(), size=tuple(shape), mode="nearest-exact")
    return resampled[0, 0].to(labels.dtype)


def _linear(image: Tensor, shape: Sequence[int]) -> Tensor:
    import torch.nn.functional as F

    if tuple(image.shape[1:]) == tuple(shape):
        return image
    return F.interpolate(image[None], size=tuple(shape), mode="trilinear", align_corners=False)[0]


def _one_hot(labels: Tensor, classes: int) -> Tensor:
    import torch.nn.functional as F

    return F.one_hot(labels.long(), classes).movedim(-1, 0).float()
