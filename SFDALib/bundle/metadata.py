"""A description as the JSON of a bundle, both ways: configs/metadata.json and inference.json.

Standard library alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from SFDALib.bundle import postprocessing
from SFDALib.bundle.bundle_files import INFERENCE, METADATA
from SFDALib.bundle.description import ENSEMBLE_LIMIT, WINDOWS, Description
from SFDALib.bundle.labels import read_labels
from SFDALib.bundle.parts import (
    Sliding,
    read_at_home,
    read_cautions,
    read_diffusion,
    read_early_head,
    read_fingerprint,
    read_sliding,
)
from SFDALib.bundle.spec_fields import spec_from_json, spec_to_json
from SFDALib.errors import RequestError
from SFDALib.json_fields import Fields
from SFDALib.networks import catalogue


def to_json(description: Description) -> tuple[dict[str, Any], dict[str, Any]]:
    """The contents of metadata.json and inference.json."""
    sfda = {
        "modality": description.modality,
        "labels": [asdict(label) for label in description.labels],
        **spec_to_json(description.input_spec),
        "patch_size": list(description.patch_size),
        "temperature": description.temperature,
        "early_head": asdict(description.early_head) if description.early_head else None,
        "diffusion": None,
        "provenance": dict(description.provenance),
    }
    inference: dict[str, Any] = {"network_def": dict(description.network)}
    if description.diffusion:
        diffusion = asdict(description.diffusion)
        inference["diffusion_def"] = diffusion.pop("network")
        sfda["diffusion"] = diffusion
    if description.windows != "dense":
        sfda["windows"] = description.windows
    if description.sliding != Sliding():
        sfda["sliding"] = asdict(description.sliding)
    if description.fingerprint:
        sfda["fingerprint"] = [asdict(channel) for channel in description.fingerprint]
    if description.at_home:
        sfda["at_home"] = asdict(description.at_home)
    if description.cautions:
        sfda["cautions"] = list(description.cautions)
    if description.postprocessing:
        sfda["postprocessing"] = list(description.postprocessing)
    if description.mirror_axes is not None:
        sfda["mirror_axes"] = list(description.mirror_axes)
    if description.ensemble > 1:
        sfda["ensemble"] = description.ensemble
    metadata = _monai_metadata(description) | {"sfda": sfda}
    return metadata, inference


def _monai_metadata(description: Description) -> dict[str, Any]:
    """MONAI's own fields, but for the versions of what writes them."""
    channels = description.input_spec.channels
    outputs = description.network["out_channels"]  # a binary model may have 1 or 2
    names = {label.value: label.name for label in description.labels}
    if regions := description.input_spec.regions:
        channels_of = {region.channel: names[region.label] for region in regions}
    elif outputs > 1:
        channels_of = {0: "background"} | names
    else:
        channels_of = {0: names[1]}
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": description.modality,
        "num_channels": channels,
        "spatial_shape": list(description.patch_size),
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": True,
        "channel_def": {str(index): "image" for index in range(channels)},
    }
    prediction = {
        "type": "image",
        "format": "labels" if outputs > 1 else "segmentation",
        "modality": "n/a",
        "num_channels": outputs,
        "spatial_shape": list(description.patch_size),
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": True,
        "channel_def": {str(channel): channels_of[channel] for channel in sorted(channels_of)},
    }
    return {
        "version": "1.0.0",
        "changelog": {"1.0.0": "written by SFDALib"},
        "name": description.name,
        "task": f"Segmentation of {', '.join(label.name for label in description.labels)}",
        "description": f"{description.name}. Source model for source-free domain adaptation.",
        "authors": "see docs/README.md",
        "copyright": description.licence,
        "intended_use": "Research only; not a medical device.",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": prediction}},
    }


def from_json(metadata: object, inference: object) -> Description:
    """Check both files and make a description of them.

    Raises:
        RequestError: naming file, field, what was found and what was expected.
    """
    networks = Fields(inference, INFERENCE)
    top = Fields(metadata, METADATA)
    sfda = Fields(top.get("sfda", dict), f"{METADATA}, sfda")
    definition = catalogue.check_definition(
        networks.values.get("network_def"), catalogue.SEGMENTATION, f"{INFERENCE}, network_def"
    )
    patch_size = _patch_size(sfda, definition)
    labels = read_labels(sfda)
    description = Description(
        name=top.get("name", str),
        modality=sfda.get("modality", str),
        network=definition,
        input_spec=spec_from_json(sfda, _image_channels(top), len(patch_size) == 2, len(labels)),
        patch_size=patch_size,
        labels=labels,
        windows=sfda.choice("windows", WINDOWS, "dense"),
        sliding=read_sliding(sfda),
        mirror_axes=sfda.axes("mirror_axes", tuple(range(len(patch_size))), whole=False),
        ensemble=sfda.get("ensemble", int, 1),
        temperature=float(sfda.number("temperature", 1.0)),
        early_head=read_early_head(sfda),
        diffusion=read_diffusion(sfda, networks),
        provenance=sfda.get("provenance", dict, {}),
        licence=top.get("copyright", str, "see LICENSE"),
        fingerprint=read_fingerprint(sfda),
        at_home=read_at_home(sfda),
        cautions=read_cautions(sfda),
        postprocessing=_postprocessing(sfda),
    )
    _check_network(description, sfda.where)
    _check_conditions(description)
    return description


