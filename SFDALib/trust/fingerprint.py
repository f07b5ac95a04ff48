"""Whether an image's intensities are like those that a model was trained on.

The model's fingerprint has the range of the intensities inside the labels of its training images.
Reported, but never corrected, are errors of practice: Hounsfield units with an offset or another
scale, an inverted image, an export to 8 bits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from SFDALib.bundle.description import Description, Fingerprint
from SFDALib.volume.normalisation import steps

SAMPLES = 200_000  # voxels of an image that are used
LEAST_SHARE = 0.001  # of an image's voxels that must lie in the fingerprint's range
AIR = -200  # HU; a CT has smaller values, that of air being about -1000
BRIGHT = 0.75  # of an image's range; the air around a body is darker than this
BYTE = (254, 255)  # the largest value of an image that was scaled to 8 bits
COLOURS = ("fixed", 0.0, 255.0, 0.0, 255.0)
ADVICE = "The model was trained on other intensities; check the image before you use the result."


def unlike(array: Sequence[np.ndarray], description: Description) -> list[str]:
    """A sentence with advice for each channel of an image that does not fit.

    The range of intensities is only compared where the model takes them as they are (as for CT),
    not where it scales each image by its own intensities.

    Args:
        array: ``(C, K, J, I)``.
        description: of the model.
    """
    names = description.modality.split(", ")
    found = _beyond_colours(array, description)
    for channel, fingerprint in enumerate(description.fingerprint[: len(array)]):
        modality = names[channel] if len(names) == len(array) else description.modality
        why = _unlike(array[channel], fingerprint, _is_absolute(description, channel), modality)
        if why:
            which = f"Channel {channel}" if len(array) > 1 else "The image"
            found.append(f"{which} {why}. {ADVICE}")
    return found


def _beyond_colours(array: Sequence[np.ndarray], description: Description) -> list[str]:
    """Values outside 0 to 255, for models of colour pictures, which clip them."""
    for step in steps(description.input_spec.normalisation):
        if (step.kind, step.lower, step.upper, step.mean, step.std) == COLOURS:
            least = min(float(channel.min()) for channel in array)
            most = max(float(channel.max()) for channel in array)
            if least < step.lower or most > step.upper:
                return [
                    f"The image has values from {least:.5g} to {most:.5g}, where the model takes 0"
                    f" to 255 and what lies beyond is cut off. {ADVICE}"
                ]
    return []


def measured(samples: Sequence[np.ndarray]) -> Fingerprint | None:
    """The fingerprint of the intensities inside the labels of all images; None without any."""
    flat = [np.asarray(one, np.float64).ravel() for one in samples]
    if not any(one.size for one in flat):
        return None
    values = np.concatenate(flat)
    low, median, high = np.percentile(values, [0.5, 50, 99.5])
    numbers = (low, median, high, values.mean(), values.std())
    return Fingerprint(*(float(f"{number:.6g}") for number in numbers))


def _is_absolute(description: Description, channel: int) -> bool:
    """Whether the model takes a channel's intensities as they are, without scaling each image."""
    first = next(
        step
        for step in steps(description.input_spec.normalisation)
        if step.channels is None or channel in step.channels
    )
    return first.kind in ("fixed", "none")


def _unlike(channel: np.ndarray, known: Fingerprint, absolute: bool, modality: str) -> str | None:
    """What does not fit in one channel; None if nothing was found."""
    values = channel.reshape(-1)[:: max(1, channel.size // SAMPLES)].astype(np.float64)
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    least, most = float(values.min()), float(values.max())
    if _is_inverted(channel, values):
        return (
            f"seems to be inverted: at its borders it is {_border(channel):.5g}, brighter than most"
            " of it"
        )
    whole = bool((values == np.round(values)).all())
    if whole and least >= 0 and most in BYTE and (known.high > 300 or known.low < -50):
        return (
            f"has whole numbers from {least:.0f} to {most:.0f}, as an export to 8 bits, where the"
            f" training images have {known.low:.5g} to {known.high:.5g} inside the labels"
        )
    if absolute and re.search(r"\bCT\b", modality, re.IGNORECASE) and least > AIR:
        return (
            f"has {least:.5g} as smallest value, where a CT has about -1000 for air: its numbers"
            " are no Hounsfield units, or have an offset or a window"
        )
    share = float(((values >= known.low) & (values <= known.high)).mean())
    if absolute and share < LEAST_SHARE:
        return (
            f"has {100 * share:.2g} % of its voxels from {known.low:.5g} to {known.high:.5g}, where"
            " 99 % of the labelled voxels of the training images are"
        )
    return None


def _border(channel: np.ndarray) -> float:
    """The median of the voxels at the four borders of all slices."""
    sides = (channel[:, 0], channel[:, -1], channel[:, :, 0], channel[:, :, -1])
    return float(np.median(np.concatenate([side.ravel() for side in sides])))


def _is_inverted(channel: np.ndarray, values: np.ndarray) -> bool:
    """Whether the borders, around the body, are among the brightest parts of a volume."""
    if min(channel.shape) < 2:
        return False
    low, high = np.percentile(values, [1, 99])
    return bool(high > low and _border(channel) > low + BRIGHT * (high - low))
