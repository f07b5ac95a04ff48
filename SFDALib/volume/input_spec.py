"""What a model expects of its input, as plain data (standard library alone)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from SFDALib.errors import RequestError
from SFDALib.volume.cleaning import Cleaning
from SFDALib.volume.normalisation import Normalisations

CROPS = {
    "nonzero": "the box of the voxels that are not 0 in any channel",
    "positive": "the box of the voxels above 0 in any channel",
    "positive-resampled": "the same after resampling, before intensities are normalised",
    "positive-normalised": "the same after resampling and normalising",
}
MAPS = ("probabilities", "logits")


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
