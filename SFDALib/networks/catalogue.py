"""The allow-list of networks, with the facts about each that its arguments alone decide.

A bundle names a network by a string and gives plain arguments: data, never code. To add a network,
add one entry to ``SEGMENTATION``. Standard library alone; ``build`` builds what is listed here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from SFDALib.errors import RequestError


@dataclass(frozen=True)
class Architecture:
    """What a segmentation network is asked for beside its logits.

    Args:
        divisor: network arguments -> for each axis the number that the side of its input must be a
            multiple of; one number stands for all axes.
        early_stages: for level 0 and 1 the submodules which, applied one after the other to the
            image, give the features at full resolution, and from there those after the first
            down-sampling; empty for a network without such stages.
        batch_norm: network arguments -> whether it normalises by batch statistics.
        encoder: network arguments -> submodules of the contracting path; the rest is the decoder.
            None of them where the two cannot be told apart.
        one_output: the arguments with which it has one output while it trains, too, and loads
            nothing.
        training_heads: pattern of the weights that it has no use for then.
    """

    divisor: Callable[[Mapping[str, Any]], int | tuple[int, ...]]
    early_stages: tuple[tuple[str, ...], ...] = ()
    batch_norm: Callable[[Mapping[str, Any]], bool] = lambda arguments: False
    encoder: Callable[[Mapping[str, Any]], tuple[str, ...]] = lambda arguments: ()
    one_output: Mapping[str, Any] = field(default_factory=dict)
    training_heads: str = "(?!)"


def _product_of_strides(arguments: Mapping[str, Any]) -> tuple[int, ...]:
    dims = arguments["spatial_dims"]
    levels = [s if isinstance(s, list | tuple) else [s] * dims for s in arguments["strides"]]
    return tuple(math.prod(level) for level in zip(*levels, strict=True))


def _levels(default: Sequence[int]) -> Callable[[Mapping[str, Any]], int]:
    """The product of halvings between the levels, of which ``blocks_down`` has a number each."""
    return lambda arguments: 2 ** (len(arguments.get("blocks_down", default)) - 1)


def _names_batch(argument: str, default: str = "instance") -> Callable[[Mapping[str, Any]], bool]:
    """Whether the normalisation that this argument names, alone or with arguments of its own, is
    by batch.
    """

    def names_batch(arguments: Mapping[str, Any]) -> bool:
        name = arguments.get(argument, default)
        name = name[0] if isinstance(name, list | tuple) and name else name
        return "batch" in str(name).lower()

    return names_batch


def _parts(*names: str) -> Callable[[Mapping[str, Any]], tuple[str, ...]]:
    return lambda arguments: names


def _nested_levels(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """Of MONAI's UNet, in which each level holds the next deeper one: the way down, the deepest."""
    deeper = ".1.submodule"
    levels = len(arguments["strides"])
    return (
        *(f"model{level * deeper}.0" for level in range(levels)),
        f"model{levels * deeper}",
    )


