"""What a bundle says of itself: the dataclasses behind configs/metadata.json and inference.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from SFDALib.errors import RequestError, shown
from SFDALib.networks import catalogue
from SFDALib.volume.specification import Grid, Normalisation

METADATA = "configs/metadata.json"
INFERENCE = "configs/inference.json"
ORIENTATIONS = ("LR", "PA", "SI")
SMALLEST, LARGEST = 1e-6, 1e6  # of the numbers in a description: mm, ml, voxels
LONGEST = 1000  # letters of a text


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
        """Output channels of the network: 1 (sigmoid) for a binary model, else K."""
        return 1 if self.classes == 2 else self.classes

    def with_changes(self, **changes: Any) -> Description:
        return replace(self, **changes)


def to_json(description: Description) -> tuple[dict[str, Any], dict[str, Any]]:
    """The contents of metadata.json and inference.json."""
    grid = description.grid
    sfda = {
        "modality": description.modality,
        "labels": [asdict(label) for label in description.labels],
        "orientation": grid.orientation,
        "spacing": list(grid.spacing),
        "normalisation": grid.normalisation.to_dict(),
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
    metadata = _monai_metadata(description) | {"sfda": sfda}
    return metadata, inference


def _monai_metadata(description: Description) -> dict[str, Any]:
    """MONAI's own fields."""
    from importlib.metadata import version

    channels = description.grid.channels
    outputs = description.network["out_channels"]  # a binary model may have 1 or 2
    names = {"0": "background"} | {str(label.value): label.name for label in description.labels}
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
        "channel_def": names if outputs > 1 else {"0": names["1"]},
    }
    return {
        "version": "1.0.0",
        "changelog": {"1.0.0": "written by SFDALib"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").split("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {"einops": version("einops")},
        "name": description.name,
        "task": f"Segmentation of {', '.join(label.name for label in description.labels)}",
        "description": f"{description.name}. Source model for source-free domain adaptation.",
        "authors": "see docs/README.md",
        "copyright": description.licence,
        "intended_use": "Research only; not a medical device.",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": prediction}},
    }


class _Fields:
    """Typed access to one JSON object, with errors that name file and field."""

    def __init__(self, values: object, where: str) -> None:
        if not isinstance(values, dict):
            raise RequestError(f"{where}: found {_kind(values)}, expected an object")
        self.values, self.where = values, where

    def get(self, key: str, kind: type | tuple[type, ...], default: Any = ...) -> Any:
        value = self.values.get(key, default)
        if value is default and default is not ...:
            return value
        if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
            found = "nothing" if value is ... else f"{value!r:.80}"
            raise RequestError(
                f'{self.where}, field "{key}": found {found}, expected {_names(kind)};'
                " correct it or write the bundle again"
            )
        if isinstance(value, str) and (shown(value) != value or len(value) > LONGEST):
            raise RequestError(
                f'{self.where}, field "{key}": found {value!r:.80}, expected one line of at most'
                f" {LONGEST} letters, without control characters; correct it"
            )
        return value

    def number(self, key: str, default: Any = ...) -> Any:
        """A positive number."""
        value = self.get(key, (int, float), default)
        if value is not default and not SMALLEST <= value < LARGEST:
            raise RequestError(
                f'{self.where}, field "{key}": found {value!r:.80}, expected a positive number;'
                " correct it"
            )
        return value

    def numbers(self, key: str, count: int, default: Any = ..., missing: bool = False) -> Any:
        """A list of ``count`` positive numbers; with ``missing``, null is allowed among them."""
        value = self.get(key, list, default)
        if value is default:
            return value
        good = len(value) == count and all(
            (item is None and missing)
            or (type(item) in (int, float) and SMALLEST <= item < LARGEST)
            for item in value
        )
        if not good:
            raise RequestError(
                f'{self.where}, field "{key}": found {value!r:.80}, expected {count} positive'
                f" numbers{' or null' if missing else ''}; correct it"
            )
        return tuple(value)


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__


def _names(kind: type | tuple[type, ...]) -> str:
    words = {
        str: "text",
        int: "a whole number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    kinds = kind if isinstance(kind, tuple) else (kind,)
    return " or ".join(words.get(one, one.__name__) for one in kinds)


def from_json(metadata: object, inference: object) -> Description:
    """Check both files and make a description of them.

    Raises:
        RequestError: naming file, field, what was found and what was expected.
    """
    networks = _Fields(inference, INFERENCE)
    top = _Fields(metadata, METADATA)
    sfda = _Fields(top.get("sfda", dict), f"{METADATA}, sfda")
    definition = catalogue.check_definition(
        networks.values.get("network_def"), catalogue.SEGMENTATION, f"{INFERENCE}, network_def"
    )
    patch_size = sfda.get("patch_size", list)
    if len(patch_size) not in (2, 3) or len(patch_size) != definition.get("spatial_dims"):
        raise RequestError(
            f'{sfda.where}, field "patch_size": found {patch_size!r:.80}, expected one number for'
            f" each of the network's {definition.get('spatial_dims')} dimensions; correct it"
        )
    patch_size = sfda.numbers("patch_size", len(patch_size))
    divisor = catalogue.divisor(definition, f"{INFERENCE}, network_def")
    if not all(type(n) is int and n % divisor == 0 for n in patch_size):
        raise RequestError(
            f'{sfda.where}, field "patch_size": found {list(patch_size)}, expected whole numbers'
            f" that are multiples of {divisor}, as the network needs; correct it"
        )
    orientation = sfda.get("orientation", str, None)
    if orientation is not None and sorted(
        next((pair for pair in ORIENTATIONS if letter in pair), "") for letter in orientation
    ) != sorted(ORIENTATIONS):
        raise RequestError(
            f'{sfda.where}, field "orientation": found "{orientation:.20}", expected three letters'
            ' such as "LPS" or null; correct it'
        )
    labels = _labels(sfda)
    description = Description(
        name=top.get("name", str),
        modality=sfda.get("modality", str),
        network=definition,
        grid=Grid(
            channels=_image_channels(top),
            orientation=orientation,
            spacing=sfda.numbers("spacing", 3, missing=True),
            normalisation=Normalisation.from_dict(
                sfda.get("normalisation", dict), f"{sfda.where}, normalisation"
            ),
            slices=len(patch_size) == 2,
        ),
        patch_size=patch_size,
        labels=labels,
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
    if definition.get("out_channels") not in (description.out_channels, description.classes):
        raise RequestError(
            f"{METADATA}: found {len(labels)} label(s), expected as many as the network's"
            f" {definition.get('out_channels')} output channel(s) say; correct the labels"
        )
    _check_conditions(description)
    return description


def _image_channels(top: _Fields) -> int:
    where = f"{METADATA}, network_data_format"
    inputs = _Fields(
        _Fields(top.get("network_data_format", dict), where).get("inputs", dict), f"{where}, inputs"
    )
    image = _Fields(inputs.get("image", dict), f"{inputs.where}, image")
    channels = image.get("num_channels", int)
    if channels < 1:
        raise RequestError(
            f'{image.where}, field "num_channels": found {channels}, expected at least 1'
        )
    return channels


def _labels(sfda: _Fields) -> tuple[Label, ...]:
    labels = []
    for index, values in enumerate(sfda.get("labels", list)):
        one = _Fields(values, f"{sfda.where}, labels[{index}]")
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


def _early_head(sfda: _Fields) -> EarlyHeadDescription | None:
    values = sfda.get("early_head", dict, None)
    if values is None:
        return None
    head = _Fields(values, f"{sfda.where}, early_head")
    level, channels = head.get("level", int), head.get("channels", int)
    if level not in (0, 1) or not 0 < channels < 4096:
        raise RequestError(
            f"{head.where}: found level {level} with {channels} channels, expected level 0 or 1"
            " with 1 to 4095; correct it"
        )
    return EarlyHeadDescription(level, channels)


def _diffusion(sfda: _Fields, networks: _Fields) -> DiffusionDescription | None:
    values = sfda.get("diffusion", dict, None)
    if values is None:
        return None
    diffusion = _Fields(values, f"{sfda.where}, diffusion")
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
