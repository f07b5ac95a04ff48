"""Read weights from a file as tensors and plain data alone, and load them into their network."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from SFDALib.bundle.bundle_files import INFERENCE
from SFDALib.errors import RequestError, cause

Weights = Mapping[str, Tensor]
# Keys under which trainings keep a network's weights
WRAPPERS = (
    *("state_dict", "model_state_dict", "model", "network", "net", "network_weights"),
    *("network_state_dict", "weights"),
)
_SCALAR = np.float64(0).__reduce__()[0]  # the functions with which NumPy unpickles
_ARRAY = np.zeros(0).__reduce__()[0]
_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")  # of them in NumPy 1 and 2
# NumPy's numbers and arrays that ``unpickle`` may let pass
NUMPY_SCALARS = (
    *((_SCALAR, f"{module}.scalar") for module in _MODULES),
    *(np.dtype, np.dtypes.Float64DType, np.dtypes.Float32DType, np.dtypes.Int64DType),
)
NUMPY_ARRAYS = (
    *((_ARRAY, f"{module}._reconstruct") for module in _MODULES),
    *NUMPY_SCALARS,
    *(np.ndarray, np.dtypes.Int32DType, np.dtypes.BoolDType, np.dtypes.UInt8DType),
)


def unpickle(data: bytes, where: str, allowed: Sequence[Any] = ()) -> object:
    """The tensors and plain data that ``torch.save`` wrote; nothing in the file is executed.

    Args:
        data: the file's content.
        where: the file, for errors.
        allowed: classes and functions that it may hold beside these, as for
            ``torch.serialization.safe_globals``.

    Raises:
        RequestError: the file holds something else, or is damaged.
    """
    stream = io.BytesIO(data)
    if zipfile.is_zipfile(stream):
        _check_archive(stream, where)
    stream.seek(0)
    try:
        with torch.serialization.safe_globals(list(allowed)):
            return torch.load(stream, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle may raise any exception
        reason = cause(error) if data else "empty file"
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


def network_weights(content: object, where: str) -> dict[str, Tensor]:
    """The weights in what a training saved: a state dict, perhaps under a key.

    Raises:
        RequestError: there is none.
    """
    for key in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    return state_dict(content, where)


def _check_archive(data: io.BytesIO, where: str) -> None:
    """Refuse an archive that holds code or compressed files; torch does not compress."""
    try:
        with zipfile.ZipFile(data) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:  # names are no UTF-8
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
    """Whether it is a dense tensor in main memory."""
    return (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def load_weights(network: nn.Module, weights: Weights, where: str) -> None:
    """Load weights into their network.

    Raises:
        RequestError: names, shapes or types differ from the network's, or a number is not finite.
    """
    expected = network.state_dict()
    missing = [key for key in expected if key not in weights]
    surplus = [key for key in weights if key not in expected]
    if missing or surplus:
        raise RequestError(
            f"{where}: found {len(surplus)} surplus weight(s) {_few(surplus)} and {len(missing)}"
            f" missing {_few(missing)}, expected exactly those of the network in {INFERENCE};"
            " use the weights that belong to it"
        )
    for key, value in expected.items():
        found = weights[key]
        if found.shape != value.shape or found.is_floating_point() != value.is_floating_point():
            raise RequestError(
                f"{where}: found {key} of shape {tuple(found.shape)} and type {found.dtype},"
                f" expected {tuple(value.shape)} and {value.dtype}; use the weights that belong to"
                f" {INFERENCE}"
            )
        if not torch.isfinite(found.float()).all():
            raise RequestError(
                f"{where}: found NaN or infinite numbers in {key}, expected finite"
                " ones; export the weights again"
            )
    network.load_state_dict(weights)


def _few(names: list[str]) -> str:
    return f"({', '.join(names[:2])}{', ...' if len(names) > 2 else ''})" if names else ""
