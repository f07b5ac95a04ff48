"""What a bundle says of itself: the dataclasses behind configs/metadata.json and inference.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from SFDALib.bundle.fields import Fields
from SFDALib.bundle.grid_fields import grid_from_json, grid_to_json
from SFDALib.errors import RequestError
from SFDALib.networks import catalogue
from SFDALib.volume.specification import Grid

METADATA = "configs/metadata.json"
INFERENCE = "configs/inference.json"
WINDOWS = {
    "dense": "as large as the patch or the image, in fixed steps, borders repeated (MONAI)",
    "even": "as large as the patch, in equal steps, zeros around a smaller image (nnU-Net)",
}
ENSEMBLE_LIMIT = 32


@dataclass(frozen=True)
class Label:
    """One foreground class.

    Args:
        value: its value in label maps, 1..K-1 without gaps.
        name, color, terminology: as shown in Slicer; colour is RGB 0..255.
        size_ml: smallest and largest volume that is plausible, in ml.
        mean_ml: mean volume over the source's training cases, in ml.
        slice_area_mm2: mean area over the source's slices that show it (2D models).
    """

    value: int
    name: str
    color: tuple[int, int, int]
    terminology: str | None = None
    size_ml: tuple[float, float] | None = None
    mean_ml: float | None = None
    slice_area_mm2: float | None = None


@dataclass(frozen=True)
class EarlyHeadDescription:
    """The head on early features: their level (0 or 1) and number of channels."""

    level: int
    channels: int


@dataclass(frozen=True)
class DiffusionDescription:
    """The diffusion model and its conditions.

    Args:
        network: MONAI ``network_def`` of the denoiser.
        spacing: mm along I, J, K of its grid (None keeps that of the segmentation model).
        timesteps: T of the cosine schedule.
        foreground: whether the body's silhouette is a further condition channel.
        source_only: whether it was trained on images of the source domain alone.
    """

    network: Mapping[str, Any]
    spacing: tuple[float | None, float | None, float | None]
    timesteps: int = 250
    foreground: bool = False
    source_only: bool = True


@dataclass(frozen=True)
class Description:
    """Everything that a bundle says of itself.

    Args:
        name: one line for people.
        modality: what the source images were, in words.
        network: MONAI ``network_def`` of the segmentation network.
        grid: what its input must be.
        patch_size: sliding-window size along (k,) j, i: two numbers for a 2D network, else three.
        labels: the foreground classes.
        windows: one of ``WINDOWS``: how patches are laid over the image.
        mirror_axes: the patch's axes along which the model may be mirrored; None for all.
        ensemble: how many sets of weights there are, whose logits are averaged.
        temperature: divides the logits so that the source's confidence is calibrated.
        provenance: how, on what and with what it was trained.
        licence: one line; the text lies in LICENSE.
    """

    name: str
    modality: str
    network: Mapping[str, Any]
    grid: Grid
    patch_size: tuple[int, ...]
    labels: tuple[Label, ...]
    windows: str = "dense"
    mirror_axes: tuple[int, ...] | None = None
    ensemble: int = 1
    temperature: float = 1.0
    early_head: EarlyHeadDescription | None = None
    diffusion: DiffusionDescription | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    licence: str = "see LICENSE"

    @property
    def classes(self) -> int:
        """Number of classes K, background included."""
        return len(self.labels) + 1

    @property
    def spatial_dims(self) -> int:
        return len(self.patch_size)

    @property
    def out_channels(self) -> int:
        """Channels of the logits: K, or 1 (sigmoid) for a binary model."""
        return self.classes if self.grid.regions else self.network["out_channels"]

    @property
    def holds(self) -> frozenset[str]:
        """What methods may need and this bundle has: names among ``method.REMEDIES``."""
        has = {
            "early-head": self.early_head is not None,
            "diffusion": self.diffusion is not None,
            "batch-norm": catalogue.has_batch_norm(self.network),
            "3d": self.spatial_dims == 3,
        }
        return frozenset(name for name, held in has.items() if held)

    def with_changes(self, **changes: Any) -> Description:
        return replace(self, **changes)


def to_json(description: Description) -> tuple[dict[str, Any], dict[str, Any]]:
    """The contents of metadata.json and inference.json."""
    sfda = {
        "modality": description.modality,
        "labels": [asdict(label) for label in description.labels],
        **grid_to_json(description.grid),
        "patch_size": list(description.patch_size),
        "temperature": description.temperature,
        "early_head": asdict(description.early_head) if description.early_head else None,
        "diffusion": None,
        "provenance": dict(description.provenance),
    }
    inference: dict[str, Any] = {"network_def": dict(description.network)}
    if description.diffusion:
        diffusion = asdict(description.diffusion)
        inference["diffusion_def"] = diffusion.pop("network")
        sfda["diffusion"] = diffusion
    if description.windows != "dense":
        sfda["windows"] = description.windows
    if description.mirror_axes is not None:
        sfda["mirror_axes"] = list(description.mirror_axes)
    if description.ensemble > 1:
        sfda["ensemble"] = description.ensemble
    metadata = _monai_metadata(description) | {"sfda": sfda}
    return metadata, inference


def _monai_metadata(description: Description) -> dict[str, Any]:
    """MONAI's own fields, but for the versions of what writes them."""
    channels = description.grid.channels
    outputs = description.network["out_channels"]  # a binary model may have 1 or 2
    names = {label.value: label.name for label in description.labels}
    if regions := description.grid.regions:
        channels_of = {region.channel: names[region.label] for region in regions}
    elif outputs > 1:
        channels_of = {0: "background"} | names
    else:
        channels_of = {0: names[1]}
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": description.modality,
        "num_channels": channels,
        "spatial_shape": list(description.patch_size),
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": True,
        "channel_def": {str(index): "image" for index in range(channels)},
    }
    prediction = {
        "type": "image",
        "format": "labels" if outputs > 1 else "segmentation",
        "modality": "n/a",
        "num_channels": outputs,
        "spatial_shape": list(description.patch_size),
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": True,
        "channel_def": {str(channel): channels_of[channel] for channel in sorted(channels_of)},
    }
    return {
        "version": "1.0.0",
        "changelog": {"1.0.0": "written by SFDALib"},
        "name": description.name,
        "task": f"Segmentation of {', '.join(label.name for label in description.labels)}",
        "description": f"{description.name}. Source model for source-free domain adaptation.",
        "authors": "see docs/README.md",
        "copyright": description.licence,
        "intended_use": "Research only; not a medical device.",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": prediction}},
    }