SEGMENTATION: dict[str, Architecture] = {
    "SFDALib.networks.residual_unet.ResidualUNet": Architecture(
        divisor=lambda arguments: 8,
        early_stages=(("init_path",), ("down1",)),
        batch_norm=lambda arguments: True,
        encoder=_parts("init_path", "down1", "down2", "down3"),
    ),
    "SFDALib.networks.sfda_unet.SFDAUNet": Architecture(
        divisor=lambda arguments: 8,
        early_stages=(("conv0",), ("conv1",)),
        batch_norm=lambda arguments: True,
        encoder=_parts("conv0", "conv1", "conv2", "bridge"),
    ),
    "SFDALib.networks.nnunet.PlainConvUNet": Architecture(
        divisor=_product_of_strides,
        early_stages=(("encoder.stages.0",), ("encoder.stages.1",)),
        batch_norm=_names_batch("norm"),
        encoder=_parts("encoder"),
    ),
    "SFDALib.networks.nnunet.ResidualEncoderUNet": Architecture(
        divisor=_product_of_strides,
        early_stages=(("encoder.stem", "encoder.stages.0"), ("encoder.stages.1",)),
        batch_norm=_names_batch("norm"),
        encoder=_parts("encoder"),
    ),
    "monai.networks.nets.DynUNet": Architecture(
        divisor=_product_of_strides,
        early_stages=(("input_block",), ("downsamples.0",)),
        batch_norm=_names_batch("norm_name"),
        encoder=_parts("input_block", "downsamples", "bottleneck"),
        one_output={"deep_supervision": False},
        training_heads=r"(.*\.)?(deep_supervision_heads|super_head)\.",
    ),
    "monai.networks.nets.SegResNet": Architecture(
        divisor=_levels((1, 2, 2, 4)),
        early_stages=(("convInit", "down_layers.0"), ("down_layers.1",)),
        batch_norm=_names_batch("norm"),
        encoder=_parts("convInit", "down_layers"),
    ),
    "monai.networks.nets.SegResNetDS": Architecture(
        divisor=_levels((1, 2, 2, 4)),  # at least what anisotropic kernels ask for
        early_stages=(
            ("encoder.conv_init", "encoder.layers.0.blocks"),
            ("encoder.layers.0.downsample", "encoder.layers.1.blocks"),
        ),
        batch_norm=_names_batch("norm", default="batch"),
        encoder=_parts("encoder"),
        one_output={"dsdepth": 1},
        training_heads=r"up_layers\.\d+\.head\.",
    ),
    "monai.networks.nets.SwinUNETR": Architecture(
        divisor=lambda arguments: arguments.get("patch_size", 2) ** 5,
        early_stages=(("encoder1",),),  # the transformer halves the image at once
        batch_norm=_names_batch("norm_name"),
        encoder=_parts("swinViT", "encoder1", "encoder2", "encoder3", "encoder4", "encoder10"),
    ),
    "monai.networks.nets.UNet": Architecture(
        divisor=_product_of_strides, batch_norm=_names_batch("norm"), encoder=_nested_levels
    ),
    "monai.networks.nets.BasicUNet": Architecture(
        divisor=lambda arguments: 16,
        early_stages=(("conv_0",), ("down_1",)),
        batch_norm=_names_batch("norm"),
        encoder=_parts("conv_0", "down_1", "down_2", "down_3", "down_4"),
    ),
    "monai.networks.nets.AttentionUnet": Architecture(
        divisor=_product_of_strides, batch_norm=lambda arguments: True
    ),
    "monai.networks.nets.FlexibleUNet": Architecture(
        divisor=lambda arguments: 32,
        batch_norm=_names_batch("norm", default="batch"),
        encoder=_parts("encoder"),
        one_output={"pretrained": False},
    ),
    "SFDALib.networks.dints.DiNTS": Architecture(
        divisor=lambda arguments: (
            2 ** (arguments.get("num_depths", 3) + bool(arguments.get("use_downsample", True)))
        ),
        batch_norm=_names_batch("norm_name"),
    ),
    "monai.networks.nets.VNet": Architecture(
        divisor=lambda arguments: 16,
        batch_norm=lambda arguments: True,
        encoder=_parts("in_tr", "down_tr32", "down_tr64", "down_tr128", "down_tr256"),
    ),
}
NUMBER_LIMIT = 10**6
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


def divisor(definition: Mapping[str, Any], where: str = "network_def") -> tuple[int, ...]:
    """For each axis the number that the side of the network's input must be a multiple of.

    Raises:
        RequestError: the arguments that decide it are missing or no numbers.
    """
    try:
        found = SEGMENTATION[definition["_target_"]].divisor(definition)
        each = found if isinstance(found, tuple) else (found,) * definition["spatial_dims"]
    except (KeyError, TypeError, ValueError) as error:
        raise RequestError(
            f"{where}: found strides that cannot be read ({error!r:.80}), expected one whole number"
            " or list for each level; correct them"
        ) from error
    if any(type(n) is int and n > NUMBER_LIMIT for n in each):
        raise RequestError(
            f"{where}: found levels that together shrink an image more than {NUMBER_LIMIT} times,"
            " expected fewer; correct them"
        )
    if len(each) != definition["spatial_dims"] or not all(type(n) is int and n >= 1 for n in each):
        raise RequestError(
            f"{where}: found strides with the products {each!r:.80}, expected whole numbers from"
            " 1; correct them"
        )
    return each


def with_one_output(definition: Mapping[str, Any]) -> dict[str, Any]:
    """The same network without the outputs at lower resolution that helped its training."""
    return {**definition, **SEGMENTATION[definition["_target_"]].one_output}


def has_batch_norm(definition: Mapping[str, Any]) -> bool:
    """Whether the network normalises by batch statistics, told by its arguments alone."""
    return SEGMENTATION[definition["_target_"]].batch_norm(definition)
