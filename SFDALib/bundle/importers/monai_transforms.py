"""The preprocessing of a MONAI bundle as the fields of a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from SFDALib.bundle.importers.monai_configuration import (
    INSTRUCTIONS,
    Configuration,
    of_key,
    transform_name,
)
from SFDALib.bundle.importers.monai_expressions import FLOAT
from SFDALib.bundle.importers.monai_intensity import INTENSITY, NoCounterpart, take_without_effect
from SFDALib.errors import RequestError
from SFDALib.volume.cleaning import Cleaning
from SFDALib.volume.input_spec import InputSpec, Region, Resampling
from SFDALib.volume.normalisation import Normalisation

PREPROCESSING = (
    *("preprocessing", "pre_transforms", "validate#preprocessing", "train#preprocessing"),
)
NO_EFFECT = (  # on what the network sees, however they are set
    *("AddChanneld", "AsChannelFirstd", "EnsureChannelFirstd", "ToTensord", "ToDeviced"),
    *("ToNumpyd", "Identityd", "DataStatsd", "SelectItemsd", "FromMetaTensord", "ToMetaTensord"),
)
LINEAR = ("bilinear", "trilinear", "linear")
AXES = [["L", "R"], ["P", "A"], ["I", "S"]]  # the labels of MONAI's axes, unless others are given


class Preprocessing:
    """The transforms before the network, as fields of a grid.

    Args:
        image: the key of what the network sees.
        channels: of the image.
        slices: across which axis of MONAI's array a 2D network sees slices; None for a 3D network.

    Raises:
        RequestError: a transform, or a setting of one, that has no field; it is named.
    """

    def __init__(
        self, config: Configuration, image: str, channels: int, slices: int | None = None
    ) -> None:
        self._where = config.where
        self._channels = channels
        self._slices = slices
        self._orientation: str | None = None
        self._spacing: list[float | None] = [None, None, None]
        self._size: list[int | None] | None = None
        self._steps: list[Normalisation] = []
        self._crop: str | None = None
        self._before_resampling: int | None = None  # steps, where there is resampling
        listed = config.transforms(PREPROCESSING, "the preprocessing")
        if listed is None:
            raise RequestError(
                f"{config.where}: found no preprocessing with transforms, expected a Compose of"
                " them"
            )
        for transform in listed:
            self._take(config, transform, image)

    def _take(self, config: Configuration, transform: dict[str, Any], image: str) -> None:
        name, given = transform_name(transform), dict(transform)
        if config.is_disabled(transform):
            return
        if name is None:
            self._refuse(str(transform["_target_"])[:80], "it is no class of MONAI's own")
        keys = config.keys(transform)
        read = getattr(self, f"_read_{name}", None)
        if keys is not None and image not in keys:
            others = config.plain({k: v for k, v in given.items() if k in MAKERS}, name)
            if image in str(others.values()):
                self._refuse(name, f"it makes the {image} of other data")
            return
        if name in NO_EFFECT:
            return
        for key in ("_target_", "keys", "allow_missing_keys", "device", "track_meta", "lazy"):
            given.pop(key, None)
        for key in INSTRUCTIONS:
            given.pop(key, None)
        given = {k: config.plain(v, f"preprocessing {name}, {k}") for k, v in given.items()}
        if read is None and name not in INTENSITY:
            self._refuse(name, "no such transform is known")
        if not FLOAT.fullmatch(str(given.pop("dtype", None) or "float32")):
            self._refuse(name, "its dtype rounds or wraps the intensities")
        self._keys, self._key = keys, image
        if read is None:
            self._read_intensity(name, given)
        else:
            read(name, given)
        if given:
            self._refuse(name, f"its {', '.join(given)} has no counterpart")

    def input_spec(
        self,
        regions: tuple[Region, ...],
        threshold: float | None = None,
        cleaning: tuple[Cleaning, ...] = (),
        maps: str = "probabilities",
    ) -> InputSpec:
        """MONAI's arrays have the axes I, J, K, ours K, J, I: an orientation is read backwards.

        A 2D network has its slices' axis first.
        """
        first, second, third = sorted(range(3), key=lambda axis: axis != self._slices)
        axes = (0, 1, 2) if self._orientation else (2, 1, 0)
        steps = self._steps or [Normalisation("none")]
        mm, size = self._spacing, self._size
        return InputSpec(
            channels=self._channels,
            orientation=self._orientation and self._orientation[::-1],
            spacing=(mm[third], mm[second], mm[first]),
            normalisation=tuple(steps) if len(steps) > 1 else steps[0],
            is_2d=self._slices is not None,
            axes=(axes[first], axes[second], axes[third]),
            crop=self._crop,
            resampling=Resampling(
                smooth=False, normalised=bool(self._before_resampling), maps=maps
            ),
            regions=regions,
            size=None if size is None else (size[third], size[second], size[first]),
            threshold=threshold,
            cleaning=cleaning,
        )

    @property
    def is_sized(self) -> bool:
        """Whether every image is brought to one size."""
        return self._size is not None

    def _refuse(self, name: str, why: str) -> NoReturn:
        raise RequestError(
            f"{self._where}: found the transform {name} in the preprocessing, but {why}; expected"
            " orientation, spacing, scaling, normalisation and foreground crop; this bundle cannot"
            " be imported as it is"
        )

    def _plain(self, given: dict[str, Any], name: str, **expected: tuple[Any, ...]) -> None:
        """Take arguments out that have one of the values that change nothing.

        Raises:
            RequestError: another value.
        """
        try:
            take_without_effect(given, **expected)
        except NoCounterpart as error:
            self._refuse(name, str(error))

    def _read_LoadImaged(self, name: str, given: dict[str, Any]) -> None:
        reader = str(given.pop("reader", None) or "").rsplit(".", 1)[-1].lower()
        if reader not in ("", *READERS):
            self._refuse(name, f"its reader {reader[:40]} is none of MONAI's own")
        for argument in ("image_only", "ensure_channel_first", "simple_keys", "prune_meta_sep"):
            given.pop(argument, None)
        for argument in ("prune_meta_pattern", "overwriting", "meta_keys", "meta_key_postfix"):
            given.pop(argument, None)
        self._plain(given, name, reverse_indexing=(False, None), converter=(None,))
        for argument in ("affine_lps_to_ras", "squeeze_non_spatial_dims", "series_meta"):
            given.pop(argument, None)

    def _read_CastToTyped(self, name: str, given: dict[str, Any]) -> None:
        pass  # the type of its numbers was looked at

    def _read_EnsureTyped(self, name: str, given: dict[str, Any]) -> None:
        given.pop("data_type", None)
        given.pop("wrap_sequence", None)

    def _read_Orientationd(self, name: str, given: dict[str, Any]) -> None:
        if self._steps or any(self._spacing) or self._size or self._crop:
            self._refuse(name, "it comes after others")
        codes = given.pop("axcodes", None)
        if isinstance(codes, list):
            codes = "".join(map(str, codes))
        if given.pop("as_closest_canonical", False):
            codes = "RAS"
        self._orientation = str(codes).upper()
        if given.pop("labels", None) not in (None, AXES):
            self._refuse(name, "its labels of the axes have no counterpart")

    def _read_Spacingd(self, name: str, given: dict[str, Any]) -> None:
        pixdim = given.pop("pixdim", None)
        mode = of_key(given.pop("mode", "bilinear"), self._keys, self._key)
        for argument in ("padding_mode", "align_corners", "recompute_affine", "scale_extent"):
            given.pop(argument, None)
        self._plain(given, name, diagonal=(False,), min_pixdim=(None,), max_pixdim=(None,))
        plane = 2 if self._slices == 2 else 3  # an image of one slice has two axes
        pixdim = [pixdim] if isinstance(pixdim, int | float) else pixdim
        if not isinstance(pixdim, list) or not pixdim or mode not in LINEAR:
            self._refuse(name, "pixdim and mode are not three numbers and bilinear")
        pixdim = pixdim[:3] + [pixdim[-1]] * (plane - len(pixdim))  # MONAI repeats the last
        self._resampled(name)
        self._spacing = [float(mm) if mm and mm > 0 else None for mm in pixdim]
        self._spacing += [None] * (3 - len(pixdim))

    def _read_Resized(self, name: str, given: dict[str, Any]) -> None:
        mode = of_key(given.pop("mode", "area"), self._keys, self._key)
        align = of_key(given.pop("align_corners", None), self._keys, self._key)
        anti = of_key(given.pop("anti_aliasing", False), self._keys, self._key)
        given.pop("anti_aliasing_sigma", None)
        size, plane = given.pop("spatial_size", None), 2 if self._slices == 2 else 3
        self._plain(given, name, size_mode=("all",))
        good = isinstance(size, list) and len(size) == plane
        if mode not in LINEAR or align or anti or not good or not all(_is_count(n) for n in size):
            self._refuse(name, f"spatial_size and mode are not {plane} whole numbers and bilinear")
        self._resampled(name)
        self._size = [n if n > 0 else None for n in size] + [None] * (3 - plane)

    def _resampled(self, name: str) -> None:
        if self._before_resampling is not None or self._crop in CROPS_AFTER:
            self._refuse(name, "the image has been resampled or cropped before")
        self._before_resampling = len(self._steps)

    def _read_intensity(self, name: str, given: dict[str, Any]) -> None:
        try:
            steps = INTENSITY[name](given, self._channels)
        except NoCounterpart as error:
            self._refuse(name, str(error))
        for step in steps:
            self._step(name, step)

    def _read_CropForegroundd(self, name: str, given: dict[str, Any]) -> None:
        if given.pop("source_key", None) != self._key:
            self._refuse(name, "its source_key is not the image")
        self._plain(given, name, k_divisible=(1,), channel_indices=(None,))
        if given.pop("margin", 0) not in (0, [0], [0, 0, 0]) or "select_fn" in given:
            self._refuse(name, "a margin or select_fn has no counterpart")
        for key in ("start_coord_key", "end_coord_key", "allow_smaller", "mode"):
            given.pop(key, None)  # "mode" is of what stands in a margin
        if self._crop is not None:
            self._refuse(name, "there is another crop before it")
        if self._before_resampling is None and self._steps:
            self._refuse(name, "it comes after normalisation, without resampling between")
        if self._before_resampling is None:
            self._crop = "positive"
        elif not self._steps:
            self._crop = "positive-resampled"
        else:
            self._crop = "positive-normalised"
            if self._before_resampling:
                self._refuse(name, "it comes after normalisation and resampling")

    def _step(self, name: str, step: Normalisation) -> None:
        if self._before_resampling:
            self._refuse(name, "there is normalisation both before and after the resampling")
        if self._crop == "positive-normalised":
            self._refuse(name, "it comes after a crop of the normalised image")
        self._steps.append(step)


MAKERS = ("name", "names", "keys_out", "output_key", "image_key", "source_key", "image")
READERS = (
    *("itkreader", "nibabelreader", "pilreader", "nrrdreader", "numpyreader", "pydicomreader"),
    *("nibabelreader", "wsireader"),
)
CROPS_AFTER = ("positive-resampled", "positive-normalised")


def _is_count(value: object) -> bool:
    return type(value) is int and (value > 0 or value == -1)


def image_key(config: Configuration, inputs: Sequence[str]) -> str:
    """The key of what the network sees: "image" for MONAI's evaluators, unless no transform has it.

    Args:
        inputs: names of the network's inputs in the metadata.
    """
    used: set[str] = set()
    for transform in config.transforms(PREPROCESSING, "the preprocessing") or []:
        used.update(config.keys(transform) or ())
    candidates = ["image", *(name for name in inputs if name in used), *sorted(used)]
    return next((key for key in candidates if key in used), "image")
