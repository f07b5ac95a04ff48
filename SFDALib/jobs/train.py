"""Train a segmentation network, an early head or a diffusion model, at the source site."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from SFDALib.bundle.configuration import describe
from SFDALib.errors import RequestError
from SFDALib.jobs.events import Reporter
from SFDALib.json_file import read_object
from SFDALib.machine import devices
from SFDALib.training import diffusion, early_head, segmentation
from SFDALib.training.loop import LoopOptions
from SFDALib.training.manifest import read_manifest
from SFDALib.training.request import TrainingRequest


def training_request(
    *, manifest: Path, relabel: str, output: Path, batch: int, augment: str, half: bool, **loop: Any
) -> TrainingRequest:
    """What the three trainings have in common, checked.

    Args:
        manifest: CSV with image, label and split, or nnU-Net's raw folder.
        relabel: labels in the files and in the bundle, such as "1=2,2=1".
        output: the bundle folder to write.
        batch: patches of one optimiser step.
        augment: one of ``training.AUGMENTATIONS``.
        half: write the weights in half precision.
        loop: the fields of ``LoopOptions``.

    Raises:
        RequestError: a value out of range, or a manifest that cannot be used.
    """
    options = LoopOptions(**loop)
    if options.steps < 1 or batch < 1 or options.learning_rate <= 0:
        raise RequestError("train: expected --steps and --batch of at least 1, --learning-rate > 0")
    entries = read_manifest(manifest, relabel)
    return TrainingRequest(entries, output, batch, augment, half, options)


def train_segmentation(
    request: TrainingRequest, config: Path, loss: str, device: str, reporter: Reporter
) -> None:
    """Train a segmentation network and write its bundle.

    Args:
        request: cases, place and loop.
        config: JSON with network, grid and labels.
        loss: "ce" or "dice-ce".
        device: as in a ``Job``.
        reporter: of progress and events.
    """
    with _reported(request, reporter):
        where, description = devices.resolve(device), describe(read_object(config))
        segmentation.train(request, description, loss, where, reporter)


def train_early_head(
    request: TrainingRequest, bundle: Path, level: int, device: str, reporter: Reporter
) -> None:
    """Train a head on early features and write the bundle with it.

    Args:
        request: cases, place and loop.
        bundle: the bundle that the head is for, which stays as it is.
        level: the resolution level of the features; 0 is the highest.
        device: as in a ``Job``.
        reporter: of progress and events.
    """
    with _reported(request, reporter):
        early_head.train(request, bundle, level, devices.resolve(device), reporter)


def train_diffusion(
    request: TrainingRequest,
    bundle: Path,
    config: Path,
    patch_size: tuple[int, ...],
    corruption: float,
    device: str,
    reporter: Reporter,
) -> None:
    """Train a diffusion model and write the bundle with it.

    Args:
        request: cases, place and loop.
        bundle: the bundle that the model is for, which stays as it is.
        config: JSON with network, spacing and conditions.
        patch_size: voxels along each axis of a patch.
        corruption: share of patches with a damaged mask.
        device: as in a ``Job``.
        reporter: of progress and events.
    """
    with _reported(request, reporter):
        where, described = devices.resolve(device), diffusion.describe(read_object(config))
        diffusion.train(request, bundle, described, patch_size, corruption, where, reporter)


@contextmanager
def _reported(request: TrainingRequest, reporter: Reporter) -> Iterator[None]:
    output = str(request.output.resolve())
    reporter.event("started", output=output)
    yield
    reporter.event("result", output=output)
