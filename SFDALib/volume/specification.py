"""What a model expects of its input, as plain data (standard library alone)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from SFDALib.errors import RequestError

KINDS = {
    "percentile": "the lower and upper percentile of each channel become 0 and 1; clipped",
    "minmax": "the smallest and largest value of each channel become 0 and 1",
    "zscore": "each channel has mean 0 and standard deviation 1",
    "fixed": "clipped to lower..upper, minus mean, divided by std (as for CT)",
    "none": "unchanged",
}
WITHIN = {
    "image": "all voxels",
    "nonzero": "the channel's voxels that are not 0; the others stay 0",
    "body": "voxels that are not 0 in any channel, holes filled; the others stay as they are",
}
CROPS = {
    "nonzero": "the box of the voxels that are not 0 in any channel",
    "positive": "the box of the voxels above 0 in any channel",
    "positive-resampled": "the same after resampling, before intensities are normalised",
    "positive-normalised": "the same after resampling and normalising",
}
MAPS = ("probabilities", "logits")


@dataclass(frozen=True)
class Reading:
    """What the user states of an image where its files leave it open.

    Args:
        spacing: mm along I, J, K of files that state none; None refuses them.
        series: which DICOM series of a folder: its number in the list that a refusal shows, its UID
            or its description; one for all files of an image, or one for each.
        resample_channels: whether further channels are brought to the first one's grid.
    """

    spacing: tuple[float, float, float] | None = None
    series: tuple[str, ...] = ()
    resample_channels: bool = False

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> Reading:
        """Read and check plain data, as of a job file.

        Raises:
            RequestError: an unknown field, or a value that it cannot have.
        """
        spacing, series = values.get("spacing"), values.get("series", ())
        if (
            not set(values) <= set(cls.__dataclass_fields__)
            or not (spacing is None or _is_spacing(spacing))
            or not isinstance(series, list | tuple)
            or not all(isinstance(word, str) and word for word in series)
            or type(values.get("resample_channels", False)) is not bool
        ):
            raise RequestError(
                f"{where}: found {dict(values)!r:.160}, expected spacing (three numbers of mm above"
                " 0 along I, J, K), series (texts) and resample_channels (true or false)"
            )
        return cls(
            None if spacing is None else tuple(float(mm) for mm in spacing),
            tuple(series),
            values.get("resample_channels", False),
        )

    def of_file(self, index: int) -> Reading:
        """The same for one of the image's files: with its series alone."""
        series = self.series if len(self.series) < 2 else self.series[index : index + 1]
        return replace(self, series=series)


def _is_spacing(values: Any) -> bool:
    return (
        isinstance(values, list | tuple)
        and len(values) == 3
        and all(type(mm) in (int, float) and 1e-6 <= mm <= 1e6 for mm in values)
    )


