"""Build the networks of the catalogue, within bounds, and find the parts of a built one."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from SFDALib.errors import RequestError, cause
from SFDALib.networks.catalogue import SEGMENTATION

WEIGHTS_LIMIT = 1 << 30  # weights of one network: 4 GiB; nnU-Net's large presets have a tenth
TENSORS_LIMIT = 10_000
BUILD_ERRORS = (TypeError, ValueError, ArithmeticError, LookupError, AssertionError, RuntimeError)


def build_network(definition: Mapping[str, Any], where: str = "network_def") -> nn.Module:
    """Build the network of a checked definition, with random weights.

    A dry run that allocates no memory comes first, so that arguments which ask for an absurd size
    are refused.

    Args:
        definition: MONAI's ``network_def``, as ``catalogue.check_definition`` returns it.
        where: what the definition is part of, for errors.

    Raises:
        RequestError: the network refuses the arguments, or they ask for an absurd size.
    """
    if definition.get("pretrained"):
        raise RequestError(
            f"{where}: found pretrained weights asked for, which would be downloaded, expected"
            ' "pretrained": false, as the bundle has weights of its own; correct it'
        )
    module, name = definition["_target_"].rsplit(".", 1)
    arguments = {key: value for key, value in definition.items() if key != "_target_"}
    try:
        network = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        package = str(error.name).replace("_", "-")
        raise RequestError(
            f"{where}: {name} needs the Python package {package}, found none; install it with pip"
        ) from error
    try:
        # a dry run on the meta device, which takes no memory
        with torch.device("meta"), _LinspaceOnCpu(), _bounded(where):
            network(**arguments)
    except BUILD_ERRORS as error:
        raise RequestError(
            f"{where}: {name} cannot be built from its arguments ({cause(error)}); expected the"
            " arguments that it was trained with; correct them in configs/inference.json"
        ) from error
    return network(**arguments)


class _LinspaceOnCpu(TorchFunctionMode):
    """Keep ``torch.linspace`` on the CPU in the dry run: MONAI's transformers read its values."""

    def __torch_function__(
        self, function: Any, types: Any, arguments: Any = (), more: Any = None
    ) -> Any:
        on = {"device": "cpu"} if function is torch.linspace else {}
        return function(*arguments, **{**(more or {}), **on})


@contextmanager
def _bounded(where: str) -> Iterator[None]:
    """Stop the building of a network as soon as it exceeds the limits of this module.

    Raises:
        RequestError: more than ``TENSORS_LIMIT`` weight tensors or ``WEIGHTS_LIMIT`` weights.
    """
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


def without_training_heads(
    weights: Mapping[str, Tensor], network: nn.Module, definition: Mapping[str, Any]
) -> dict[str, Tensor]:
    """The weights without those of outputs that only training uses.

    Args:
        weights: of the network as it was trained.
        network: the same one, built from ``catalogue.with_one_output(definition)``.
        definition: MONAI's ``network_def``.
    """
    pattern, expected = SEGMENTATION[definition["_target_"]].training_heads, network.state_dict()
    return {k: v for k, v in weights.items() if k in expected or not re.match(pattern, k)}


def encoder(network: nn.Module, definition: Mapping[str, Any]) -> tuple[nn.Module, ...]:
    """The submodules of the contracting path; empty for a network where it is not known."""
    names = SEGMENTATION[definition["_target_"]].encoder(definition)
    return tuple(network.get_submodule(name) for name in names)


def early_stages(
    network: nn.Module, definition: Mapping[str, Any], level: int
) -> tuple[nn.Module, ...]:
    """The submodules up to the early features of ``level`` 0 or 1, in order.

    Raises:
        RequestError: the network has no such stages.
    """
    stages = SEGMENTATION[definition["_target_"]].early_stages
    if level >= len(stages):
        raise RequestError(
            f"early features: found {definition['_target_']}, which does not keep the first layers"
            " apart from the rest; use a method that needs no early head"
        )
    names = (name for stage in stages[: level + 1] for name in stage)
    return tuple(network.get_submodule(name) for name in names)
