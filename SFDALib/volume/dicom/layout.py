"""The order of a stack's slices, and the grid that they fill.

Slices are ordered by their positions along the normal, not by their Instance Numbers. Where slices
are shifted within their plane (a tilted gantry, a moved table), the grid has right angles and
encloses all of them, and each slice is moved to its place on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SFDALib.errors import RequestError
from SFDALib.volume.dicom.frames import Frame
from SFDALib.volume.geometry import Geometry, float_triple
from SFDALib.volume.reading import Reading
from SFDALib.volume.refusals import stated_spacing

UNEVEN = 0.1  # largest deviation from even spacing, as a share of the distance between slices
SHIFT = 0.25  # pixels; slices with smaller shifts within their plane are not moved
GROWTH = 3  # largest factor by which the enclosing grid may have more pixels than a slice
SAME_PLACE = 0.01  # share of the distance between slices within which positions are equal


@dataclass(frozen=True)
class Layout:
    """Slices in order, and their grid.

    Args:
        frames: in the order of K.
        geometry: the grid.
        shifts: (K, 2); pixels along I, J from the grid's first pixel to the slice's; None where all
            are 0.
        notes: for the user.
    """

    frames: tuple[Frame, ...]
    geometry: Geometry
    shifts: np.ndarray | None
    notes: tuple[str, ...]


def lay_out(frames: Sequence[Frame], path: Path, reading: Reading) -> Layout:
    """Put the slices of one stack in order.

    Raises:
        RequestError: they are not one evenly spaced stack, or their positions or the size of their
            pixels are missing.
    """
    notes: list[str] = []
    if any(frame.position is None or frame.axes is None for frame in frames):
        return _by_number(frames, path, reading)
    orientation = frames[0].axes or ()
    axes = np.array(orientation).reshape(2, 3)
    if not np.allclose(axes @ axes.T, np.eye(2), atol=1e-3):
        raise RequestError(
            f"{path}: found the image orientation {list(orientation)}, expected two unit vectors"
            " at a right angle; export the series again"
        )
    in_plane = frames[0].spacing
    picture = len(frames) == 1
    stated = None
    if in_plane is None:
        words = "found no Pixel Spacing in the DICOM file"
        stated, note = stated_spacing(path, reading, words, picture)
        in_plane = stated[:2]
        notes.append(note)
    axes = _orthonormal(axes)
    normal = np.cross(*axes)
    places = np.array([frame.position for frame in frames])
    order = np.argsort(places @ normal, kind="stable")
    frames, places = tuple(frames[k] for k in order), places[order]
    step = _step(frames, places @ normal, path)
    if step is None:
        step = stated[2] if stated else frames[0].thickness or 1.0
    off = (places - places[0]) @ axes.T / np.array(in_plane)
    shifts, size, origin = None, frames[0].size, places[0]
    if np.abs(off).max() > SHIFT:
        lowest = np.floor(off.min(axis=0) + 1e-6)
        shifts = off - lowest
        furthest = np.ceil(shifts.max(axis=0) - 1e-6)
        size = (size[0] + int(furthest[0]), size[1] + int(furthest[1]))
        if np.prod(size) > GROWTH * np.prod(frames[0].size):
            raise RequestError(
                f"{path}: found slices up to {np.ptp(off * in_plane, axis=0).max():.3g} mm apart"
                " within their plane, expected them above each other; they belong to several scans"
            )
        origin = origin + (lowest * in_plane) @ axes
        notes.append(_shear_note(off * in_plane, step))
    geometry = Geometry(
        (*size, len(frames)),
        float_triple((*in_plane, step)),
        float_triple(origin),
        tuple(float(x) for x in np.column_stack([*axes, normal]).ravel()),
    )
    return Layout(frames, geometry, shifts, tuple(notes))


def _shear_note(shifts_mm: np.ndarray, step: float) -> str:
    """A note that says whether the shifts are those of a tilted gantry (a shear), or irregular."""
    slope = (shifts_mm[-1] - shifts_mm[0]) / (len(shifts_mm) - 1)
    even = np.abs(shifts_mm - slope * np.arange(len(shifts_mm))[:, None]).max() < 0.5
    degrees = np.rad2deg(np.arctan2(np.linalg.norm(slope), step))
    how = f"tilted by {degrees:.3g} degrees (gantry tilt)" if even else "shifted in their plane"
    return (
        f"The slices are {how}; they were moved to a grid with right angles by linear"
        " interpolation. The results are on that grid, too."
    )


def _step(frames: Sequence[Frame], along: np.ndarray, path: Path) -> float | None:
    """mm from slice to slice; None for a single slice.

    Args:
        along: positions along the normal, mm, ascending.
    """
    if len(along) == 1:
        return None
    gaps = np.diff(along)
    step = (along[-1] - along[0]) / (len(along) - 1)
    if gaps.min() <= SAME_PLACE * max(step, 1e-3):
        at = int(gaps.argmin())
        count = int((gaps <= SAME_PLACE * max(step, 1e-3)).sum())
        raise RequestError(
            f"{path}: found {count + 1} or more images at the same position (such as"
            f" {_name(frames[at])} and {_name(frames[at + 1])}), expected one image at each"
            " position; they are copies, or several volumes (time points, echoes) that no field"
            " distinguishes: put one volume into a folder of its own"
        )
    deviation = along - along[0] - step * np.arange(len(along))
    if np.ptp(deviation) / 2 > UNEVEN * step or np.abs(deviation).max() > 2 * UNEVEN * step:
        raise RequestError(
            f"{path}: found slices {gaps.min():.3g} to {gaps.max():.3g} mm apart, expected an"
            " even spacing; some are missing or belong to another scan: export the whole series"
        )
    return step


def _name(frame: Frame) -> str:
    return frame.path.name if frame.index is None else f"image {frame.index + 1}"


def _by_number(frames: Sequence[Frame], path: Path, reading: Reading) -> Layout:
    """Slices without positions: ordered by Instance Number, with the spacing stated by the user."""
    if len(frames) == 1:  # a picture: an X-ray, an ultrasound frame
        size = (*frames[0].size, 1)
        if (found := frames[0].spacing) is not None:
            spacing = float_triple((*found, frames[0].thickness or 1.0))
            return Layout(tuple(frames), Geometry(size, spacing), None, ())
        words = "found no Pixel Spacing in the DICOM file"
        spacing, note = stated_spacing(path, reading, words, picture=True)
        return Layout(tuple(frames), Geometry(size, spacing), None, (note,))
    words = "found images without Image Position and Orientation"
    spacing, note = stated_spacing(path, reading, words)
    numbers = {frame.number: frame for frame in frames if frame.number is not None}
    if len(numbers) < len(frames):
        raise RequestError(
            f"{path}: {words} and without different Instance Numbers, expected one or the other;"
            " export the series again"
        )
    ordered = tuple(numbers[number] for number in sorted(numbers))
    note += " The images are in the order of their Instance Numbers; left and right are assumed."
    return Layout(ordered, Geometry((*frames[0].size, len(frames)), spacing), None, (note,))


def _orthonormal(axes: np.ndarray) -> np.ndarray:
    """The nearest two unit vectors at a right angle (polar decomposition)."""
    if np.abs(axes @ axes.T - np.eye(2)).max() < 1e-6:
        return axes / np.linalg.norm(axes, axis=1, keepdims=True)
    left, _, right = np.linalg.svd(axes, full_matrices=False)
    return left @ right