@dataclass(frozen=True)
class Normalisation:
    """One of ``KINDS`` with its constants; those that the kind does not use are ignored.

    Args:
        within: one of ``WITHIN``: the voxels that "zscore" measures and changes.
        channels: the channels that it applies to; None for all.
        together: whether all channels are measured as one, not each by itself.
    """

    kind: str = "percentile"
    lower: float = 0.5
    upper: float = 99.5
    mean: float = 0.0
    std: float = 1.0
    within: str = "image"
    channels: tuple[int, ...] | None = None
    together: bool = False

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> Normalisation:
        """Read and check the bundle's ``normalisation``.

        Raises:
            RequestError: unknown kind or field, or constants out of range.
        """
        unknown = set(values) - set(cls.__dataclass_fields__)
        if unknown or values.get("kind") not in list(KINDS):
            raise RequestError(
                f"{where}: found {dict(values)!r:.120}, expected one of the kinds"
                f" {', '.join(KINDS)} with lower, upper, mean, std; correct the bundle's metadata"
            )
        values = dict(values)
        names = ("kind", "within", "channels", "together")
        words = {key: values.pop(key) for key in names if key in values}
        channels = words.get("channels")
        together = words.get("together", False)
        if (
            words.get("within", "image") not in list(WITHIN)
            or type(together) is not bool
            or (together and (channels is not None or words.get("within") == "body"))
            or not (
                channels is None
                or (isinstance(channels, list) and all(type(c) is int and c >= 0 for c in channels))
            )
        ):
            raise RequestError(
                f"{where}: found {words!r:.120}, expected within to be one of {', '.join(WITHIN)}"
                " and channels to be a list of their numbers from 0, or null, as where together is"
                " true; correct it"
            )
        numbers = dict(values)
        if not all(
            type(number) in (int, float) and abs(number) < 1e9 for number in numbers.values()
        ):
            raise RequestError(
                f"{where}: found {numbers!r:.120}, expected finite numbers; correct it"
            )
        words["channels"] = None if channels is None else tuple(channels)
        normalisation = cls(**words, **numbers)
        if normalisation.std <= 0 or normalisation.lower >= normalisation.upper:
            raise RequestError(
                f"{where}: found {numbers!r:.120}, expected lower < upper, std > 0; correct it"
            )
        if normalisation.kind == "percentile" and not (
            normalisation.lower >= 0 and normalisation.upper <= 100
        ):
            raise RequestError(
                f"{where}: found {numbers!r:.120}, expected percentiles from 0 to 100; correct it"
            )
        return normalisation

    def unit(self) -> Normalisation:
        """The normalisation to 0..1 of images for a diffusion model beside this one."""
        if self.kind == "fixed":
            return replace(self, mean=self.lower, std=self.upper - self.lower)
        return Normalisation(channels=self.channels) if self.kind == "zscore" else self

    def to_dict(self) -> dict[str, Any]:
        """Plain data; what is not said means all voxels and all channels."""
        values = asdict(self)
        if self.within == "image":
            del values["within"]
        if self.channels is None:
            del values["channels"]
        if not self.together:
            del values["together"]
        return values


Normalisations = Normalisation | tuple[Normalisation, ...]  # one, or steps one after the other


def steps(normalisation: Normalisations) -> tuple[Normalisation, ...]:
    """The steps of a normalisation, in order."""
    return normalisation if isinstance(normalisation, tuple) else (normalisation,)


def unit(normalisation: Normalisations) -> Normalisations:
    """The normalisation to 0..1 beside this one: each channel's own where that is one step, else
    by percentiles.
    """
    every = steps(normalisation)
    if isinstance(normalisation, Normalisation):
        return normalisation.unit()
    named = [channel for step in every if step.channels for channel in step.channels]
    one_each = all(step.channels for step in every) and len(named) == len(set(named))
    return tuple(step.unit() for step in every) if one_each else Normalisation()


@dataclass(frozen=True)
class Resampling:
    """How an image comes to the model's spacing, and the model's maps back from it.

    Args:
        order: of the spline through the image's voxels; 1 is linear.
        smooth: whether the image is smoothed first where voxels grow.
        normalised: whether intensities are normalised before it, not after it.
        separate_z: whether the thick axis of an anisotropic image (spacings that differ by more
            than three times) is resampled by itself, to the nearest voxel.
        maps: one of ``MAPS``: what is interpolated linearly on the way back.
    """

    order: int = 1
    smooth: bool = True
    normalised: bool = False
    separate_z: bool = False
    maps: str = "probabilities"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> Resampling:
        """Read and check the bundle's ``resampling``.

        Raises:
            RequestError: an unknown field, or a value that it cannot have.
        """
        resampling = cls(**values) if set(values) <= set(cls.__dataclass_fields__) else None
        if (
            resampling is None
            or type(resampling.order) is not int
            or not 0 <= resampling.order <= 5
            or resampling.maps not in MAPS
            or any(type(values.get(name, True)) is not bool for name in _SWITCHES)
        ):
            raise RequestError(
                f"{where}: found {dict(values)!r:.160}, expected order (0 to 5), {_SWITCHES[0]},"
                f" {_SWITCHES[1]} and {_SWITCHES[2]} (true or false), and maps"
                f" ({' or '.join(MAPS)}); correct it"
            )
        return resampling


_SWITCHES = ("smooth", "normalised", "separate_z")


@dataclass(frozen=True)
class Region:
    """An output channel that says, by a sigmoid, where one of several overlapping regions is.

    Args:
        channel: its number from 0.
        label: the label of the voxels of this region that no later one covers.
    """

    channel: int
    label: int


