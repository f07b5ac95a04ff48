"""The networks of a bundle with their weights: loading them safely, and writing a bundle."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from SFDALib.bundle import description as about
from SFDALib.bundle import files
from SFDALib.bundle.description import Description
from SFDALib.errors import RequestError
from SFDALib.networks import assembly, catalogue
from SFDALib.networks.residual_unet import EarlyHead

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Source:
    """A source model in memory, on one device, in eval mode and without gradients."""

    description: Description
    network: nn.Module
    early_head: nn.Module | None
    diffusion: nn.Module | None
    device: torch.device
    documents: Mapping[str, str]

    @property
    def divisor(self) -> tuple[int, ...]:
        return catalogue.divisor(self.description.network)

    def encoder(self, network: nn.Module) -> tuple[nn.Module, ...]:
        """The submodules of the contracting path of ``network``; none where it is not known."""
        return tuple(
            stage
            for part in assembly.parts(network)
            for stage in catalogue.encoder(part, self.description.network)
        )

    def early_stages(self, network: nn.Module, level: int) -> tuple[nn.Module, ...]:
        """The submodules of ``network`` (this one or a copy of it) up to its early features."""
        return catalogue.early_stages(assembly.single(network), self.description.network, level)


ENTRY_BYTES = 4096  # that a file of weights has for each tensor beside its numbers
DOCUMENTS = ("LICENSE", "docs/README.md")


def load(path: Path, device: torch.device, diffusion: bool = True) -> Source:
    """Read a bundle with all its weights; ``diffusion`` False leaves that model on the disk.

    Raises:
        RequestError: anything that is not as the description says.
    """
    bundle = files.BundleFiles(path)
    description = bundle.describe()
    network = assembly.assemble(
        lambda: catalogue.build(description.network, f"{path}: {about.INFERENCE}, network_def"),
        description.ensemble,
        description.grid.regions,
    )
    _load_into(network, bundle, files.MODEL)
    early_head = denoiser = None
    if description.early_head:
        early_head = EarlyHead(
            description.spatial_dims, description.early_head.channels, description.out_channels
        )
        _load_into(early_head, bundle, files.EARLY_HEAD)
    if description.diffusion and diffusion:
        denoiser = catalogue.build(
            description.diffusion.network, f"{path}: {about.INFERENCE}, diffusion_def"
        )
        _load_into(denoiser, bundle, files.DIFFUSION)
    documents = {}
    for name in DOCUMENTS:
        if bundle.has(name):
            with bundle.open(name, files.TEXT_LIMIT) as stream:
                documents[name] = stream.read(files.TEXT_LIMIT).decode("utf-8", "replace")
    return Source(
        description,
        *(_frozen(n, device) for n in (network, early_head, denoiser)),
        device,
        documents,
    )


def _frozen(network: nn.Module | None, device: torch.device) -> nn.Module | None:
    return None if network is None else network.to(device).eval().requires_grad_(False)


def _load_into(network: nn.Module, bundle: files.BundleFiles, name: str) -> None:
    expected = network.state_dict()
    # in double precision at most, with their names and what torch notes of each
    numbers = sum(value.numel() for value in expected.values())
    limit = 8 * numbers + ENTRY_BYTES * (100 + len(expected))
    load_weights(network, _read_weights(bundle, name, limit), f"{bundle.path}: {name}")


def load_weights(network: nn.Module, weights: Weights, where: str) -> None:
    """Load weights into the network that they belong to.

    Raises:
        RequestError: others than the network's, or numbers that are none.
    """
    expected = network.state_dict()
    missing = [key for key in expected if key not in weights]
    surplus = [key for key in weights if key not in expected]
    if missing or surplus:
        raise RequestError(
            f"{where}: found {len(surplus)} surplus weight(s) {_few(surplus)} and {len(missing)}"
            f" missing {_few(missing)}, expected exactly those of the network in {about.INFERENCE};"
            " use the weights that belong to it"
        )
    for key, value in expected.items():
        found = weights[key]
        if found.shape != value.shape or found.is_floating_point() != value.is_floating_point():
            raise RequestError(
                f"{where}: found {key} of shape {tuple(found.shape)} and type {found.dtype},"
                f" expected {tuple(value.shape)} and {value.dtype}; use the weights that belong to"
                f" {about.INFERENCE}"
            )
        if not torch.isfinite(found.float()).all():
            raise RequestError(f"{where}: found NaN or infinite numbers in {key}; train it again")
    network.load_state_dict(weights)


def _few(names: list[str]) -> str:
    return f"({', '.join(names[:2])}{', ...' if len(names) > 2 else ''})" if names else ""


def _read_weights(bundle: files.BundleFiles, name: str, limit: int) -> dict[str, Tensor]:
    with bundle.open(name, min(limit, files.WEIGHTS_LIMIT)) as stream:
        content = unpickle(stream.read(), f"{bundle.path}: {name}")
    return state_dict(content, f"{bundle.path}: {name}")


def unpickle(data: bytes, where: str, allowed: Sequence[Any] = ()) -> object:
    """What ``torch.save`` wrote: tensors and plain data; nothing in it is executed.

    Args:
        allowed: what else may be in it, as for ``torch.serialization.safe_globals``.

    Raises:
        RequestError: it holds something else, or is damaged.
    """
    stream = io.BytesIO(data)
    if zipfile.is_zipfile(stream):
        _check_archive(stream, where)
    stream.seek(0)
    try:
        with torch.serialization.safe_globals(list(allowed)):
            return torch.load(stream, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle fails in every way there is
        reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else "empty file"
        raise RequestError(
            f"{where}: found a file that holds more than weights or is damaged ({reason}), expected"
            " a state dict of tensors; nothing in it was executed; export the weights again"
        ) from error


def state_dict(content: object, where: str) -> dict[str, Tensor]:
    """The content, if it is a state dict of dense tensors.

    Raises:
        RequestError: it is not.
    """
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and _is_plain(value) for key, value in content.items()
    ):
        raise RequestError(
            f"{where}: found {type(content).__name__} with other things than dense tensors,"
            " expected a state dict; save network.state_dict() alone"
        )
    return content


def _check_archive(data: io.BytesIO, where: str) -> None:
    """Refuse an archive with code, and one that unpacks to more than it is: torch never packs."""
    try:
        with zipfile.ZipFile(data) as archive:
            entries = archive.infolist()
    except zipfile.BadZipFile as error:
        raise RequestError(
            f"{where}: found a damaged archive ({error}), expected whole weights; copy them again"
        ) from error
    if any(entry.filename.endswith("constants.pkl") for entry in entries):
        raise RequestError(
            f"{where}: found a TorchScript archive, which holds code; expected a state dict saved"
            " with torch.save(network.state_dict()); export it so"
        )
    total, packed = sum(entry.file_size for entry in entries), data.getbuffer().nbytes
    if total > packed:
        raise RequestError(
            f"{where}: found {packed} bytes that unpack to {total}, expected weights as torch.save"
            " writes them; do not trust this file"
        )


def _is_plain(value: object) -> bool:
    """Whether it is a tensor with its numbers in memory, one beside the other."""
    return (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def write(
    path: Path,
    description: Description,
    network: Weights,
    early_head: Weights | None = None,
    diffusion: Weights | None = None,
    documents: Mapping[str, str] | None = None,
) -> None:
    """Write a complete bundle folder; ``path`` must not exist.

    Whoever calls it writes beside the final place and renames at the end.
    """
    path = Path(path)
    for folder in ("configs", "models", "docs"):
        (path / folder).mkdir(parents=True)
    metadata, inference = about.to_json(description)
    for name, content in ((about.METADATA, metadata), (about.INFERENCE, inference)):
        (path / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    for name, weights in (
        (files.MODEL, network),
        (files.EARLY_HEAD, early_head),
        (files.DIFFUSION, diffusion),
    ):
        if weights is not None:
            with open(path / name, "wb") as stream:  # which tells why it cannot be written
                torch.save({key: value.detach().cpu() for key, value in weights.items()}, stream)
    for name, text in {**_default_documents(description), **(documents or {})}.items():
        (path / name).write_text(text, encoding="utf-8")


def _default_documents(description: Description) -> dict[str, str]:
    labels = "\n".join(f"- {label.value}: {label.name}" for label in description.labels)
    return {
        "LICENSE": "The licence of these weights has not been stated by whoever trained them.\n",
        "docs/README.md": f"# {description.name}\n\nSource model for source-free domain adaptation,"
        f" trained on {description.modality}.\n\n{labels}\n\nResearch only, no medical device.\n",
    }


def half(weights: Weights) -> dict[str, Tensor]:
    """The same weights with floating-point tensors in half precision, for shipping."""
    return {key: v.half() if v.is_floating_point() else v for key, v in weights.items()}


def state(network: nn.Module | None) -> Weights | None:
    """The weights of a network that a bundle may lack."""
    return None if network is None else network.state_dict()
