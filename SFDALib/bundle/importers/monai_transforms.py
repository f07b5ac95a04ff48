"""The configuration of a MONAI bundle as data, and its preprocessing as the fields of a grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from SFDALib.errors import RequestError
from SFDALib.volume.specification import Grid, Normalisation, Region, Resampling

NO_EFFECT = (
    *("LoadImaged", "EnsureChannelFirstd", "EnsureTyped", "AddChanneld", "CastToTyped"),
    *("ToTensord", "AsChannelFirstd", "AsDiscreted"),
)
DEPTH = 16  # of references to references
UNBOUNDED = 1e8  # a limit that no intensity reaches


@dataclass(frozen=True)
class Configuration:
    """A bundle's JSON, with references to plain data in it looked up."""

    values: Mapping[str, Any]
    where: str

    def get(self, key: str) -> Any:
        """The value of a key without references; None where there is no such key."""
        return self.plain(self.values.get(key), key)

    def plain(self, value: Any, name: str, depth: int = 0) -> Any:
        """The value with every reference in it replaced by what it names.

        Raises:
            RequestError: an expression, or a reference to nothing.
        """
        if depth > DEPTH:
            raise RequestError(f"{self.where}: found references in a circle in {name}; correct it")
        if isinstance(value, str) and value.startswith("@"):
            return self.plain(self._named(value[1:], name), name, depth + 1)
        if isinstance(value, str) and value[:1] in ("$", "%"):
            raise RequestError(
                f'{self.where}: found the expression "{value[:80]}" in {name}, expected plain'
                " values, as nothing in a model is ever executed; replace it by its value"
            )
        if isinstance(value, list):
            return [self.plain(item, name, depth + 1) for item in value]
        if isinstance(value, dict):
            return {
                key: self.plain(item, f"{name}, {key}", depth + 1) for key, item in value.items()
            }
        return value

    def _named(self, path: str, name: str) -> Any:
        value: Any = self.values
        for key in path.replace("::", "#").split("#"):
            if isinstance(value, list) and key.isdigit() and int(key) < len(value):
                value = value[int(key)]
            elif isinstance(value, dict) and key in value:
                value = value[key]
            else:
                raise RequestError(
                    f'{self.where}: found "@{path[:80]}" in {name}, expected the name of something'
                    " in the same file; correct it"
                )
        return value


