"""What the outputs of a MONAI bundle's network are: names, regions, and where the background is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from SFDALib.bundle.importers.monai_postprocessing import Outputs
from SFDALib.errors import RequestError
from SFDALib.volume.input_spec import Region

NESTED = ("whole tumor", "tumor core", "enhancing tumor")  # of BraTS, from outside to inside
ABSENT = -1  # for a name that no channel has
BACKGROUND = re.compile(
    r"back ?ground|bg|others?|none|nothing|rest|unlabell?ed|void|clear|outside|exterior|air|"
    r"(?:class|label|channel|category|output)?[ _]?0|",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Structures:
    """Args:
    inputs: names of the network's inputs.
    names: of labels 1, 2, 3, ...
    regions: in the order of painting; empty for one class an output.
    """

    inputs: tuple[str, ...]
    modality: str
    names: tuple[str, ...]
    regions: tuple[Region, ...]


def structures(
    metadata: Mapping[str, Any], channels: int, found: Outputs, order: Sequence[str], where: str
) -> Structures:
    """Read them from metadata.json.

    Args:
        channels: of the network's output.
        found: what the postprocessing makes of them.
        order: of regions, their names as they are painted; empty where it is not given.

    Raises:
        RequestError: names are missing, or the background is not where label 0 is.
    """
    try:
        formats = metadata["network_data_format"]
        inputs = formats["inputs"]
        output = next(iter(formats["outputs"].values()))
        defined = output.get("channel_def") or output.get("label_def") or {}
        names = [str(defined[str(index)]) for index in range(len(defined))]
        modality = str(next(iter(inputs.values())).get("modality", "unknown"))
    except (KeyError, TypeError, AttributeError, StopIteration) as error:
        raise RequestError(
            f"{where}: found no {error}, expected network_data_format with inputs and"
            " outputs, whose channel_def names the channels; add it"
        ) from error
    if channels == 1 and len(names) == 2 and BACKGROUND.fullmatch(names[0]):
        names = names[1:]  # of the labels of one sigmoid
    if len(names) != channels:
        raise RequestError(
            f"{where}: found {len(names)} names in channel_def, expected one for each"
            f" of the network's {channels} outputs; correct it"
        )
    regions: tuple[Region, ...] = ()
    if found.regions:
        regions, names = _regions(names, found, order, where)
    elif channels > 1:
        if not BACKGROUND.fullmatch(names[0].strip()):
            raise RequestError(
                f"{where}: found {names[0][:60]!r} as output 0 in channel_def of"
                f" {', '.join(names)[:120]}, expected the background, as label 0 is no structure;"
                " correct it, or train the model with the background first"
            )
        names = names[1:]
    return Structures(tuple(map(str, inputs)), modality, tuple(names), regions)


def _regions(
    names: Sequence[str], found: Outputs, order: Sequence[str], where: str
) -> tuple[tuple[Region, ...], list[str]]:
    """Regions in the order of painting, and the names of labels 1, 2, 3, ...

    An output for the background is none of them: it is where no region is.
    """
    channels = {
        name.strip().lower(): channel
        for channel, name in enumerate(names)
        if not BACKGROUND.fullmatch(name.strip())
    }
    left = set(range(len(names))) - set(channels.values())
    if len(left) > 1 or (left and left != {0} and found.cleaning):
        raise RequestError(
            f"{where}: found overlapping regions {', '.join(names)[:200]}, expected a different"
            " name for each, the background, if there is one, first; correct channel_def"
        )
    shown = {channel: names[channel].strip() for channel in channels.values()}
    if order:
        wanted = [channels.get(name.strip().lower(), ABSENT) for name in order]
    elif found.order is not None:
        wanted = list(found.order)
    elif len(channels) == 1:
        wanted = list(channels.values())
    else:
        wanted = [channels.get(name, ABSENT) for name in NESTED]
    if sorted(channels.values()) != sorted(wanted):
        raise RequestError(
            f"{where}: found overlapping regions {', '.join(shown.values())[:200]}, expected to"
            " know the order in which they are painted; give import-model --region-order with"
            " these names, the outermost first"
        )
    regions = tuple(Region(channel, label) for label, channel in enumerate(wanted, start=1))
    inner = [shown[channel].lower() for channel in wanted[1:]]
    called = [shown[channel].lower() for channel in wanted]
    return regions, [
        f"{name} outside {within}" if within else name
        for name, within in zip(called, [*inner, None], strict=True)
    ]
