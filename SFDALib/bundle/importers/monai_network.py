"""The network of a MONAI bundle, with names and arguments as the allow-list has them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from SFDALib.bundle.importers.monai_configuration import Configuration
from SFDALib.errors import RequestError
from SFDALib.networks import catalogue

# Classes of the allow-list under their other names
ALIASES = {name.rsplit(".", 1)[-1]: name for name in catalogue.SEGMENTATION if "monai" in name}
OTHER_NAMES = {"Unet": "UNet", "unet": "UNet", "Dynunet": "DynUNet", "DynUnet": "DynUNet"}
PACKAGE = re.compile(r"(?:monai\.networks\.nets\.(?:[a-z_0-9]+\.)?)?([A-Za-z0-9_]+)")
CODE = re.compile(r"@(\w+)\[['\"](\w+)['\"]\]")
ARCHITECTURE = re.compile(r"(models/[\w.-]+\.(?:pt|pth))")
DINTS = ("DiNTS", "monai.networks.nets.DiNTS", "monai.networks.nets.dints.DiNTS")
SPACE = "TopologyInstance"
SPACE_ARGUMENTS = ("channel_mul", "num_blocks", "num_depths", "use_downsample")
KEYS = ("network_def", "network", "net_def", "model_def")


@dataclass(frozen=True)
class Network:
    """Args:
    definition: the ``network_def`` of a bundle of ours.
    files: of the bundle that its architecture lies in, beside the definition.
    """

    definition: dict[str, Any]
    files: tuple[str, ...] = ()


def network(config: Configuration) -> Network:
    """The bundle's network.

    Raises:
        RequestError: there is none, or one that is not on the allow-list.
    """
    found = next((config.values[key] for key in KEYS if config.values.get(key)), None)
    if isinstance(found, dict) and found.get("_target_") in DINTS:
        return _dints(config, found)
    definition = config.plain(found, "network_def")
    if not isinstance(definition, dict) or not isinstance(definition.get("_target_"), str):
        raise RequestError(
            f"{config.where}: found no network_def, expected a network with its arguments"
        )
    definition = dict(definition)
    match = PACKAGE.fullmatch(definition["_target_"])
    name = match[1] if match else ""
    name = OTHER_NAMES.get(name, name)
    definition["_target_"] = ALIASES.get(name, definition["_target_"])
    for key in ("_mode_", "_desc_", "_disabled_", "_requires_"):
        definition.pop(key, None)
    if name == "SwinUNETR":
        definition.pop("img_size", None)  # which MONAI had asked for until 1.5, to check it
    if "dimensions" in definition:  # as spatial_dims was called before MONAI 0.7
        definition.setdefault("spatial_dims", definition.pop("dimensions"))
    definition.setdefault("spatial_dims", 2 if name == "FlexibleUNet" else 3)
    catalogue.check_definition(definition, ALIASES.values(), f"{config.where}, network_def")
    if definition["spatial_dims"] not in (2, 3) or not all(
        type(definition.get(key)) is int for key in ("in_channels", "out_channels")
    ):
        raise RequestError(
            f"{config.where}, network_def: found {definition!r:.120}, expected a 2D or 3D network"
            " with in_channels and out_channels"
        )
    return Network(catalogue.with_one_output(definition))


def _dints(config: Configuration, given: dict[str, Any]) -> Network:
    """MONAI's DiNTS, whose architecture a search has left in a file of the bundle."""
    space = given.get("dints_space")
    if isinstance(space, str) and space.startswith("@"):
        space = config.values.get(space[1:])
    if not isinstance(space, dict) or str(space.get("_target_")).rsplit(".", 1)[-1] != SPACE:
        raise RequestError(
            f"{config.where}, network_def: found DiNTS without a dints_space, expected a"
            f" {SPACE} of the bundle; correct it"
        )
    names = [*_codes(config, space.get("arch_code")), *_codes(config, given.get("node_a"))]
    files = [match[1] for path, _ in names if (match := ARCHITECTURE.search(path))]
    keys = [key for _, key in names]
    if keys != ["arch_code_a", "arch_code_c", "node_a"][: len(keys)] or len(set(files)) != 1:
        raise RequestError(
            f"{config.where}, network_def: found {keys!r:.80} of the files {files!r:.120} for the"
            " architecture of DiNTS, expected arch_code_a and arch_code_c, perhaps node_a, of one"
            " file in models; correct it"
        )
    shared = (*SPACE_ARGUMENTS, "act_name", "norm_name", "spatial_dims")
    taken = {key: config.plain(space[key], f"dints_space, {key}") for key in shared if key in space}
    taken |= {key: config.plain(given[key], key) for key in shared if key in given}
    known = {"_target_", "dints_space", "in_channels", "num_classes", "node_a", *shared}
    unknown = [key for key in (*given, *space) if key not in {*known, "arch_code", "device"}]
    if unknown:
        raise RequestError(
            f"{config.where}, network_def: found {unknown[0][:40]!r} of DiNTS, expected only"
            f" {', '.join(sorted(known))}; correct it"
        )
    definition = {
        "_target_": "SFDALib.networks.dints.DiNTS",
        "spatial_dims": 3,
        "in_channels": config.plain(given.get("in_channels"), "in_channels"),
        "out_channels": config.plain(given.get("num_classes"), "num_classes"),
        **taken,
    }
    catalogue.check_definition(definition, catalogue.SEGMENTATION, f"{config.where}, network_def")
    return Network(definition, (files[0],))


def _codes(config: Configuration, value: Any) -> list[tuple[str, str]]:
    """What expressions such as ``$@arch_ckpt['arch_code_a']`` name: the text of what is loaded, and
    the key in it. They are recognised, not executed.
    """
    found = []
    for text in value if isinstance(value, list) else [value]:
        match = CODE.search(text) if isinstance(text, str) else None
        if match is not None:
            loaded = str(config.values.get(match[1]))
            path = re.search(r"@([\w#]+)", loaded)
            named = config.values.get(path[1]) if path else None
            found.append((f"{loaded} {named}", match[2]))
    return found
