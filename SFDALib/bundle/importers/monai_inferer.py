"""The inferer of a MONAI bundle: what its network sees at once, and how windows are blended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from SFDALib.bundle.description import Sliding
from SFDALib.bundle.importers.monai_configuration import Configuration
from SFDALib.errors import RequestError
from SFDALib.networks import catalogue
from SFDALib.rounding import round_up

SLIDING = ("SlidingWindowInferer", "SlidingWindowInfererAdapt", "SliceInferer")
PACKAGE = "monai.inferers."


@dataclass(frozen=True)
class Inferer:
    """Args:
    slices: across which axis of MONAI's array a 2D network sees slices; None for a 3D network.
    windows, sliding, patch_size: as in a description.
    """

    slices: int | None
    windows: str
    patch_size: tuple[int, ...]
    sliding: Sliding = field(default_factory=Sliding)


def read_inferer(
    config: Configuration, metadata: Mapping[str, Any], definition: Mapping[str, Any]
) -> Inferer:
    """Read the inferer; without one MONAI shows the network the whole image.

    Raises:
        RequestError: another than MONAI's own, or a setting that has no counterpart.
    """
    given = config.values.get("inferer")
    given = config.plain(given, "inferer") if isinstance(given, str) else given
    given = given if isinstance(given, dict) else {"_target_": "SimpleInferer"}
    target = str(given.get("_target_", SLIDING[0]))
    name = target.rsplit(".", 1)[-1]
    if name not in (*SLIDING, "SimpleInferer") or not (
        target == name or target.startswith(PACKAGE)
    ):
        raise RequestError(
            f"{config.where}: found the inferer {target[:80]}, expected one of"
            f" {', '.join(SLIDING)} and SimpleInferer; this bundle cannot be imported as it is"
        )

    def setting(key: str, otherwise: Any) -> Any:
        value = config.plain(given.get(key), f"inferer, {key}")
        return otherwise if value is None else value

    slices = None
    if definition["spatial_dims"] == 2:
        slices = _sliced_axis(config, setting("spatial_dim", 0)) if name == SLIDING[2] else 2
    size = setting("roi_size", None) if name in SLIDING else None
    dims = definition["spatial_dims"]
    size = [size] * dims if type(size) is int else size
    whole = name == "SimpleInferer" or size == [-1] * dims
    if whole or size is None:
        image = next(iter(metadata["network_data_format"]["inputs"].values()))
        size = image.get("spatial_shape")
    patch_size = _patch_size(config, size, definition)
    if whole:
        return Inferer(slices, "whole", patch_size)
    sliding = Sliding(
        str(setting("mode", "constant")),
        float(setting("sigma_scale", 0.125)),
        str(setting("padding_mode", "constant")),
        float(setting("cval", 0.0)),
    )
    return Inferer(slices, "fixed", patch_size, sliding)


def _sliced_axis(config: Configuration, axis: Any) -> int:
    """Across which axis of the image a 2D network sees its slices."""
    if axis not in (0, 1, 2):
        raise RequestError(
            f"{config.where}: found spatial_dim {axis!r:.40} of the inferer, expected 0, 1 or 2;"
            " correct it"
        )
    return axis


def _patch_size(config: Configuration, size: Any, definition: Mapping[str, Any]) -> tuple[int, ...]:
    """The window as a multiple of what the network needs."""
    divisor = catalogue.divisor(definition, config.where)
    if not isinstance(size, list) or not (
        len(size) == len(divisor) and all(type(n) is int and n > 0 for n in size)
    ):
        raise RequestError(
            f"{config.where}: found the window {size!r:.80}, expected inferer with roi_size,"
            f" {len(divisor)} whole numbers; add it"
        )
    return tuple(round_up(n, d) for n, d in zip(size, divisor, strict=True))