def from_json(metadata: object, inference: object) -> Description:
    """Check both files and make a description of them.

    Raises:
        RequestError: naming file, field, what was found and what was expected.
    """
    networks = Fields(inference, INFERENCE)
    top = Fields(metadata, METADATA)
    sfda = Fields(top.get("sfda", dict), f"{METADATA}, sfda")
    definition = catalogue.check_definition(
        networks.values.get("network_def"), catalogue.SEGMENTATION, f"{INFERENCE}, network_def"
    )
    patch_size = sfda.get("patch_size", list)
    if len(patch_size) not in (2, 3) or len(patch_size) != definition.get("spatial_dims"):
        raise RequestError(
            f'{sfda.where}, field "patch_size": found {patch_size!r:.80}, expected one number for'
            f" each of the network's {definition.get('spatial_dims')!r:.80} dimensions; correct it"
        )
    patch_size = sfda.numbers("patch_size", len(patch_size))
    divisor = catalogue.divisor(definition, f"{INFERENCE}, network_def")
    if not all(type(n) is int and n % d == 0 for n, d in zip(patch_size, divisor, strict=True)):
        raise RequestError(
            f'{sfda.where}, field "patch_size": found {list(patch_size)}, expected whole numbers'
            f" that are multiples of {_few(divisor)}, as the network needs; correct it"
        )
    labels = _labels(sfda)
    description = Description(
        name=top.get("name", str),
        modality=sfda.get("modality", str),
        network=definition,
        grid=grid_from_json(sfda, _image_channels(top), len(patch_size) == 2, len(labels)),
        patch_size=patch_size,
        labels=labels,
        windows=sfda.choice("windows", WINDOWS, "dense"),
        mirror_axes=sfda.axes("mirror_axes", tuple(range(len(patch_size))), whole=False),
        ensemble=sfda.get("ensemble", int, 1),
        temperature=float(sfda.number("temperature", 1.0)),
        early_head=_early_head(sfda),
        diffusion=_diffusion(sfda, networks),
        provenance=sfda.get("provenance", dict, {}),
        licence=top.get("copyright", str, "see LICENSE"),
    )
    if definition.get("in_channels") != description.grid.channels:
        raise RequestError(
            f'{METADATA}, network_data_format, inputs, image, field "num_channels": found'
            f" {description.grid.channels}, expected {definition.get('in_channels')!r:.80} as in"
            f" {INFERENCE}, network_def; correct one of them"
        )
    if not 1 <= description.ensemble <= ENSEMBLE_LIMIT:
        raise RequestError(
            f'{sfda.where}, field "ensemble": found {description.ensemble}, expected 1 to'
            f" {ENSEMBLE_LIMIT}; correct it"
        )
    if definition.get("out_channels") not in _possible_outputs(description):
        raise RequestError(
            f"{METADATA}: found {len(labels)} label(s), expected as many as the network's"
            f" {definition.get('out_channels')} output channel(s) say; correct the labels"
        )
    _check_conditions(description)
    return description


