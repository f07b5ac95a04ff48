"""MONAI's transforms of intensities as steps of normalisation. Standard library alone.

Each function takes the arguments that it understands out of ``given``; those that are left have no
counterpart. It raises ``NoCounterpart`` for a setting that has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from SFDALib.volume.normalisation import Normalisation

UNBOUNDED = 1e8  # a limit that no intensity reaches

Arguments = dict[str, Any]


class NoCounterpart(ValueError):
    """A setting of a transform that no step of normalisation stands for; the text says why."""


def take_without_effect(given: Arguments, **expected: tuple[Any, ...]) -> None:
    """Take arguments out that have one of the values that change nothing.

    Args:
        expected: these values by the argument, its default first.

    Raises:
        NoCounterpart: an argument has another value.
    """
    for argument, values in expected.items():
        value = given.pop(argument, values[0])
        if value not in values:
            raise NoCounterpart(f"its {argument} has no counterpart when it is {value!r:.40}")


def _scale_range(given: Arguments, channels: int) -> list[Normalisation]:
    low, high = float(given.pop("a_min")), float(given.pop("a_max"))
    bottom, top = _target_range(given)
    clip = given.pop("clip", False)
    if not (low < high and bottom < top):
        raise NoCounterpart("its ranges are empty or reversed")
    std = (high - low) / (top - bottom)
    limits = (low, high) if clip else (-UNBOUNDED, UNBOUNDED)
    return [Normalisation("fixed", *limits, mean=low - bottom * std, std=std)]


def _scale_percentiles(given: Arguments, channels: int) -> list[Normalisation]:
    lower, upper = float(given.pop("lower")), float(given.pop("upper"))
    bottom, top = _target_range(given)
    take_without_effect(given, relative=(False,))
    if not given.pop("clip", False):
        raise NoCounterpart("without clip it has no counterpart")
    step = Normalisation("percentile", lower, upper, together=_together(given, channels))
    return [step, *_to_range(bottom, top)]


def _scale(given: Arguments, channels: int) -> list[Normalisation]:
    bottom, top = float(given.pop("minv", 0.0)), float(given.pop("maxv", 1.0))
    take_without_effect(given, factor=(None,))
    step = Normalisation("minmax", together=_together(given, channels))
    return [step, *_to_range(bottom, top)]


def _normalize(given: Arguments, channels: int) -> list[Normalisation]:
    within = "nonzero" if given.pop("nonzero", False) else "image"
    mean, std = given.pop("subtrahend", None), given.pop("divisor", None)
    together = _together(given, channels)
    if mean is not None and std is not None and within == "image":
        return _fixed(mean, std, channels, not together)
    if mean is None and std is None:
        return [Normalisation("zscore", within=within, together=together)]
    raise NoCounterpart("a subtrahend or divisor alone has no counterpart")


def _fixed(mean: Any, std: Any, channels: int, channel_wise: bool) -> list[Normalisation]:
    """One mean and standard deviation for all channels, or lists with one for each."""
    lists = isinstance(mean, list) or isinstance(std, list)
    means, stds = (
        value if isinstance(value, list) else [value] * channels for value in (mean, std)
    )
    if lists and (not channel_wise or {len(means), len(stds)} != {channels}):
        raise NoCounterpart("its lists do not have one number for each channel, with channel_wise")
    pairs = [(float(m), float(s)) for m, s in zip(means, stds, strict=True)]
    limits = (-UNBOUNDED, UNBOUNDED)
    if lists and channels > 1:
        return [
            Normalisation("fixed", *limits, mean=m, std=s, channels=(channel,))
            for channel, (m, s) in enumerate(pairs)
        ]
    return [Normalisation("fixed", *limits, mean=pairs[0][0], std=pairs[0][1])]


def _threshold(given: Arguments, channels: int) -> list[Normalisation]:
    limit, above = float(given.pop("threshold")), given.pop("above", True)
    if float(given.pop("cval", 0.0)) != limit:
        raise NoCounterpart("a cval other than the threshold has no counterpart")
    limits = (limit, UNBOUNDED) if above else (-UNBOUNDED, limit)
    return [Normalisation("fixed", *limits)]


def _shift(given: Arguments, channels: int) -> list[Normalisation]:
    take_without_effect(given, safe=(False,))
    for argument in ("meta_keys", "meta_key_postfix"):
        given.pop(argument, None)
    take_without_effect(given, factor_key=(None,))
    offset = float(given.pop("offset"))
    return [Normalisation("fixed", -UNBOUNDED, UNBOUNDED, mean=-offset)]


def _target_range(given: Arguments) -> tuple[float, float]:
    bottom, top = given.pop("b_min", None), given.pop("b_max", None)
    return (0.0, 1.0) if bottom is None or top is None else (float(bottom), float(top))


def _together(given: Arguments, channels: int) -> bool:
    return not given.pop("channel_wise", False) and channels > 1


def _to_range(bottom: float, top: float) -> list[Normalisation]:
    """The step from 0..1 to another range, where it is another."""
    if (bottom, top) == (0.0, 1.0):
        return []
    std = 1 / (top - bottom)
    return [Normalisation("fixed", 0.0, 1.0, mean=-bottom * std, std=std)]


# By the transform's name: its arguments and the image's channels -> the steps
INTENSITY: Mapping[str, Callable[[Arguments, int], list[Normalisation]]] = {
    "ScaleIntensityRanged": _scale_range,
    "ScaleIntensityRangePercentilesd": _scale_percentiles,
    "ScaleIntensityd": _scale,
    "NormalizeIntensityd": _normalize,
    "ThresholdIntensityd": _threshold,
    "ShiftIntensityd": _shift,
}
