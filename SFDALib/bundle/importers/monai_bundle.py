"""A published MONAI bundle: its network and preprocessing, read as data.

``@name`` is looked up in the configuration itself. Nothing is evaluated: an expression (``$``) that
decides the network or the preprocessing is refused, with every transform that is not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from SFDALib.bundle.description import METADATA, Description
from SFDALib.bundle.files import MODEL, WEIGHTS_LIMIT, BundleFiles
from SFDALib.bundle.importers.imported import Imported, checked, joined, labels, last_name
from SFDALib.bundle.importers.monai_transforms import Configuration, Preprocessing, transform_name
from SFDALib.errors import RequestError
from SFDALib.networks import catalogue
from SFDALib.volume.specification import Region

CONFIGURATIONS = ("configs/inference.json", "configs/evaluate.json", "configs/train.json")
# Classes of the allow-list under their other names
ALIASES = {name.rsplit(".", 1)[-1]: name for name in catalogue.SEGMENTATION if "monai" in name}
NESTED = ("whole tumor", "tumor core", "enhancing tumor")  # of BraTS, from outside to inside


@dataclass(frozen=True)
class MonaiModel:
    """A published bundle, a folder or a .zip.

    Args:
        files: of the bundle.
        region_order: of a model with overlapping regions, their names as in its metadata in the
            order in which they are painted, the outermost first.
    """

    files: BundleFiles
    region_order: Sequence[str] = ()

    @staticmethod
    def is_in(files: BundleFiles) -> bool:
        """Whether these are a bundle that says nothing to SFDALib itself."""
        metadata = files.json(METADATA)
        return isinstance(metadata, dict) and "sfda" not in metadata

    @property
    def path(self) -> Path:
        return self.files.path

    def describe(self) -> Description:
        """What the model is, checked.

        Raises:
            RequestError: something is missing, or decides the result and is not known.
        """
        return checked(self._described(), str(self.path))

    def require_weights(self, about: Description) -> None:
        """
        Raises:
            RequestError: they are not there.
        """
        self.files.require_weights(about)

    def sha256(self) -> str:
        """One digest over everything that decides the results."""
        return self.files.sha256((METADATA, self._file, MODEL))

    def read(self) -> Imported:
        """Read the model with its weights.

        Raises:
            RequestError: something is missing or damaged, or decides the result and is not known.
        """
        from SFDALib.bundle.weights import state_dict, unpickle

        described, where = self._described(), f"{self.path}: {MODEL}"
        with self.files.open(MODEL, WEIGHTS_LIMIT) as stream:
            weights = state_dict(unpickle(stream.read(), where), where)
        return joined(described, [weights], [where], str(self.path), self.files.documents())

    @cached_property
    def _file(self) -> str:
        """The configuration that says how the network is used."""
        file = next((name for name in CONFIGURATIONS if self.files.has(name)), None)
        if file is None:
            raise RequestError(
                f"{self.path}: found none of {', '.join(CONFIGURATIONS)}, expected one"
            )
        return file

    def _described(self) -> Description:
        try:
            return self._read_description()
        except (KeyError, TypeError, ValueError, ArithmeticError, IndexError) as error:
            raise RequestError(
                f"{self.path}: found a configuration that cannot be read ({error!r:.100}), expected"
                " that of a MONAI bundle for segmentation; copy it again"
            ) from error

    def _read_description(self) -> Description:
        metadata = _object(self.files.json(METADATA), f"{self.path}: {METADATA}")
        where = f"{self.path}: {self._file}"
        config = Configuration(_object(self.files.json(self._file), where), where)
        definition = network(config)
        names, modality = _outputs(metadata, definition, str(self.path))
        regions: tuple[Region, ...] = ()
        if _activation(config) == "sigmoid" and definition["out_channels"] > 1:
            regions, names = _regions(names, self.region_order, str(self.path))
        elif definition["out_channels"] > 1:
            names = names[1:]
        slices = _sliced_axis(config) if definition["spatial_dims"] == 2 else None
        preprocessing = Preprocessing(config, definition["in_channels"], slices)
        model, version = last_name(self.path), str(metadata.get("version", "unknown"))
        return Description(
            name=str(metadata.get("name", model)),
            modality=modality,
            network=definition,
            grid=preprocessing.grid(regions),
            patch_size=_patch_size(config, metadata, definition),
            labels=labels(names),
            windows="even",  # a smaller image is padded with zeros, as by MONAI's inferers
            provenance={"import": {"from": "MONAI bundle", "model": model, "version": version}},
            licence=_first_line(str(metadata.get("copyright", "")), "see LICENSE"),
        )


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
    if name == "SwinUNETR":
        definition.pop("img_size", None)  # which MONAI had asked for until 1.5, to check it
    definition.setdefault("spatial_dims", 3)
    catalogue.check_definition(definition, ALIASES.values(), f"{config.where}, network_def")
    if definition["spatial_dims"] not in (2, 3) or not all(
        type(definition.get(key)) is int for key in ("in_channels", "out_channels")
    ):
        raise RequestError(
            f"{config.where}, network_def: found {definition!r:.120}, expected a 2D or 3D network"
            " with in_channels and out_channels"
        )
    return catalogue.with_one_output(definition)


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
            f"{where}: found overlapping regions {', '.join(names)[:200]}, expected to know the"
            " order in which they are painted; give import-model --region-order with these names,"
            " the outermost first"
        )
    regions = tuple(Region(known[name], label) for label, name in enumerate(wanted, start=1))
    inner = [*wanted[1:], None]
    return regions, [
        f"{name} outside {within}" if within else name
        for name, within in zip(wanted, inner, strict=True)
    ]


def _inferer(config: Configuration, key: str) -> Any:
    """A setting of the inferer; None where it has none."""
    inferer = config.values.get("inferer")
    return config.plain(inferer.get(key), "inferer") if isinstance(inferer, dict) else None


def _sliced_axis(config: Configuration) -> int:
    """Across which axis of the image a 2D network sees its slices: the last, as of a 2D image, or
    that of MONAI's SliceInferer, whose default is the first.
    """
    if str(_inferer(config, "_target_")).rsplit(".", 1)[-1] != "SliceInferer":
        return 2
    axis = _inferer(config, "spatial_dim") or 0
    if axis not in (0, 1, 2):
        raise RequestError(
            f"{config.where}: found spatial_dim {axis!r:.40} of the inferer, expected 0, 1 or 2;"
            " correct it"
        )
    return axis


def _patch_size(
    config: Configuration, metadata: Mapping[str, Any], definition: Mapping[str, Any]
) -> tuple[int, ...]:
    """The window of the inferer, or what the metadata say; a multiple of what the network needs."""
    size = _inferer(config, "roi_size")
    if size is None:
        image = next(iter(metadata["network_data_format"]["inputs"].values()))
        size = image.get("spatial_shape")
    divisor = catalogue.divisor(definition, config.where)
    if not isinstance(size, list) or not (
        len(size) == len(divisor) and all(type(n) is int and n > 0 for n in size)
    ):
        raise RequestError(
            f"{config.where}: found the window {size!r:.80}, expected inferer with roi_size,"
            f" {len(divisor)} whole numbers; add it"
        )
    return tuple(-(-n // d) * d for n, d in zip(size, divisor, strict=True))


def _object(values: Any, where: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise RequestError(
            f"{where}: found {type(values).__name__}, expected an object; correct it"
        )
    return values


def _first_line(text: str, otherwise: str) -> str:
    return next(iter(text.splitlines()), otherwise)
