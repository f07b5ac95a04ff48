"""Import a published MONAI bundle: its network and preprocessing, read as data.

``@name`` is looked up in the configuration itself. Nothing is evaluated: an expression (``$``) that
decides the network or the preprocessing is refused, with every transform that is not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from SFDALib.bundle.description import Description
from SFDALib.bundle.importers.imported import (
    Imported,
    assembled,
    labels,
    read_bytes,
    read_json,
)
from SFDALib.bundle.importers.monai_transforms import Configuration, Preprocessing, transform_name
from SFDALib.bundle.source import state_dict, unpickle
from SFDALib.errors import RequestError
from SFDALib.networks import catalogue
from SFDALib.volume.specification import Region

CONFIGURATIONS = ("configs/inference.json", "configs/evaluate.json", "configs/train.json")
METADATA, MODEL = "configs/metadata.json", "models/model.pt"
# Classes of the allow-list under their other names
ALIASES = {name.rsplit(".", 1)[-1]: name for name in catalogue.SEGMENTATION if "monai" in name}
NESTED = ("whole tumor", "tumor core", "enhancing tumor")  # of BraTS, from outside to inside


def is_bundle(path: Path) -> bool:
    """Whether it is a folder of a MONAI bundle."""
    return (path / METADATA).is_file()


def read(folder: Path, region_order: Sequence[str] = ()) -> Imported:
    """Read a bundle folder.

    Args:
        region_order: of a model with overlapping regions, their names as in its metadata in the
            order in which they are painted, the outermost first.

    Raises:
        RequestError: something is missing or damaged, or decides the result and is not known.
    """
    folder = Path(folder)
    metadata = read_json(folder / METADATA)
    file = next((folder / name for name in CONFIGURATIONS if (folder / name).is_file()), None)
    if file is None:
        raise RequestError(f"{folder}: found none of {', '.join(CONFIGURATIONS)}, expected one")
    config = Configuration(read_json(file), str(file))
    definition = network(config)
    names, modality = _outputs(metadata, definition, str(folder))
    regions: tuple[Region, ...] = ()
    if _activation(config) == "sigmoid" and definition["out_channels"] > 1:
        regions, names = _regions(names, region_order, str(folder))
    elif definition["out_channels"] > 1:
        names = names[1:]
    preprocessing = Preprocessing(config, int(definition["in_channels"]))
    description = Description(
        name=str(metadata.get("name", folder.name)),
        modality=modality,
        network=definition,
        grid=preprocessing.grid(regions),
        patch_size=_patch_size(config, metadata, definition),
        labels=labels(names),
        windows="even",  # a smaller image is padded with zeros, as by MONAI's inferers
        provenance={
            "import": {"from": "MONAI bundle", "version": str(metadata.get("version", "unknown"))}
        },
        licence=str(metadata.get("copyright", "see LICENSE")).splitlines()[0],
    )
    where = f"{folder}: {MODEL}"
    weights = state_dict(unpickle(read_bytes(folder / MODEL), where), where)
    imported = assembled(description, [weights], [where], str(folder))
    return Imported(imported.description, imported.weights, _documents(folder))


def network(config: Configuration) -> dict[str, Any]:
    """The bundle's ``network_def``, with names and arguments as our allow-list has them."""
    definition = config.get("network_def") or config.get("network")
    if not isinstance(definition, dict) or "_target_" not in definition:
        raise RequestError(
            f"{config.where}: found no network_def, expected a network with its arguments"
        )
    definition = dict(definition)
    name = str(definition["_target_"]).removeprefix("monai.networks.nets.").rsplit(".", 1)[-1]
    definition["_target_"] = ALIASES.get(name, definition["_target_"])
    for key in ("_mode_", "_desc_", "_disabled_"):
        definition.pop(key, None)
    definition.setdefault("spatial_dims", 3)
    catalogue.check_definition(definition, ALIASES.values(), f"{config.where}, network_def")
    if definition["spatial_dims"] != 3 or not all(
        type(definition.get(key)) is int for key in ("in_channels", "out_channels")
    ):
        raise RequestError(
            f"{config.where}, network_def: found {definition!r:.120}, expected a 3D network with"
            " in_channels and out_channels; 2D bundles cannot be imported"
        )
    return definition


