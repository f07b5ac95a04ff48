"""``SFDALib train``: a source model and what adaptation wants of it, at the source site."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SFDALib.commands.arguments import add_computing, add_process
from SFDALib.errors import RequestError
from SFDALib.jobs import events
from SFDALib.training import AUGMENTATIONS

if TYPE_CHECKING:
    from SFDALib.training.request import TrainingRequest


def add(commands: Any) -> None:
    """Add the command and its three kinds."""
    command = commands.add_parser(
        "train",
        help="train a source model, where its images are",
        description="Also under torchrun.",
    )
    kinds = command.add_subparsers(required=True, metavar="KIND")
    segmentation = kinds.add_parser("segmentation", help="train a segmentation network")
    segmentation.add_argument("--config", required=True, help="JSON file: network, grid, labels")
    segmentation.add_argument("--loss", choices=("ce", "dice-ce"), default="ce")
    _training_arguments(segmentation, steps=10000, rate=1e-3)
    segmentation.set_defaults(command=_train_segmentation)
    head = kinds.add_parser("early-head", help="train a head on early features of a bundle")
    head.add_argument("--bundle", required=True)
    head.add_argument("--level", type=int, choices=(0, 1), default=0)
    _training_arguments(head, steps=2000, rate=1e-3)
    head.set_defaults(command=_train_early_head)
    diffusion = kinds.add_parser("diffusion", help="train a diffusion model for a bundle")
    diffusion.add_argument("--bundle", required=True)
    diffusion.add_argument(
        "--config", required=True, help="JSON file: network, spacing, conditions"
    )
    diffusion.add_argument(
        "--patch-size", required=True, help="in voxels, such as 112,96 or 128,128,128"
    )
    diffusion.add_argument(
        "--corruption",
        type=float,
        default=0.0,
        help="share of patches with a damaged mask, as denoised pseudo-labels are",
    )
    augmentations = [name for name in AUGMENTATIONS if name != "contrast"]  # not the source's own
    _training_arguments(diffusion, 100000, 1e-5, ema=0.999, augmentations=augmentations)
    diffusion.set_defaults(command=_train_diffusion)


def _training_arguments(
    command: argparse.ArgumentParser,
    steps: int,
    rate: float,
    ema: float = 0.0,
    augmentations: Sequence[str] = AUGMENTATIONS,
) -> None:
    command.add_argument(
        "--manifest", required=True, help="CSV with image,label,split, or nnU-Net's raw folder"
    )
    command.add_argument(
        "--relabel", default="", metavar="1=2,2=1", help="label in the files = label in the bundle"
    )
    command.add_argument("--output", required=True, help="bundle folder to write")
    command.add_argument("--steps", type=int, default=steps)
    command.add_argument("--batch", type=int, default=20)
    command.add_argument("--learning-rate", type=float, default=rate)
    command.add_argument("--schedule", choices=("cosine", "constant"), default="cosine")
    command.add_argument("--weight-decay", type=float, default=0.0)
    command.add_argument(
        "--ema", type=float, default=ema, help="decay of the moving average of the weights"
    )
    command.add_argument(
        "--augment",
        choices=augmentations,
        default=augmentations[0],
        help="geometric: flips, rotations, scalings; intensity: brightness, contrast, gamma too"
        + ("; contrast: random convolutions (GIN) too" if "contrast" in augmentations else ""),
    )
    command.add_argument("--amp", action="store_true", help="bfloat16 mixed precision")
    command.add_argument("--half", action="store_true", help="write half-precision weights")
    command.add_argument("--checkpoint-minutes", type=float, default=2.0)
    add_computing(command)
    add_process(command)


# Training imports torch, which takes seconds: each of these imports it when it is asked for.
def _request(arguments: argparse.Namespace) -> TrainingRequest:
    from SFDALib.jobs.train import training_request

    return training_request(
        manifest=Path(arguments.manifest),
        relabel=arguments.relabel,
        output=Path(arguments.output),
        batch=arguments.batch,
        augment=arguments.augment,
        half=arguments.half,
        steps=arguments.steps,
        learning_rate=arguments.learning_rate,
        schedule=arguments.schedule,
        weight_decay=arguments.weight_decay,
        ema=arguments.ema,
        mixed_precision=arguments.amp,
        seed=arguments.seed,
        checkpoint_minutes=arguments.checkpoint_minutes,
    )


def _train_segmentation(arguments: argparse.Namespace, reporter: events.Reporter) -> None:
    from SFDALib.jobs.train import train_segmentation

    request, config = _request(arguments), Path(arguments.config)
    train_segmentation(request, config, arguments.loss, arguments.device, reporter)


def _train_early_head(arguments: argparse.Namespace, reporter: events.Reporter) -> None:
    from SFDALib.jobs.train import train_early_head

    request, bundle = _request(arguments), Path(arguments.bundle)
    train_early_head(request, bundle, arguments.level, arguments.device, reporter)


def _train_diffusion(arguments: argparse.Namespace, reporter: events.Reporter) -> None:
    from SFDALib.jobs.train import train_diffusion

    try:
        patch_size = tuple(int(number) for number in arguments.patch_size.split(","))
    except ValueError as error:
        raise RequestError(
            f"--patch-size: found {arguments.patch_size[:60]}, expected whole numbers and commas,"
            " such as 112,96"
        ) from error
    train_diffusion(
        _request(arguments),
        Path(arguments.bundle),
        Path(arguments.config),
        patch_size,
        arguments.corruption,
        arguments.device,
        reporter,
    )
