"""The allow-list of networks, and what the rest of the house needs to know of each.

A bundle names a network by a string and gives plain arguments: data, never code. A network is
added by one entry here.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from SFDALib.errors import RequestError

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Architecture:
    """What a segmentation network is asked for beside its logits.

    Args:
        early_stages: submodules which, applied one after the other to the image, give the features
            at full resolution (level 0) and after the first down-sampling (level 1).
        divisor: network arguments -> the number that every side of its input must be a multiple of.
        batch_norm: network arguments -> whether it normalises by batch statistics.
        encoder: submodules of the contracting path; the rest is the decoder. Empty where the two
            cannot be told apart.
    """

    early_stages: tuple[str, ...]
    divisor: Callable[[Mapping[str, Any]], int]
    batch_norm: Callable[[Mapping[str, Any]], bool] = lambda arguments: False
    encoder: tuple[str, ...] = ()


def _dynunet_divisor(arguments: Mapping[str, Any]) -> int:
    def largest(stride: int | list[int]) -> int:
        return max(stride) if isinstance(stride, list | tuple) else stride

    return math.prod(largest(stride) for stride in arguments["strides"])


def _dynunet_batch_norm(arguments: Mapping[str, Any]) -> bool:
    name = arguments.get("norm_name", "instance")  # a name, or a name and its arguments
    name = name[0] if isinstance(name, list | tuple) and name else name
    return str(name).lower() == "batch"


SEGMENTATION: dict[str, Architecture] = {
    "SFDALib.networks.residual_unet.ResidualUNet": Architecture(
        early_stages=("init_path", "down1"),
        divisor=lambda arguments: 8,
        batch_norm=lambda arguments: True,
        encoder=("init_path", "down1", "down2", "down3"),
    ),
    "monai.networks.nets.DynUNet": Architecture(
        early_stages=("input_block", "downsamples.0"),
        divisor=_dynunet_divisor,
        batch_norm=_dynunet_batch_norm,
        encoder=("input_block", "downsamples", "bottleneck"),
    ),
}
WEIGHTS_LIMIT = 1 << 30  # weights of one network: 4 GiB; nnU-Net's large presets have a tenth
TENSORS_LIMIT = 10_000
NUMBER_LIMIT = 10**6
BUILD_ERRORS = (TypeError, ValueError, ArithmeticError, LookupError, AssertionError, RuntimeError)
DIFFUSION = ("SFDALib.networks.diffusion_unet.ConditionalDiffusionUNet",)


def check_definition(definition: object, allowed: Any, where: str) -> dict[str, Any]:
    """Check a MONAI ``network_def`` before anything is imported and return it.

    Raises:
        RequestError: no dictionary, a ``_target_`` outside the allow-list, or an argument that is
            an expression (``$``), a reference (``@``, ``%``), an instruction (``_``) or huge.
    """
    if not isinstance(definition, dict) or not isinstance(definition.get("_target_"), str):
        raise RequestError(
            f"{where}: found {type(definition).__name__} without a network name; expected an object"
            ' with "_target_" and the network\'s arguments; write it as SFDALib train does'
        )
    target = definition["_target_"]
    if target not in allowed:
        raise RequestError(
            f'{where}: found "_target_": "{target[:120]}", which is not on the list of networks'
            f" that may be built; expected one of {', '.join(sorted(allowed))}"
        )
    _check_arguments({key: definition[key] for key in definition if key != "_target_"}, where)
    return definition


def _check_arguments(value: object, where: str) -> None:
    if isinstance(value, str) and value[:1] in ("$", "@", "%"):
        raise RequestError(
            f'{where}: found the expression "{value[:80]}"; expected plain values, because nothing'
            " in a bundle is ever executed; replace it by its value"
        )
    if isinstance(value, dict):
        for key, item in value.items():
            if key.startswith("_"):
                raise RequestError(
                    f'{where}: found the instruction "{key[:80]}"; expected one "_target_" and'
                    " the network's arguments; remove it"
                )
            _check_arguments(item, where)
    if isinstance(value, int | float) and not abs(value) <= NUMBER_LIMIT:
        raise RequestError(
            f"{where}: found the number {_short(value)}, expected at most {NUMBER_LIMIT};"
            " correct it"
        )
    if isinstance(value, list):
        for item in value:
            _check_arguments(item, where)


def _short(value: object) -> str:
    return str(value).splitlines()[0][:120]


def build(definition: Mapping[str, Any], where: str = "network_def") -> nn.Module:
    """Build the network of a checked definition, with random weights.

    Raises:
        RequestError: the network refuses the arguments, or they ask for an absurd size.
    """
    import torch

    module, name = definition["_target_"].rsplit(".", 1)
    arguments = {key: value for key, value in definition.items() if key != "_target_"}
    network = getattr(importlib.import_module(module), name)
    try:
        with torch.device("meta"), _bounded(where):  # a rehearsal without memory
            network(**arguments)
    except BUILD_ERRORS as error:
        raise RequestError(
            f"{where}: {name} cannot be built from its arguments ({_short(error)}); expected the"
            " arguments that it was trained with; correct them in configs/inference.json"
        ) from error
    return network(**arguments)


@contextmanager
def _bounded(where: str) -> Iterator[None]:
    """Stop the building of a network beyond all measure, while it is being built."""
    from torch.nn.modules.module import register_module_parameter_registration_hook

    tensors = numbers = 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal tensors, numbers
        tensors += 1
        numbers += 0 if parameter is None else parameter.numel()
        if tensors > TENSORS_LIMIT or numbers > WEIGHTS_LIMIT:
            raise RequestError(
                f"{where}: found a network of more than {tensors - 1} weight tensors or"
                f" {WEIGHTS_LIMIT} weights, expected one that fits into memory; correct its"
                " arguments"
            )

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def divisor(definition: Mapping[str, Any], where: str = "network_def") -> int:
    """The number that every side of the network's input must be a multiple of.

    Raises:
        RequestError: the arguments that decide it are missing or no numbers.
    """
    try:
        number = SEGMENTATION[definition["_target_"]].divisor(definition)
    except (KeyError, TypeError, ValueError) as error:
        raise RequestError(
            f"{where}: found strides that cannot be read ({error!r:.80}), expected one whole number"
            " or list for each level; correct them"
        ) from error
    if type(number) is not int or number < 1:
        raise RequestError(
            f"{where}: found strides with the product {number!r:.40}, expected whole numbers from"
            " 1; correct them"
        )
    return number


def has_batch_norm(definition: Mapping[str, Any]) -> bool:
    """Whether the network normalises by batch statistics, told by its arguments alone."""
    return SEGMENTATION[definition["_target_"]].batch_norm(definition)


def encoder(network: nn.Module, definition: Mapping[str, Any]) -> tuple[nn.Module, ...]:
    """The submodules of the contracting path; none where it is not known."""
    names = SEGMENTATION[definition["_target_"]].encoder
    return tuple(network.get_submodule(name) for name in names)


def early_stages(
    network: nn.Module, definition: Mapping[str, Any], level: int
) -> tuple[nn.Module, ...]:
    """The submodules up to the early features of ``level`` 0 or 1, in order."""
    names = SEGMENTATION[definition["_target_"]].early_stages[: level + 1]
    return tuple(network.get_submodule(name) for name in names)


def class_probabilities(logits: Tensor) -> Tensor:
    """Logits ``(N, 1 or K, ...)`` to probabilities ``(N, K, ...)``, background first.

    One output channel is a sigmoid and becomes two classes; more are a softmax.
    """
    import torch

    if logits.shape[1] == 1:
        foreground = torch.sigmoid(logits)
        return torch.cat([1 - foreground, foreground], dim=1)
    return torch.softmax(logits, dim=1)


def class_logits(logits: Tensor) -> Tensor:
    """Logits ``(N, 1 or K, ...)`` as those of a softmax ``(N, K, ...)``, background first."""
    import torch

    if logits.shape[1] == 1:
        return torch.cat([torch.zeros_like(logits), logits], dim=1)
    return logits
