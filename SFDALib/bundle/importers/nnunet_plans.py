"""nnU-Net's plans.json and dataset.json as a description. Standard library alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from SFDALib.bundle.importers.nnunet_network import expect, network, refuse
from SFDALib.bundle.parts import Fingerprint
from SFDALib.errors import RequestError
from SFDALib.volume.input_spec import InputSpec, Region, Resampling
from SFDALib.volume.normalisation import Normalisation

READERS = {
    "SimpleITKIO": None,
    "SimpleITKIOWithReorient": "RAS",
    "NibabelIO": None,
    "NibabelIOWithReorient": "RAS",
    "NaturalImage2DIO": None,
}
PICTURES = "NaturalImage2DIO"
MEASURED = ("percentile_00_5", "percentile_99_5", "mean", "std")
RESAMPLING = "resample_data_or_seg_to_shape"


@dataclass(frozen=True)
class Plans:
    """What the plans and the dataset description say of one configuration."""

    network: Mapping[str, Any]
    input_spec: InputSpec
    patch_size: tuple[int, ...]
    label_names: tuple[str, ...]
    modality: str
    fingerprint: tuple[Fingerprint, ...]


def read_plans(
    plans: Mapping[str, Any], dataset: Mapping[str, Any], name: str, where: str
) -> Plans:
    """Read the configuration ``name``.

    Raises:
        RequestError: no such configuration, or something in it that is not taken over, by name.
    """
    try:
        return _read(plans, dataset, name, where)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise RequestError(
            f"{where}: found plans that cannot be read ({error!r:.100}), expected those of nnU-Net"
            " v2 with their dataset.json; copy both from the folder of the trained model"
        ) from error


def _read(plans: Mapping[str, Any], dataset: Mapping[str, Any], name: str, where: str) -> Plans:
    configuration = resolved(plans["configurations"], name, where)
    if configuration.get("previous_stage"):
        refuse(where, "configuration", name, "one without a previous stage, such as 3d_fullres")
    expect(where, "preprocessor_name", configuration["preprocessor_name"], ("DefaultPreprocessor",))
    reader = plans["image_reader_writer"]
    expect(where, "image_reader_writer", reader, tuple(READERS))
    channels = dataset.get("channel_names", dataset.get("modality"))
    names, regions = read_labels(dataset, where)
    outputs = len(regions) or len(names) + 1
    patch_size = tuple(configuration["patch_size"])
    spacing: tuple[float | None, ...] = tuple(configuration["spacing"][::-1])
    if reader == PICTURES:  # in nnU-Net every picture has pixels of 1, whatever its file says
        if set(spacing) != {1}:
            refuse(where, "spacing of pictures", list(spacing), "1 along each axis")
        spacing = (None, None)
    i, j, *k = spacing
    return Plans(
        network=network(configuration, len(channels), outputs, where),
        input_spec=InputSpec(
            channels=len(channels),
            orientation=READERS[reader],
            spacing=(i, j, k[0] if k else None),
            normalisation=normalisation(plans, configuration, len(channels), where),
            is_2d=len(patch_size) == 2,
            axes=tuple(plans["transpose_forward"]),
            crop="nonzero",
            resampling=resampling(configuration, where),
            regions=regions,
        ),
        patch_size=patch_size,
        label_names=names,
        modality=", ".join(str(channel) for channel in channels.values()),
        fingerprint=() if reader == PICTURES else _fingerprint(plans, len(channels)),
    )


def resolved(
    configurations: Mapping[str, Mapping[str, Any]], name: str, where: str
) -> dict[str, Any]:
    """A configuration with what it inherits from others."""
    merged: dict[str, Any] = {}
    visited: list[str] = []
    parent: str | None = name
    while parent is not None:
        if parent not in configurations or parent in visited:
            refuse(where, "configuration", parent, " or ".join(configurations)[:300])
        visited.append(parent)
        merged = {**configurations[parent], **merged}
        parent = configurations[parent].get("inherits_from")
    return merged


def normalisation(
    plans: Mapping[str, Any], configuration: Mapping[str, Any], channels: int, where: str
) -> Normalisation | tuple[Normalisation, ...]:
    """How each channel is scaled."""
    schemes, masks = configuration["normalization_schemes"], configuration["use_mask_for_norm"]
    by_channel = _intensities(plans)
    steps = tuple(
        _channel(schemes[c], masks[c], by_channel.get(str(c), {}), c, channels, where)
        for c in range(channels)
    )
    return steps if channels > 1 else steps[0]


def _intensities(plans: Mapping[str, Any]) -> Mapping[str, Mapping[str, float]]:
    """What nnU-Net has measured inside the labels of its training images, by channel."""
    by_channel = plans.get("foreground_intensity_properties_per_channel")
    return by_channel or plans.get("foreground_intensity_properties_by_modality") or {}


def _fingerprint(plans: Mapping[str, Any], channels: int) -> tuple[Fingerprint, ...]:
    """The intensities of every channel; empty where one is not measured."""
    measured = [_intensities(plans).get(str(channel)) for channel in range(channels)]
    every: list[dict[str, Any]] = [
        one for one in measured if isinstance(one, dict) and set(MEASURED) <= set(one)
    ]
    if len(every) < channels:
        return ()
    return tuple(
        Fingerprint(
            float(one["percentile_00_5"]),
            float(one.get("median", one["mean"])),
            float(one["percentile_99_5"]),
            float(one["mean"]),
            float(one["std"]),
        )
        for one in every
    )


def _channel(
    scheme: str, masked: bool, properties: Mapping[str, float], c: int, channels: int, where: str
) -> Normalisation:
    only = (c,) if channels > 1 else None
    if scheme == "CTNormalization":
        return Normalisation(
            "fixed",
            lower=float(properties["percentile_00_5"]),
            upper=float(properties["percentile_99_5"]),
            mean=float(properties["mean"]),
            std=max(float(properties["std"]), 1e-8),
            channels=only,
        )
    known = {
        "ZScoreNormalization": Normalisation("zscore", within="body" if masked else "image"),
        "RescaleTo01Normalization": Normalisation("minmax"),
        "RGBTo01Normalization": Normalisation("fixed", lower=0.0, upper=255.0, std=255.0),
        "NoNormalization": Normalisation("none"),
    }
    expect(where, "normalization_schemes", scheme, ("CTNormalization", *known))
    return Normalisation(**{**vars(known[scheme]), "channels": only})


def resampling(configuration: Mapping[str, Any], where: str) -> Resampling:
    """How an image comes to the plans' spacing, and logits back."""
    for what in ("data", "probabilities"):
        expect(
            where, f"resampling_fn_{what}", configuration[f"resampling_fn_{what}"], (RESAMPLING,)
        )
    image = configuration["resampling_fn_data_kwargs"]
    back = configuration["resampling_fn_probabilities_kwargs"]
    expect(where, "resampling order of probabilities", back["order"], (1,))
    for values in (image, back):
        expect(where, "resampling order_z", values["order_z"], (0,))
        expect(where, "resampling force_separate_z", values["force_separate_z"], (None, False))
    if image["force_separate_z"] != back["force_separate_z"]:
        refuse(where, "force_separate_z", image["force_separate_z"], "one value both ways")
    return Resampling(
        order=image["order"],
        smooth=False,
        normalised=True,
        separate_z=image["force_separate_z"] is None,
        maps="logits",
    )