def _activation(config: Configuration) -> str:
    """ "sigmoid" or "softmax", as the postprocessing says."""
    value = config.values.get("postprocessing", config.values.get("post_transforms"))
    transforms = value.get("transforms", []) if isinstance(value, dict) else []
    for one in transforms if isinstance(transforms, list) else []:
        if transform_name(one) == "Activationsd":
            if config.plain(one.get("sigmoid", False), "postprocessing") is True:
                return "sigmoid"
            return "softmax"
    raise RequestError(
        f"{config.where}: found no Activationsd in the postprocessing, expected it to say whether"
        " the outputs are a softmax or sigmoids; add it"
    )


def _outputs(
    metadata: Mapping[str, Any], definition: Mapping[str, Any], where: str
) -> tuple[list[str], str]:
    """The names of the output channels, and the image's modality."""
    try:
        formats = metadata["network_data_format"]
        image = next(iter(formats["inputs"].values()))
        defined = next(iter(formats["outputs"].values())).get("channel_def", {})
        names = [str(defined[str(index)]) for index in range(len(defined))]
        modality = str(image.get("modality", "unknown"))
    except (KeyError, TypeError, AttributeError, StopIteration) as error:
        raise RequestError(
            f"{where}: {METADATA}: found no {error}, expected network_data_format with inputs and"
            " outputs, whose channel_def names the channels; add it"
        ) from error
    if len(names) != definition["out_channels"]:
        raise RequestError(
            f"{where}: {METADATA}: found {len(names)} names in channel_def, expected one for each"
            f" of the network's {definition['out_channels']} outputs; correct it"
        )
    return names, modality


def _regions(
    names: Sequence[str], order: Sequence[str], where: str
) -> tuple[tuple[Region, ...], list[str]]:
    """Regions in the order of painting, and the names of labels 1, 2, 3, ..."""
    known = {name.lower(): channel for channel, name in enumerate(names)}
    wanted = [name.strip().lower() for name in order or NESTED]
    if sorted(wanted) != sorted(known):
        raise RequestError(
            f"{where}: found overlapping regions {', '.join(names)}, expected to know the order in"
            " which they are painted; give --region-order with these names, the outermost first"
        )
    regions = tuple(Region(known[name], label) for label, name in enumerate(wanted, start=1))
    inner = [*wanted[1:], None]
    return regions, [
        f"{name} outside {within}" if within else name
        for name, within in zip(wanted, inner, strict=True)
    ]


def _patch_size(
    config: Configuration, metadata: Mapping[str, Any], definition: Mapping[str, Any]
) -> tuple[int, ...]:
    """The window of the inferer, or what the metadata say; a multiple of what the network needs."""
    inferer = config.values.get("inferer")
    size = config.plain(inferer.get("roi_size"), "inferer") if isinstance(inferer, dict) else None
    if size is None:
        image = next(iter(metadata["network_data_format"]["inputs"].values()))
        size = image.get("spatial_shape")
    if not isinstance(size, list) or not all(type(n) is int and n > 0 for n in size):
        raise RequestError(
            f"{config.where}: found the window {size!r:.80}, expected inferer with roi_size, three"
            " whole numbers; add it"
        )
    divisor = catalogue.divisor(definition, config.where)
    return tuple(-(-n // d) * d for n, d in zip(size, divisor, strict=True))


def _documents(folder: Path) -> dict[str, str]:
    texts = {}
    for name in ("LICENSE", "docs/README.md"):
        if (folder / name).is_file():
            texts[name] = read_bytes(folder / name, 4 << 20).decode("utf-8", "replace")
    return texts
