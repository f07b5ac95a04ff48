"""Train a mask-conditioned diffusion network on the source images (Med-DDPM)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from SFDALib.bundle import source
from SFDALib.bundle.description import DiffusionDescription
from SFDALib.bundle.open_model import open_model
from SFDALib.diffusion.drawing import foreground_mask, mask_condition
from SFDALib.diffusion.schedule import cosine_schedule
from SFDALib.errors import RequestError
from SFDALib.networks import catalogue
from SFDALib.networks.build import build_network
from SFDALib.progress import Progress
from SFDALib.training import loop
from SFDALib.training.manifest import Case, diffusion_grid, load_cases
from SFDALib.training.patches import Patches
from SFDALib.training.request import TrainingRequest, weights_for_shipping

MOST_MISSING = 0.95  # share of the image in which a damaged mask may be empty


def describe(config: Mapping[str, Any]) -> DiffusionDescription:
    """The diffusion model of a training's configuration: network, spacing, timesteps, foreground.

    Raises:
        RequestError: a missing or unknown field.
    """
    known = {"network", "spacing", "timesteps", "foreground", "source_only"}
    if not {"network", "spacing"} <= set(config) <= known:
        raise RequestError(
            f"diffusion configuration: found the fields {', '.join(config)}, expected network and"
            f" spacing, and of the others only {', '.join(sorted(known))}"
        )
    catalogue.check_definition(config["network"], catalogue.DIFFUSION, "diffusion configuration")
    return DiffusionDescription(**{**config, "spacing": tuple(config["spacing"])})


def train(
    request: TrainingRequest,
    bundle: Path,
    diffusion: DiffusionDescription,
    patch_size: tuple[int, ...],
    corruption: float,
    device: torch.device,
    progress: Progress,
) -> None:
    """Train on the ``train`` cases; write the bundle with the diffusion network.

    Args:
        patch_size: what the network sees, (j, i) or (k, j, i).
        corruption: share of the patches whose mask condition is damaged as a denoised pseudo-label
            may be (pieces missing, borders stripped), so that samples stay plausible there.
    """
    workers = loop.start_workers(device)
    request.prepare(workers)
    opened = open_model(bundle)
    model = opened.load(workers.device, diffusion=False)
    described = replace(model.description, diffusion=diffusion)
    cases = load_cases(
        request.entries,
        "train",
        diffusion_grid(described),
        described.classes,
        request.work / f"diffusion-{workers.rank}",
    )
    if diffusion.foreground:
        cases = [_with_foreground(case, described.classes) for case in cases]
    patches = Patches(cases, patch_size, request.batch, request.augment)
    schedule = cosine_schedule(diffusion.timesteps)
    torch.manual_seed(request.loop.seed)
    network = build_network(diffusion.network)

    def draw(step: int) -> loop.Batch:
        images, labels = patches.draw(request.loop.seed, step, workers.rank)
        rng = np.random.default_rng([request.loop.seed + 1, step, workers.rank])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        body = labels >= described.classes if diffusion.foreground else None
        labels = labels % described.classes
        body = None if body is None else body | (labels > 0)
        labels = torch.stack([_corrupted(one, corruption, rng) for one in labels])
        condition = torch.stack(
            [
                _condition(one, described.classes, None if body is None else body[index])
                for index, one in enumerate(labels)
            ]
        )
        clean = images * 2 - 1
        t = torch.randint(schedule.timesteps, (len(clean),), generator=generator)
        noise = torch.randn(clean.shape, generator=generator)
        return schedule.q_sample(clean, t, noise), t, condition, noise

    def batch_loss(
        trained: nn.Module, noisy: Tensor, t: Tensor, condition: Tensor, noise: Tensor
    ) -> Tensor:
        return F.l1_loss(trained(noisy, t, condition), noise)

    weights, curve = loop.fit(
        network,
        draw,
        batch_loss,
        request.loop,
        request.identity(
            "diffusion",
            diffusion=asdict(diffusion),
            patch_size=patch_size,
            corruption=corruption,
            bundle=opened.sha256(),
        ),
        request.work / "checkpoint.pt",
        workers,
        progress,
    )
    provenance = request.provenance("diffusion", curve)
    provenance["diffusion"]["corruption"] = corruption
    described = replace(described, provenance={**described.provenance, **provenance})
    request.finish(
        workers,
        lambda folder: source.write(
            folder,
            described,
            weights_for_shipping(request, model.network.state_dict()),
            early_head=source.state(model.early_head),
            diffusion=weights_for_shipping(request, weights),
            documents=model.documents,
        ),
    )


def _with_foreground(case: Case, classes: int) -> Case:
    """The body's silhouette, carried in the label map: ``classes`` is added where it is.

    So patches, padding and augmentation treat both alike.
    """
    body = foreground_mask(np.asarray(case.image))
    labels = np.where(body | (case.labels > 0), case.labels + classes, case.labels)
    return Case(case.name, case.image, labels.astype(np.uint8), case.spacing_kji)


def _condition(labels: Tensor, classes: int, body: Tensor | None) -> Tensor:
    """``mask_condition`` of one patch, ``(Cc, [k,] j, i)``."""
    if labels.ndim == 3:
        return mask_condition(labels, classes, body)
    return mask_condition(labels[None], classes, None if body is None else body[None])[:, 0]


def _corrupted(labels: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """Labels as hierarchical denoising may leave them: a stripped border, missing pieces."""
    if rng.random() >= share or not (labels > 0).any():
        return labels
    from scipy.ndimage import binary_erosion, gaussian_filter

    array = labels.numpy()
    keep = binary_erosion(array > 0, iterations=int(rng.integers(1, 4)))
    field = gaussian_filter(rng.standard_normal(array.shape), rng.uniform(2, 8))
    keep &= field > np.quantile(field, rng.uniform(0, MOST_MISSING))
    return torch.from_numpy(np.where(keep, array, 0))
