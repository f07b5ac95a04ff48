"""HEAL from end to end: denoise, draw samples, select one, segment it, fuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from SFDALib.bundle.source import Source
from SFDALib.diffusion.drawing import Drawing, draw_samples, foreground_mask, mask_condition
from SFDALib.diffusion.schedule import cosine_schedule
from SFDALib.heal.denoising import hierarchical_denoising
from SFDALib.heal.fusion import size_aware_fusion
from SFDALib.heal.selection import Selection, condition_edges, select_sample
from SFDALib.inference.predict import predict
from SFDALib.machine.batch_size import batch_that_fits
from SFDALib.methods.heal import HealOptions
from SFDALib.methods.outcome import Segmented
from SFDALib.progress import Progress
from SFDALib.rounding import round_up
from SFDALib.volume.conform import Conformed
from SFDALib.volume.intensity import normalise_unit


def segment(
    model: Source,
    target: Conformed,
    source_probabilities: Tensor,
    options: HealOptions,
    seed: int,
    progress: Progress,
) -> Segmented:
    """Segment one image on the model's grid without changing a weight."""
    progress("denoising", 0, 1)
    denoised = hierarchical_denoising(source_probabilities, options)
    progress("denoising", 1, 1)
    maps = {"nig_uncertainty": denoised.nig}
    diffusion = model.description.require_diffusion()
    report: dict[str, Any] = {
        "kept_by_entropy": denoised.kept_by_entropy,
        "kept_by_nig": denoised.kept_by_nig,
        "max_nig_variance": denoised.max_variance,
        "diffusion_trained_on_source_only": diffusion.source_only,
    }
    notes = list(denoised.notes)
    shape = _shape_at(target, diffusion.spacing)
    condition_labels = _nearest(denoised.labels, shape)
    edges = condition_edges(condition_labels.cpu().numpy(), options)
    if not edges.any():
        final, note = _without_samples(denoised.labels, source_probabilities)
        return Segmented(final, maps, denoised.labels, (), None, report, (*notes, note))

    drawn = [
        (sample + 1) / 2
        for sample in _draw(model, target, condition_labels, options, seed, progress)
    ]
    selection = select_sample(
        [sample.numpy() for sample in drawn], condition_labels.cpu().numpy(), options
    )
    notes.extend(selection.notes)
    report |= _report_of(selection, _seeds(seed, len(drawn)))

    samples = tuple(_linear(sample, target.array.shape[1:]) for sample in drawn)
    assert selection.chosen is not None  # there are edges
    image = normalise_unit(
        samples[selection.chosen].numpy(), model.description.input_spec.normalisation
    )
    generated = predict(model, image, options, progress, stage="segmenting the sample")
    fused = size_aware_fusion(generated, denoised.labels, source_probabilities, options.fusion)
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


def _without_samples(denoised: Tensor, source_probabilities: Tensor) -> tuple[Tensor, str]:
    """The result ``(K, k, j, i)`` where there are no edges to choose a sample by, and a note."""
    note = "No sample was drawn: the denoised pseudo-label has no edges. The result is "
    if not bool((denoised > 0).any()):
        return source_probabilities, f"{note}the source model's own."
    return _one_hot(denoised, len(source_probabilities)), f"{note}the denoised pseudo-label itself."


def _report_of(selection: Selection, seeds: Sequence[int]) -> dict[str, Any]:
    """What the report says of the samples, and of the one that was chosen."""
    columns = (seeds, selection.scores, selection.densities, selection.intersections)
    return {
        "samples": [
            {"seed": own, "score": score, "edge_density": density, "edge_voxels_met": met}
            for own, score, density, met in zip(*columns, strict=True)
        ],
        "chosen_sample": selection.chosen,
        "condition_edge_voxels": selection.condition_edge_count,
    }


def _draw(
    model: Source,
    target: Conformed,
    condition_labels: Tensor,
    options: HealOptions,
    seed: int,
    progress: Progress,
) -> list[Tensor]:
    description, network = model.description, model.require_diffusion()
    diffusion = description.require_diffusion()
    body = None
    if diffusion.foreground:
        silhouette = torch.from_numpy(foreground_mask(target.array))
        body = _nearest(silhouette, condition_labels.shape).to(model.device)
        body = body.bool() | (condition_labels > 0)
    condition = mask_condition(condition_labels, description.classes, body)
    two_d = description.input_spec.is_2d
    part = condition.shape[2:] if two_d else condition.shape[1:]
    padded = tuple(round_up(n, network.divisor) for n in part)
    batch_size = batch_that_fits(
        network,
        (network.image_channels, *padded),
        model.device,
        extra=(torch.zeros(1, device="meta"), _on_meta(condition, padded)),
    )
    drawing = Drawing(
        image_channels=description.input_spec.channels,
        spatial_dims=description.spatial_dims,
        divisor=network.divisor,
        seeds=_seeds(seed, options.samples),
        sampler=options.sampler,
        steps=options.steps,
        batch_size=batch_size,
        shared_noise=options.shared_noise,
        device=model.device,
    )
    schedule = cosine_schedule(diffusion.timesteps)
    return list(
        draw_samples(
            network,
            schedule,
            condition,
            drawing,
            progress=lambda done, total: progress("sampling", done, total),
        )
    )


def _on_meta(condition: Tensor, padded: Sequence[int]) -> Tensor:
    return torch.empty((1, condition.shape[0], *padded), device="meta")


def _seeds(seed: int, count: int) -> list[int]:
    """Of the samples: one each, none shared between runs of different seeds."""
    return [seed * 1000 + index for index in range(count)]


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
    if tuple(labels.shape) == tuple(shape):
        return labels
    resampled = F.interpolate(labels[None, None].float(), size=tuple(shape), mode="nearest-exact")
    return resampled[0, 0].to(labels.dtype)


def _linear(image: Tensor, shape: Sequence[int]) -> Tensor:
    if tuple(image.shape[1:]) == tuple(shape):
        return image
    return F.interpolate(image[None], size=tuple(shape), mode="trilinear", align_corners=False)[0]


def _one_hot(labels: Tensor, classes: int) -> Tensor:
    return F.one_hot(labels.long(), classes).movedim(-1, 0).float()
