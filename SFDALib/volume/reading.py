"""What the user states of an image where its files leave it open (standard library alone)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from SFDALib.errors import RequestError


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
            None if spacing is None else _three(spacing),
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


def _three(values: Iterable[float]) -> tuple[float, float, float]:
    i, j, k = (float(value) for value in values)
    return i, j, k