def read_labels(
    dataset: Mapping[str, Any], where: str
) -> tuple[tuple[str, ...], tuple[Region, ...]]:
    """The names of labels 1, 2, 3, ..., and the regions, if the model has overlapping ones."""
    named = {
        name: v for name, v in dataset["labels"].items() if name not in ("background", "ignore")
    }
    if any(isinstance(value, list) and len(value) > 1 for value in named.values()):
        order = dataset["regions_class_order"]
        sets = {n: {*v} if isinstance(v, list) else {v} for n, v in named.items()}
        names = dict(zip(order, _rests(sets), strict=True))
        regions = tuple(Region(channel, label) for channel, label in enumerate(order))
    else:
        names = {(v[0] if isinstance(v, list) else int(v)): n for n, v in named.items()}
        regions = ()
    if sorted(names) != list(range(1, len(names) + 1)):
        refuse(where, "labels", sorted(names), "1, 2, 3, ... without gaps")
    return tuple(names[value] for value in sorted(names)), regions


def _rests(sets: Mapping[str, set[int]]) -> list[str]:
    """What is left of each region when the later ones are painted over it, in words."""
    names = list(sets)
    rests = []
    for index, name in enumerate(names):
        inner = [other for other in names[index + 1 :] if sets[other] < sets[name]]
        inner = [one for one in inner if not any(sets[one] < sets[other] for other in inner)]
        rests.append(f"{name} outside {' and '.join(inner)}" if inner else name)
    return rests
