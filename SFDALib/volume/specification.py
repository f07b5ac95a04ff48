"""What a model expects of its input, as plain data (standard library alone)."""

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


@dataclass(frozen=True)
class Normalisation:
    """One of ``KINDS`` with its constants; those that the kind does not use are ignored."""

    kind: str = "percentile"
    lower: float = 0.5
    upper: float = 99.5
    mean: float = 0.0
    std: float = 1.0

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
        numbers = {key: value for key, value in values.items() if key != "kind"}
        if not all(
            type(number) in (int, float) and abs(number) < 1e9 for number in numbers.values()
        ):
            raise RequestError(
                f"{where}: found {numbers!r:.120}, expected finite numbers; correct it"
            )
        normalisation = cls(**values)
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
        return Normalisation() if self.kind == "zscore" else self

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Grid:
    """What a model expects of its input.

    Args:
        channels: number of channels C.
        orientation: three letters, the direction in which I, J and K increase ("LPS" is SimpleITK's
            identity); None keeps the input's axes.
        spacing: mm along I, J, K; None keeps the input's along that axis.
        normalisation: how intensities are scaled.
        slices: True for a 2D network, which sees the (J, I) slices one by one.
    """

    channels: int
    orientation: str | None
    spacing: tuple[float | None, float | None, float | None]
    normalisation: Normalisation
    slices: bool
