"""How a model wants its intensities scaled, as plain data (standard library alone)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
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
        """The [0, 1] normalisation for a diffusion model that is used with this one."""
        if self.kind == "fixed":
            return replace(self, mean=self.lower, std=self.upper - self.lower)
        return Normalisation(channels=self.channels) if self.kind == "zscore" else self

    def to_dict(self) -> dict[str, Any]:
        """Plain data, without fields that have their default: all voxels, all channels."""
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
    """The [0, 1] normalisation for the diffusion model: per channel if each has exactly one step,
    else by percentiles.

    """
    every = steps(normalisation)
    if isinstance(normalisation, Normalisation):
        return normalisation.unit()
    named = [channel for step in every if step.channels for channel in step.channels]
    one_each = all(step.channels for step in every) and len(named) == len(set(named))
    return tuple(step.unit() for step in every) if one_each else Normalisation()