@dataclass(frozen=True)
class Cleaning:
    """A transform of MONAI that is applied to the labels.

    Args:
        transform: one of ``CLEANINGS``.
        arguments: of that class, plain data.
        on: one of ``CLEANING_GRIDS``: the grid on which the labels are when it is applied.
        one_hot: whether it sees a mask for each output channel, not a map of labels. It always does
            where the channels are overlapping regions.
    """

    transform: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    on: str = "input"
    one_hot: bool = False


CLEANING_GRIDS = ("model", "input")
# MONAI's classes with their arguments: what each may be beside null, and its default
CLEANINGS: Mapping[str, Mapping[str, tuple[str, Any]]] = {
    "KeepLargestConnectedComponent": {
        "applied_labels": ("labels", None),
        "is_onehot": ("switch", None),
        "independent": ("switch", True),
        "connectivity": ("connectivity", None),
        "num_components": ("count", 1),
    },
    "RemoveSmallObjects": {
        "min_size": ("size", 64),
        "connectivity": ("connectivity", 1),
        "independent_channels": ("switch", True),
        "by_measure": ("switch", False),
    },
    "FillHoles": {"applied_labels": ("labels", None), "connectivity": ("connectivity", None)},
    "LabelFilter": {"applied_labels": ("labels", None)},
}


def check_cleaning(step: Cleaning, where: str) -> Cleaning:
    """The same.

    Raises:
        RequestError: an unknown transform or argument, or a value that it cannot have.
    """
    known = CLEANINGS.get(step.transform, {})
    good = {
        "labels": lambda v: _is_label(v) or (isinstance(v, list) and v and all(map(_is_label, v))),
        "switch": lambda v: type(v) is bool,
        "connectivity": lambda v: type(v) is int and 1 <= v <= 3,
        "count": lambda v: type(v) is int and 1 <= v <= 1000,
        "size": lambda v: type(v) in (int, float) and 0 <= v <= 1e9,
    }
    wrong = [
        name
        for name, value in step.arguments.items()
        if name not in known or not (value is None or good[known[name][0]](value))
    ]
    lacking = step.transform == "LabelFilter" and not step.arguments.get("applied_labels")
    if (
        not known
        or wrong
        or lacking
        or step.on not in CLEANING_GRIDS
        or type(step.one_hot) is not bool
    ):
        raise RequestError(
            f"{where}: found {step.transform[:60]!r} with {dict(step.arguments)!r:.160}, expected"
            f" one of {', '.join(CLEANINGS)} with arguments of its own, on one of"
            f" {', '.join(CLEANING_GRIDS)}; correct it"
        )
    return step


def _is_label(value: object) -> bool:
    return type(value) is int and 0 <= value <= 255


@dataclass(frozen=True)
class InputSpec:
    """What a model expects of its input, and what its output says there.

    Args:
        channels: number of channels C.
        orientation: three letters, the direction in which I, J and K increase ("LPS" is SimpleITK's
            identity); None keeps the input's axes.
        spacing: mm along I, J, K; None keeps the input's along that axis.
        normalisation: how intensities are scaled.
        is_2d: True for a 2D network, which sees the (J, I) slices one by one.
        axes: the oriented array's axes (K, J, I) in the order in which the model wants them.
        crop: one of ``CROPS``: the part of the image that the model sees; None for all of it.
        resampling: to the spacing and back.
        regions: what the output channels mean if they are overlapping regions, in the order in
            which they are painted, a later one over an earlier one; empty for one class a channel.
        size: voxels along I, J, K to which the image is resampled whatever its spacing; None, or
            None along an axis, where the spacing decides.
        threshold: least probability of a voxel's label or region; None for the largest of the
            labels' and for more than 0.5 of a region's.
        cleaning: what is done to the labels at the end, in order.
    """

    channels: int
    orientation: str | None
    spacing: tuple[float | None, float | None, float | None]
    normalisation: Normalisations
    is_2d: bool
    axes: tuple[int, int, int] = (0, 1, 2)
    crop: str | None = None
    resampling: Resampling = field(default_factory=Resampling)
    regions: tuple[Region, ...] = ()
    size: tuple[int | None, int | None, int | None] | None = None
    threshold: float | None = None
    cleaning: tuple[Cleaning, ...] = ()

    @property
    def painted(self) -> tuple[int, ...]:
        """The labels in the order in which their regions are painted."""
        return tuple(region.label for region in self.regions)
