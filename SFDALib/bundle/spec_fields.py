"""The fields of a bundle's metadata that hold an ``InputSpec``, both ways.

Standard library alone.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from SFDALib.errors import RequestError
from SFDALib.json_fields import Fields
from SFDALib.volume.cleaning import Cleaning, check_cleaning
from SFDALib.volume.input_spec import CROPS, InputSpec, Region, Resampling
from SFDALib.volume.normalisation import Normalisation, steps

ORIENTATIONS = ("LR", "PA", "SI")
SIZE_LIMIT = 1 << 16  # voxels along an axis


def spec_to_json(spec: InputSpec) -> dict[str, Any]:
    """The fields of a specification; optional ones are left out where they have their defaults."""
    values: dict[str, Any] = {
        "orientation": spec.orientation,
        "spacing": list(spec.spacing),
        "normalisation": normalisation_to_json(spec),
    }
    if spec.axes != (0, 1, 2):
        values["axes"] = list(spec.axes)
    if spec.crop is not None:
        values["crop"] = spec.crop
    if spec.resampling != Resampling():
        values["resampling"] = asdict(spec.resampling)
    if spec.regions:
        values["regions"] = [asdict(region) for region in spec.regions]
    if spec.size is not None:
        values["size"] = list(spec.size)
    if spec.threshold is not None:
        values["threshold"] = spec.threshold
    if spec.cleaning:
        values["cleaning"] = [asdict(step) for step in spec.cleaning]
    return values


def normalisation_to_json(spec: InputSpec) -> dict[str, Any] | list[dict[str, Any]]:
    """One normalisation as an object, steps as a list of them."""
    every = [step.to_dict() for step in steps(spec.normalisation)]
    return every if isinstance(spec.normalisation, tuple) else every[0]


def spec_from_json(sfda: Fields, channels: int, slices: bool, labels: int) -> InputSpec:
    """The specification in the fields, checked.

    Args:
        channels: of the image.
        slices: whether the network is 2D.
        labels: how many there are.

    Raises:
        RequestError: naming the field, what was found and what was expected.
    """
    orientation = sfda.get("orientation", str, None)
    if orientation is not None and sorted(
        next((pair for pair in ORIENTATIONS if letter in pair), "") for letter in orientation
    ) != sorted(ORIENTATIONS):
        raise RequestError(
            f'{sfda.where}, field "orientation": found "{orientation:.20}", expected three letters'
            ' such as "LPS" or null; correct it'
        )
    return InputSpec(
        channels=channels,
        orientation=orientation,
        spacing=sfda.numbers("spacing", 3, missing=True),
        normalisation=_normalisation(sfda, channels),
        is_2d=slices,
        axes=sfda.axes("axes", (0, 1, 2), whole=True),
        crop=sfda.choice("crop", CROPS, None),
        resampling=Resampling.from_dict(
            sfda.get("resampling", dict, {}), f"{sfda.where}, resampling"
        ),
        regions=_regions(sfda, labels),
        size=_size(sfda),
        threshold=_threshold(sfda),
        cleaning=_cleaning(sfda),
    )


def _size(sfda: Fields) -> tuple[int | None, int | None, int | None] | None:
    size = sfda.numbers("size", 3, None, missing=True)
    if size and not all(n is None or (type(n) is int and n < SIZE_LIMIT) for n in size):
        raise RequestError(
            f'{sfda.where}, field "size": found {list(size)!r:.80}, expected three whole numbers'
            f" below {SIZE_LIMIT} or null; correct it"
        )
    return size


def _threshold(sfda: Fields) -> float | None:
    threshold = sfda.number("threshold", None)
    if threshold is not None and not 0 < threshold < 1:
        raise RequestError(
            f'{sfda.where}, field "threshold": found {threshold!r:.40}, expected a probability'
            " between 0 and 1; correct it"
        )
    return threshold


def _cleaning(sfda: Fields) -> tuple[Cleaning, ...]:
    found = []
    for index, values in enumerate(sfda.get("cleaning", list, [])):
        one = Fields(values, f"{sfda.where}, cleaning[{index}]")
        step = Cleaning(
            one.get("transform", str),
            one.get("arguments", dict, {}),
            one.get("on", str, "input"),
            one.get("one_hot", bool, False),
        )
        found.append(check_cleaning(step, one.where))
    return tuple(found)


def _normalisation(sfda: Fields, channels: int) -> Normalisation | tuple[Normalisation, ...]:
    """One normalisation, or a list of steps."""
    values = sfda.get("normalisation", (dict, list))
    where = f"{sfda.where}, normalisation"
    every = values if isinstance(values, list) else [values]
    if not every or not all(isinstance(step, dict) for step in every):
        raise RequestError(f"{where}: found {values!r:.80}, expected a list of objects; correct it")
    found = tuple(Normalisation.from_dict(step, where) for step in every)
    for step in found:
        if step.channels and max(step.channels) >= channels:
            raise RequestError(
                f"{where}: found channel {max(step.channels)}, expected 0 to {channels - 1};"
                " correct it"
            )
    return found if isinstance(values, list) else found[0]


def _regions(sfda: Fields, labels: int) -> tuple[Region, ...]:
    """Regions in the order in which they are painted: one for each label, each of a channel of its
    own. One channel may be left over: some models have the background as a region, too.
    """
    regions = []
    for index, values in enumerate(sfda.get("regions", list, [])):
        one = Fields(values, f"{sfda.where}, regions[{index}]")
        regions.append(Region(one.get("channel", int), one.get("label", int)))
    channels, painted = ([getattr(r, name) for r in regions] for name in ("channel", "label"))
    if regions and (
        len(set(channels)) < labels
        or not set(channels) <= set(range(labels + 1))
        or sorted(painted) != list(range(1, labels + 1))
    ):
        raise RequestError(
            f'{sfda.where}, field "regions": found the channels {channels!r:.60} and labels'
            f" {painted!r:.60}, expected channels from 0 and labels from 1, each once; correct it"
        )
    return tuple(regions)
