"""Train a mask-conditioned diffusion network on the source images (Med-DDPM)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import binary_erosion, gaussian_filter
from torch import Tensor, nn

from SFDALib.bundle import source
from SFDALib.bundle.description import Description, DiffusionDescription
from SFDALib.bundle.open_model import open_model
from SFDALib.diffusion.drawing import foreground_mask, mask_condition
from SFDALib.diffusion.schedule import NoiseSchedule, cosine_schedule
from SFDALib.errors import RequestError
from SFDALib.networks import catalogue
from SFDALib.networks.build import build_network
from SFDALib.progress import Progress
from SFDALib.training import loop
from SFDALib.training.manifest import Case, diffusion_input_spec, load_cases
from SFDALib.training.patches import Patches
from SFDALib.training.request import TrainingRequest, weights_for_shipping

MOST_MISSING = 0.95  # share of the image, at most, in which a damaged mask is made empty


def describe(config: Mapping[str, Any]) -> DiffusionDescription:
    """The diffusion model that a configuration describes: network, spacing, timesteps, foreground.

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
        request: cases, output and options.
        bundle: the source model to which the diffusion network is added.
        diffusion: network, spacing, timesteps and condition.
        patch_size: of the network's input, (j, i) or (k, j, i) voxels.
        corruption: share of the patches whose mask condition is damaged (pieces missing, borders
            eroded), as that of a denoised pseudo-label may be. Raise it where samples copy such
            damage.
        device: to train on.
        progress: informed of the loss.

    Raises:
        RequestError: the output exists, or the bundle or a case is unusable.
    """
    workers = loop.start_workers(device)
    request.prepare(workers)
    opened = open_model(bundle)
    model = opened.load(workers.device, diffusion=False)
    described = replace(model.description, diffusion=diffusion)
    batches = _batches(request, described, diffusion, patch_size, corruption, workers)
    weights, curve = loop.fit(
        build_network(diffusion.network),
        batches.draw,
        noise_loss,
        request.loop,
        request.checkpoint(
            "diffusion",
            diffusion=asdict(diffusion),
            patch_size=patch_size,
            corruption=corruption,
            bundle=opened.sha256(),
        ),
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


@dataclass(frozen=True)
class NoisyPatches:
    """What the network learns from: noisy patches, their mask conditions and their noise.

    Args:
        patches: images and label maps.
        classes: K, background included.
        schedule: of the noise.
        foreground: whether the body's silhouette is part of the condition; it is then in the label
            maps, see ``_with_foreground``.
        corruption: share of the patches whose mask condition is damaged.
        seed: of the run.
        rank: of this process.
    """

    patches: Patches
    classes: int
    schedule: NoiseSchedule
    foreground: bool
    corruption: float
    seed: int
    rank: int

    def draw(self, step: int) -> loop.Batch:
        """The batch of a step: noisy images ``x_t``, timesteps ``t``, conditions and noise.

        Images and noise are ``(N, C, [k,] j, i)``, conditions ``(N, Cc, [k,] j, i)``.
        """
        images, labels = self.patches.draw(self.seed, step, self.rank)
        rng = np.random.default_rng([self.seed + 1, step, self.rank])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        body = labels >= self.classes if self.foreground else None
        labels = labels % self.classes
        body = None if body is None else body | (labels > 0)
        labels = torch.stack([_corrupted(one, self.corruption, rng) for one in labels])
        condition = torch.stack(
            [
                _condition(one, self.classes, None if body is None else body[index])
                for index, one in enumerate(labels)
            ]
        )
        clean = images * 2 - 1
        t = torch.randint(self.schedule.timesteps, (len(clean),), generator=generator)
        noise = torch.randn(clean.shape, generator=generator)
        return self.schedule.q_sample(clean, t, noise), t, condition, noise


def _batches(
    request: TrainingRequest,
    described: Description,
    diffusion: DiffusionDescription,
    patch_size: tuple[int, ...],
    corruption: float,
    workers: loop.Workers,
) -> NoisyPatches:
    """The noisy patches of the ``train`` cases; it seeds torch for the network built next."""
    cases = load_cases(
        request.entries,
        "train",
        diffusion_input_spec(described.input_spec, diffusion),
        described.classes,
        request.work / f"diffusion-{workers.rank}",
    )
    if diffusion.foreground:
        cases = [_with_foreground(case, described.classes) for case in cases]
    torch.manual_seed(request.loop.seed)
    return NoisyPatches(
        Patches(cases, patch_size, request.batch, request.augment),
        described.classes,
        cosine_schedule(diffusion.timesteps),
        diffusion.foreground,
        corruption,
        request.loop.seed,
        workers.rank,
    )


def noise_loss(
    network: nn.Module, noisy: Tensor, t: Tensor, condition: Tensor, noise: Tensor
) -> Tensor:
    """L1 distance between the noise and the network's prediction of it (Med-DDPM)."""
    return F.l1_loss(network(noisy, t, condition), noise)


def _with_foreground(case: Case, classes: int) -> Case:
    """The case with the body's silhouette in its label map: ``classes`` is added inside the body.

    In this way patches, padding and augmentation treat labels and body alike.
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
    """Labels damaged as by hierarchical denoising: the border eroded, pieces missing.

    Args:
        labels: ``([k,] j, i)``.
        share: the probability of any damage.
        rng: decides on it.
    """
    if rng.random() >= share or not (labels > 0).any():
        return labels
    array = labels.numpy()
    keep = binary_erosion(array > 0, iterations=int(rng.integers(1, 4)))
    field = gaussian_filter(rng.standard_normal(array.shape), rng.uniform(2, 8))
    keep &= field > np.quantile(field, rng.uniform(0, MOST_MISSING))
    return torch.from_numpy(np.where(keep, array, 0))