def _few(divisor: tuple[int, ...]) -> str:
    return ", ".join(map(str, divisor)) if len(set(divisor)) > 1 else str(divisor[0])


def _possible_outputs(description: Description) -> tuple[int, ...]:
    """Output channels that a network of this description may have."""
    if description.grid.regions:
        return (len(description.labels),)
    return (1, 2) if description.classes == 2 else (description.classes,)


def _image_channels(top: Fields) -> int:
    where = f"{METADATA}, network_data_format"
    inputs = Fields(
        Fields(top.get("network_data_format", dict), where).get("inputs", dict), f"{where}, inputs"
    )
    image = Fields(inputs.get("image", dict), f"{inputs.where}, image")
    channels = image.get("num_channels", int)
    if channels < 1:
        raise RequestError(
            f'{image.where}, field "num_channels": found {channels}, expected at least 1'
        )
    return channels


def _labels(sfda: Fields) -> tuple[Label, ...]:
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
                terminology=one.get("terminology", str, None),
                size_ml=one.numbers("size_ml", 2, None),
                mean_ml=one.number("mean_ml", None),
                slice_area_mm2=one.number("slice_area_mm2", None),
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


def _check_conditions(description: Description) -> None:
    """The diffusion network sees the image, a mask of each label and perhaps the body."""
    if description.diffusion is None:
        return
    network = description.diffusion.network
    expected = {
        "spatial_dims": description.spatial_dims,
        "image_channels": description.grid.channels,
        "condition_channels": len(description.labels) + description.diffusion.foreground,
    }
    for key, value in expected.items():
        if network.get(key) != value:
            raise RequestError(
                f'{INFERENCE}, diffusion_def, field "{key}": found {network.get(key)!r:.80},'
                f" expected {value} as {METADATA} says; correct one of them"
            )


def _early_head(sfda: Fields) -> EarlyHeadDescription | None:
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


def _diffusion(sfda: Fields, networks: Fields) -> DiffusionDescription | None:
    values = sfda.get("diffusion", dict, None)
    if values is None:
        return None
    diffusion = Fields(values, f"{sfda.where}, diffusion")
    timesteps = diffusion.get("timesteps", int)
    if not 2 <= timesteps <= 10000:
        raise RequestError(f"{diffusion.where}: found {timesteps} timesteps, expected 2 to 10000")
    return DiffusionDescription(
        network=catalogue.check_definition(
            networks.values.get("diffusion_def"), catalogue.DIFFUSION, f"{INFERENCE}, diffusion_def"
        ),
        spacing=diffusion.numbers("spacing", 3, missing=True),
        timesteps=timesteps,
        foreground=diffusion.get("foreground", bool),
        source_only=diffusion.get("source_only", bool),
    )
