"""Scale intensities as a model expects them (``Normalisation``)."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from scipy.ndimage import binary_fill_holes

from SFDALib.volume.normalisation import Normalisation, Normalisations, steps, unit

SQUARED = 1e15  # beyond it, sums of squares may leave single precision


def normalise(array: np.ndarray, normalisation: Normalisations) -> np.ndarray:
    """Scale the intensities of ``(C, k, j, i)`` step by step, each channel by itself or all of them
    together; float32.
    """
    result = array.astype(np.float32)
    around = functools.cache(lambda: body(array))  # computed only if a step needs it
    for step in steps(normalisation):
        if step.together:
            result = _normalised(result, step, around)
            continue
        for channel in range(len(result)) if step.channels is None else step.channels:
            result[channel] = _normalised(result[channel], step, around)
    return result


def normalise_unit(array: np.ndarray, normalisation: Normalisations) -> np.ndarray:
    """Normalise an image ``(C, k, j, i)`` that was scaled to 0..1 by ``normalisation.unit``."""
    array = array.astype(np.float32)
    for step in steps(unit(normalisation)):
        if step.kind == "fixed":
            for channel in range(len(array)) if step.channels is None else step.channels:
                array[channel] = array[channel] * step.std + step.mean
    return normalise(array, normalisation)


def body(array: np.ndarray) -> np.ndarray:
    """Where any channel of ``(C, k, j, i)`` is not 0, with holes filled; (k, j, i) bool."""
    return binary_fill_holes((array != 0).any(axis=0))


def _normalised(
    channel: np.ndarray, how: Normalisation, body: Callable[[], np.ndarray]
) -> np.ndarray:
    if how.kind == "none":
        return channel
    if how.kind == "fixed":
        return (np.clip(channel, how.lower, how.upper) - how.mean) / how.std
    if how.kind == "zscore":
        if how.within == "image":
            return _standardised(channel)
        channel, inside = channel.copy(), body() if how.within == "body" else channel != 0
        if inside.any():
            channel[inside] = _standardised(channel[inside])
        return channel
    if how.kind == "percentile":
        low, high = (np.float32(value) for value in np.percentile(channel, [how.lower, how.upper]))
    else:
        low, high = channel.min(), channel.max()
    return np.clip((channel - low) / max(float(high - low), 1e-8), 0, 1)


def _standardised(values: np.ndarray) -> np.ndarray:
    if np.abs(values).max() > SQUARED:
        values = values.astype(np.float64)
    return (values - values.mean()) / max(float(values.std()), 1e-8)
