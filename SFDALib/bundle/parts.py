"""The parts of a description, one dataclass each, and how each is read from metadata.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from SFDALib.bundle.bundle_files import INFERENCE
from SFDALib.errors import RequestError
from SFDALib.json_fields import Fields
from SFDALib.networks import catalogue


@dataclass(frozen=True)
class Sliding:
    """How windows of the kind "fixed" are blended, and how a smaller image is padded.

    Args:
        mode: one of ``BLENDS``.
        sigma: standard deviation of the Gaussian weights, as a share of the window's side.
        padding: one of ``PADDINGS``.
        value: of the padding "constant".
    """

    mode: str = "constant"
    sigma: float = 0.125
    padding: str = "constant"
    value: float = 0.0


BLENDS = ("constant", "gaussian")
PADDINGS = ("constant", "reflect", "replicate", "circular")


@dataclass(frozen=True)
class Fingerprint:
    """Intensities, as stored, of one channel of the training images inside the labels.

    Args:
        low, median, high: percentiles 0.5, 50 and 99.5.
        mean, std: of the same intensities.
    """

    low: float
    median: float
    high: float
    mean: float
    std: float


@dataclass(frozen=True)
class AtHome:
    """What the model does on images of its own kind that it was not trained on; means over these.

    Args:
        cases: how many.
        dice: with their labels, the mean over the structures.
        entropy_bits: mean over what the model labels.
        stability: see ``trust.signals.stability``.
    """

    cases: int
    dice: float
    entropy_bits: float
    stability: float


@dataclass(frozen=True)
class EarlyHeadDescription:
    """The head on early features.

    Args:
        level: 0 for features at full resolution, 1 for those after the first down-sampling.
        channels: of these features.
    """

    level: int
    channels: int


@dataclass(frozen=True)
class DiffusionDescription:
    """The diffusion model and its conditions.

    Args:
        network: MONAI ``network_def`` of the denoiser.
        spacing: mm along I, J, K of its grid (None keeps that of the segmentation model).
        timesteps: T of the cosine schedule.
        foreground: whether the mask of the body is a further condition channel, the last.
        source_only: whether it was trained on images of the source domain alone.
    """

    network: Mapping[str, Any]
    spacing: tuple[float | None, float | None, float | None]
    timesteps: int = 250
    foreground: bool = False
    source_only: bool = True


def read_sliding(sfda: Fields) -> Sliding:
    """How windows are blended; MONAI's defaults for fields that are missing."""
    values = Fields(sfda.get("sliding", dict, {}), f"{sfda.where}, sliding")
    return Sliding(
        values.choice("mode", BLENDS, "constant"),
        values.number("sigma", 0.125),
        values.choice("padding", PADDINGS, "constant"),
        values.real("value", 0.0),
    )


def read_fingerprint(sfda: Fields) -> tuple[Fingerprint, ...]:
    """The fingerprint of each channel; empty where there is none."""
    every = sfda.get("fingerprint", list, [])
    where = f"{sfda.where}, fingerprint"
    return tuple(
        Fingerprint(*(Fields(one, where).real(name) for name in Fingerprint.__dataclass_fields__))
        for one in every
    )


def read_at_home(sfda: Fields) -> AtHome | None:
    """What the model does at home; None where that was not measured."""
    values = sfda.get("at_home", dict, None)
    if values is None:
        return None
    one = Fields(values, f"{sfda.where}, at_home")
    found = AtHome(
        one.get("cases", int), *(one.number(name) for name in ("dice", "entropy_bits", "stability"))
    )
    if found.dice > 1 or found.stability > 1:
        raise RequestError(
            f"{one.where}: found a Dice of {found.dice:g} and a stability of {found.stability:g},"
            " expected at most 1; correct them"
        )
    if found.cases < 1:
        raise RequestError(
            f'{one.where}, field "cases": found {found.cases}, expected 1 or more; correct it'
        )
    return found


def read_cautions(sfda: Fields) -> tuple[str, ...]:
    """The sentences that every report repeats."""
    every = sfda.get("cautions", list, [])
    return tuple(Fields({"text": one}, f"{sfda.where}, cautions").get("text", str) for one in every)


def read_early_head(sfda: Fields) -> EarlyHeadDescription | None:
    """The description of the early head; None where there is none."""
    values = sfda.get("early_head", dict, None)
    if values is None:
        return None
    head = Fields(values, f"{sfda.where}, early_head")
    level, channels = head.get("level", int), head.get("channels", int)
    if level not in (0, 1) or not 0 < channels < 4096:
        raise RequestError(
            f"{head.where}: found level {level} with {channels} channels, expected level 0 or 1"
            " with 1 to 4095; correct it"
        )
    return EarlyHeadDescription(level, channels)


def read_diffusion(sfda: Fields, networks: Fields) -> DiffusionDescription | None:
    """The description of the diffusion model; None where there is none.

    Args:
        networks: the fields of inference.json.
    """
    values = sfda.get("diffusion", dict, None)
    if values is None:
        return None
    diffusion = Fields(values, f"{sfda.where}, diffusion")
    timesteps = diffusion.get("timesteps", int)
    if not 2 <= timesteps <= 10000:
        raise RequestError(
            f"{diffusion.where}: found {timesteps} timesteps, expected 2 to 10000; correct it"
        )
    return DiffusionDescription(
        network=catalogue.check_definition(
            networks.values.get("diffusion_def"), catalogue.DIFFUSION, f"{INFERENCE}, diffusion_def"
        ),
        spacing=diffusion.numbers("spacing", 3, missing=True),
        timesteps=timesteps,
        foreground=diffusion.get("foreground", bool),
        source_only=diffusion.get("source_only", bool),
    )