def _postprocessing(sfda: Fields) -> tuple[str, ...]:
    """The steps that the bundle asks for."""
    given = sfda.get("postprocessing", list, [])
    return postprocessing.ordered(map(str, given), f'{sfda.where}, field "postprocessing"')


def _patch_size(sfda: Fields, definition: Mapping[str, Any]) -> tuple[int, ...]:
    """The patch size in voxels: a multiple of the network's divisor along each dimension."""
    patch_size = sfda.get("patch_size", list)
    if len(patch_size) not in (2, 3) or len(patch_size) != definition.get("spatial_dims"):
        raise RequestError(
            f'{sfda.where}, field "patch_size": found {patch_size!r:.80}, expected one number for'
            f" each of the network's {definition.get('spatial_dims')!r:.80} dimensions; correct it"
        )
    patch_size = sfda.numbers("patch_size", len(patch_size))
    divisor = catalogue.divisor(definition, f"{INFERENCE}, network_def")
    if not all(type(n) is int and n % d == 0 for n, d in zip(patch_size, divisor, strict=True)):
        raise RequestError(
            f'{sfda.where}, field "patch_size": found {list(patch_size)}, expected whole numbers'
            f" that are multiples of {_few(divisor)}, as the network needs; correct it"
        )
    return patch_size


def _check_network(description: Description, where: str) -> None:
    """Channels, labels and regions are those of the network; ``where`` names the file's part."""
    definition = description.network
    if definition.get("in_channels") != description.input_spec.channels:
        raise RequestError(
            f'{METADATA}, network_data_format, inputs, image, field "num_channels":'
            f" found {description.input_spec.channels}, expected"
            f" {definition.get('in_channels')!r:.80} as in {INFERENCE}, network_def;"
            " correct one of them"
        )
    if not 1 <= description.ensemble <= ENSEMBLE_LIMIT:
        raise RequestError(
            f'{where}, field "ensemble": found {description.ensemble}, expected 1 to'
            f" {ENSEMBLE_LIMIT}; correct it"
        )
    if definition.get("out_channels") not in _possible_outputs(description):
        raise RequestError(
            f"{METADATA}: found {len(description.labels)} label(s), expected as many as"
            " the network's"
            f" {definition.get('out_channels')} output channel(s) say; correct the labels"
        )
    outputs = definition["out_channels"]
    if any(region.channel >= outputs for region in description.input_spec.regions):
        raise RequestError(
            f'{where}, field "regions": found a channel beyond the network\'s {outputs}'
            " output(s), expected their numbers from 0; correct it"
        )


def _few(divisor: tuple[int, ...]) -> str:
    return ", ".join(map(str, divisor)) if len(set(divisor)) > 1 else str(divisor[0])


def _possible_outputs(description: Description) -> tuple[int, ...]:
    """Output channels that a network of this description may have."""
    if description.input_spec.regions:  # perhaps the background as another one
        return (len(description.labels), len(description.labels) + 1)
    return (1, 2) if description.classes == 2 else (description.classes,)


def _image_channels(top: Fields) -> int:
    where = f"{METADATA}, network_data_format"
    inputs = Fields(
        Fields(top.get("network_data_format", dict), where).get("inputs", dict), f"{where}, inputs"
    )
    image = Fields(inputs.get("image", dict), f"{inputs.where}, image")
    channels = image.get("num_channels", int)
    if channels < 1:
        raise RequestError(
            f'{image.where}, field "num_channels": found {channels}, expected at least 1'
        )
    return channels


def _check_conditions(description: Description) -> None:
    """The diffusion network sees the image, a mask of each label and perhaps the body."""
    if description.diffusion is None:
        return
    network = description.diffusion.network
    expected = {
        "spatial_dims": description.spatial_dims,
        "image_channels": description.input_spec.channels,
        "condition_channels": len(description.labels) + description.diffusion.foreground,
    }
    for key, value in expected.items():
        if network.get(key) != value:
            raise RequestError(
                f'{INFERENCE}, diffusion_def, field "{key}": found {network.get(key)!r:.80},'
                f" expected {value} as {METADATA} says; correct one of them"
            )