class Preprocessing:
    """The transforms before the network, as fields of a grid.

    Args:
        slices: across which axis of MONAI's array a 2D network sees slices; None for a 3D network.

    Raises:
        RequestError: a transform, or a setting of one, that has no field; it is named.
    """

    def __init__(self, config: Configuration, channels: int, slices: int | None = None) -> None:
        self._where = config.where
        self._channels = channels
        self._slices = slices
        self._orientation: str | None = None
        self._spacing: list[float | None] = [None, None, None]
        self._steps: list[Normalisation] = []
        self._crop: str | None = None
        self._first_step_before_spacing = False
        for transform in _transforms(config):
            name = str(transform.pop("_target_", "?")).rsplit(".", 1)[-1]
            if transform.pop("_disabled_", False) or name in NO_EFFECT:
                continue
            for key in ("keys", "allow_missing_keys", "_desc_"):
                transform.pop(key, None)
            read = getattr(self, f"_read_{name}", None)
            if read is None:
                self._refuse(name, "no such transform is known")
            read(name, transform)
            if transform:
                self._refuse(name, f"its {', '.join(transform)} has no counterpart")

    def grid(self, regions: tuple[Region, ...]) -> Grid:
        """MONAI's arrays have the axes I, J, K, ours K, J, I: an orientation is read backwards.

        A 2D network has its slices' axis first.
        """
        order = sorted(range(3), key=lambda axis: axis != self._slices)
        axes = (0, 1, 2) if self._orientation else (2, 1, 0)
        steps = self._steps or [Normalisation("none")]
        return Grid(
            channels=self._channels,
            orientation=self._orientation and self._orientation[::-1],
            spacing=tuple(self._spacing[axis] for axis in reversed(order)),
            normalisation=tuple(steps) if len(steps) > 1 else steps[0],
            slices=self._slices is not None,
            axes=tuple(axes[axis] for axis in order),
            crop=self._crop,
            resampling=Resampling(
                smooth=False, normalised=any(self._spacing) and self._first_step_before_spacing
            ),
            regions=regions,
        )

    def _refuse(self, name: str, why: str) -> None:
        raise RequestError(
            f"{self._where}: found the transform {name} in the preprocessing, but {why}; expected"
            " orientation, spacing, scaling, normalisation and foreground crop; this bundle cannot"
            " be imported as it is"
        )

    def _read_Orientationd(self, name: str, given: dict[str, Any]) -> None:
        if self._steps or any(self._spacing):
            self._refuse(name, "it comes after others")
        self._orientation = str(given.pop("axcodes", None))
        given.pop("labels", None)

    def _read_Spacingd(self, name: str, given: dict[str, Any]) -> None:
        pixdim, mode = given.pop("pixdim", None), given.pop("mode", "bilinear")
        given.pop("padding_mode", None)
        given.pop("align_corners", None)
        bilinear = mode in ("bilinear", ["bilinear"])
        plane = 2 if self._slices == 2 else 3  # an image of one slice has two axes
        if not isinstance(pixdim, list) or len(pixdim) not in (plane, 3) or not bilinear:
            self._refuse(name, "pixdim and mode are not three numbers and bilinear")
        self._spacing = [float(mm) if mm and mm > 0 else None for mm in pixdim]
        self._spacing += [None] * (3 - len(pixdim))
        self._first_step_before_spacing = bool(self._steps)

    def _read_ScaleIntensityRanged(self, name: str, given: dict[str, Any]) -> None:
        low, high = float(given.pop("a_min")), float(given.pop("a_max"))
        bottom, top = float(given.pop("b_min", 0.0)), float(given.pop("b_max", 1.0))
        clip = given.pop("clip", False)
        std = (high - low) / (top - bottom)
        limits = (low, high) if clip else (-UNBOUNDED, UNBOUNDED)
        self._step(name, Normalisation("fixed", *limits, mean=low - bottom * std, std=std))

    def _read_ScaleIntensityRangePercentilesd(self, name: str, given: dict[str, Any]) -> None:
        lower, upper = float(given.pop("lower")), float(given.pop("upper"))
        bottom, top = float(given.pop("b_min", 0.0)), float(given.pop("b_max", 1.0))
        if not given.pop("clip", False) or not (given.pop("channel_wise", False) or self._single):
            self._refuse(name, "only clip and channel_wise have counterparts")
        self._step(name, Normalisation("percentile", lower, upper))
        self._to_range(name, bottom, top)

    def _read_ScaleIntensityd(self, name: str, given: dict[str, Any]) -> None:
        bottom, top = float(given.pop("minv", 0.0)), float(given.pop("maxv", 1.0))
        if not (given.pop("channel_wise", False) or self._single):
            self._refuse(name, "channels scaled together have no counterpart")
        self._step(name, Normalisation("minmax"))
        self._to_range(name, bottom, top)

    def _read_NormalizeIntensityd(self, name: str, given: dict[str, Any]) -> None:
        nonzero = given.pop("nonzero", False)
        mean, std = given.pop("subtrahend", None), given.pop("divisor", None)
        if not (given.pop("channel_wise", False) or self._single):
            self._refuse(name, "channels normalised together have no counterpart")
        if mean is not None and std is not None and not nonzero:
            limits = (-UNBOUNDED, UNBOUNDED)
            self._step(name, Normalisation("fixed", *limits, mean=float(mean), std=float(std)))
        elif mean is None and std is None:
            self._step(name, Normalisation("zscore", within="nonzero" if nonzero else "image"))
        else:
            self._refuse(name, "a subtrahend or divisor alone has no counterpart")

    def _read_CropForegroundd(self, name: str, given: dict[str, Any]) -> None:
        given.pop("source_key", None)
        if self._steps or any(self._spacing):
            self._refuse(name, "it comes after normalisation or spacing")
        if given.pop("margin", 0) != 0 or "select_fn" in given:
            self._refuse(name, "a margin or select_fn has no counterpart")
        for key in ("start_coord_key", "end_coord_key", "k_divisible", "allow_smaller"):
            given.pop(key, None)
        self._crop = "positive"

    @property
    def _single(self) -> bool:
        return self._channels == 1

    def _step(self, name: str, step: Normalisation) -> None:
        if any(self._spacing) and self._first_step_before_spacing:
            self._refuse(name, "there is normalisation both before and after the spacing")
        self._steps.append(step)

    def _to_range(self, name: str, bottom: float, top: float) -> None:
        """From 0..1 to another range."""
        if (bottom, top) != (0.0, 1.0):
            std = 1 / (top - bottom)
            self._step(name, Normalisation("fixed", 0.0, 1.0, mean=-bottom * std, std=std))


def _transforms(config: Configuration) -> list[dict[str, Any]]:
    """The list of transforms before the network."""
    for key in ("preprocessing", "pre_transforms", "validate#preprocessing", "train#preprocessing"):
        value: Any = config.values
        for part in key.split("#"):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            break
    if not isinstance(value, dict) or not isinstance(value.get("transforms"), str | list):
        raise RequestError(
            f"{config.where}: found no preprocessing with transforms, expected a Compose of them"
        )
    transforms = value["transforms"]
    if isinstance(transforms, str):
        transforms = config._named(transforms.removeprefix("@"), "preprocessing")
    return [
        dict(config.plain(_data(one), f"preprocessing {transform_name(one)}")) for one in transforms
    ]


def _data(transform: Any) -> Any:
    """A transform without what has no effect on the image: names of keys, where it runs."""
    if not isinstance(transform, dict):
        return {"_target_": str(transform)}
    if transform_name(transform) in NO_EFFECT:
        return {"_target_": transform["_target_"]}
    return {key: v for key, v in transform.items() if key not in ("keys", "device", "track_meta")}


def transform_name(transform: Any) -> str:
    """The class of a transform, without its package."""
    name = transform.get("_target_", "?") if isinstance(transform, dict) else transform
    return str(name).rsplit(".", 1)[-1]
