"""The parts of a description, one dataclass each, and how each is read from metadata.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from SFDALib.bundle import terminology
from SFDALib.bundle.bundle_files import INFERENCE
from SFDALib.errors import RequestError
from SFDALib.json_fields import Fields
from SFDALib.networks import catalogue


@dataclass(frozen=True)
class Label:
    """One foreground class.

    Args:
        value: its value in label maps, 1..K-1 without gaps.
        name: as shown in Slicer.
        color: as shown in Slicer, RGB 0..255.
        terminology: its codes, as ``bundle.terminology`` describes; found by the name where none
            is given.
        size_ml: smallest and largest plausible volume, in ml.
        mean_ml: mean volume over the source's training cases, in ml.
        slice_area_mm2: mean area over the source's slices that contain it, in mm2 (2D models).
        piece_ml: smallest plausible volume of one of its connected components, in ml.
        radius_mm: how far its voxels may lie from the centre of its largest component, in mm.
    """

    value: int
    name: str
    color: tuple[int, int, int]
    terminology: str = ""
    size_ml: tuple[float, float] | None = None
    mean_ml: float | None = None
    slice_area_mm2: float | None = None
    piece_ml: float | None = None
    radius_mm: float | None = None

    def __post_init__(self) -> None:
        if not self.terminology:
            object.__setattr__(self, "terminology", terminology.of_name(self.name))


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


def read_cautions(sfda: Fields) -> tuple[str, ...]:
    """The sentences that every report repeats."""
    every = sfda.get("cautions", list, [])
    return tuple(Fields({"text": one}, f"{sfda.where}, cautions").get("text", str) for one in every)


def read_labels(sfda: Fields) -> tuple[Label, ...]:
    """The labels 1, 2, 3, ...

    Raises:
        RequestError: there is none, their values have gaps, or a field is wrong.
    """
    labels = []
    for index, values in enumerate(sfda.get("labels", list)):
        one = Fields(values, f"{sfda.where}, labels[{index}]")
        color = one.get("color", list)
        if len(color) != 3 or not all(type(c) is int and 0 <= c <= 255 for c in color):
            raise RequestError(
                f'{one.where}, field "color": found {color!r:.60}, expected three whole numbers 0'
                " to 255; correct it"
            )
        labels.append(
            Label(
                value=one.get("value", int),
                name=one.get("name", str),
                color=tuple(color),
                terminology=_terminology(one),
                size_ml=one.numbers("size_ml", 2, None),
                mean_ml=one.number("mean_ml", None),
                slice_area_mm2=one.number("slice_area_mm2", None),
                piece_ml=one.number("piece_ml", None),
                radius_mm=one.number("radius_mm", None),
            )
        )
        if labels[-1].size_ml and labels[-1].size_ml[0] > labels[-1].size_ml[1]:
            raise RequestError(
                f'{one.where}, field "size_ml": found {list(labels[-1].size_ml)}, expected the'
                " smallest before the largest; correct it"
            )
    values = [label.value for label in labels]
    if not labels or values != list(range(1, len(values) + 1)) or len(values) > 254:
        raise RequestError(
            f'{sfda.where}, field "labels": found the values {values!r:.80}, expected 1, 2, 3, ...'
            " without gaps; correct it"
        )
    return tuple(labels)


def _terminology(label: Fields) -> str:
    """The terminology of a label; "" where it has none, so that its name decides."""
    entry = label.get("terminology", str, None) or ""
    lack = entry and terminology.fault(entry)
    if lack:
        raise RequestError(
            f'{label.where}, field "terminology": found {entry!r:.80}, expected {lack}, as Slicer'
            " stores it; correct it, or leave the field out to have it found by the label's name"
        )
    return entry


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
