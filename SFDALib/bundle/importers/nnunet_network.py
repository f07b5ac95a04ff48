"""The network that nnU-Net's plans describe, as a ``network_def``.

Plans from before nnU-Net 2.4.2, whose architecture is a flat list of numbers, are read like new
ones. Standard library alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from SFDALib.errors import RequestError

NETWORKS = {
    "dynamic_network_architectures.architectures.unet.PlainConvUNet": "PlainConvUNet",
    "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet": "ResidualEncoderUNet",
    "dynamic_network_architectures.architectures.residual_unet.ResidualEncoderUNet": (
        "ResidualEncoderUNet"
    ),
}
OPERATIONS = {
    **{f"torch.nn.{module}InstanceNorm{d}d": "InstanceNorm" for d in (2, 3)
       for module in ("", "modules.instancenorm.")},
    **{f"torch.nn.{module}BatchNorm{d}d": "BatchNorm" for d in (2, 3)
       for module in ("", "modules.batchnorm.")},
    **{f"torch.nn.{module}Dropout{d}d": "Dropout" for d in (2, 3)
       for module in ("", "modules.dropout.")},
    **{f"torch.nn.{module}{name}": name for name in ("LeakyReLU", "ReLU")
       for module in ("", "modules.activation.")},
    **{f"torch.nn.{module}Conv{d}d": f"Conv{d}d" for d in (2, 3)
       for module in ("", "modules.conv.")},
}  # fmt: skip


def network(
    configuration: Mapping[str, Any], channels: int, outputs: int, where: str
) -> dict[str, Any]:
    """The ``network_def`` of a bundle.

    Raises:
        RequestError: another network, operation or argument than those of the lists.
    """
    if "architecture" not in configuration:
        configuration = {"architecture": _old_architecture(configuration)}
    architecture = configuration["architecture"]
    expect(where, "network_class_name", architecture["network_class_name"], tuple(NETWORKS))
    kind = NETWORKS[architecture["network_class_name"]]
    given = dict(architecture["arch_kwargs"])
    stages = given.pop("n_stages")

    def each(key: str, count: int = stages) -> list[Any]:
        value = given.pop(key)
        return list(value) if isinstance(value, list | tuple) else [value] * count

    def operation(key: str) -> str | None:
        value = given.pop(key, None)
        if value is not None:
            expect(where, key, value, tuple(OPERATIONS))
        return OPERATIONS.get(value)

    convolution = operation("conv_op")
    definition = {
        "_target_": f"SFDALib.networks.nnunet.{kind}",
        "spatial_dims": int(str(convolution)[-2]),
        "in_channels": channels,
        "out_channels": outputs,
        "features": each("features_per_stage"),
        "kernel_sizes": each("kernel_sizes"),
        "strides": each("strides"),
        "decoder_convolutions": each("n_conv_per_stage_decoder", stages - 1),
        "conv_bias": given.pop("conv_bias", False),
        "norm": operation("norm_op"),
        "norm_arguments": given.pop("norm_op_kwargs", None),
        "dropout": operation("dropout_op"),
        "dropout_arguments": given.pop("dropout_op_kwargs", None),
        "nonlinearity": operation("nonlin"),
        "nonlinearity_arguments": given.pop("nonlin_kwargs", None),
    }
    if kind == "PlainConvUNet":
        definition["convolutions"] = each("n_conv_per_stage")
    else:
        definition["blocks"] = each("n_blocks_per_stage")
        definition["stem_channels"] = given.pop("stem_channels", None)
    given.pop("deep_supervision", None)  # of the training alone
    if given:
        refuse(where, "arch_kwargs", ", ".join(given), "those of nnU-Net's own planners")
    return definition


def _old_architecture(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """The architecture of plans from before nnU-Net 2.4.2, which had fixed operations."""
    kind = configuration["UNet_class_name"]
    dims = len(configuration["patch_size"])
    encoder = configuration["n_conv_per_stage_encoder"]
    base, most = configuration["UNet_base_num_features"], configuration["unet_max_num_features"]
    counts = "n_conv_per_stage" if kind == "PlainConvUNet" else "n_blocks_per_stage"
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{kind}",
        "arch_kwargs": {
            "n_stages": len(encoder),
            "features_per_stage": [min(base * 2**i, most) for i in range(len(encoder))],
            "conv_op": f"torch.nn.Conv{dims}d",
            "kernel_sizes": configuration["conv_kernel_sizes"],
            "strides": configuration["pool_op_kernel_sizes"],
            counts: encoder,
            "n_conv_per_stage_decoder": configuration["n_conv_per_stage_decoder"],
            "conv_bias": True,
            "norm_op": f"torch.nn.InstanceNorm{dims}d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
    }


def expect(where: str, field: str, found: object, known: tuple[object, ...]) -> None:
    """Refuse a value that is not among the known ones.

    Raises:
        RequestError: naming the field, what was found and what was expected.
    """
    if found not in known:
        refuse(where, field, found, " or ".join(str(one) for one in known))


def refuse(where: str, field: str, found: object, expected: str) -> NoReturn:
    """Refuse a model because of one field of its plans.

    Raises:
        RequestError: always.
    """
    raise RequestError(
        f'{where}: found {field} "{str(found)[:120]}", expected {expected}; this model cannot be'
        " imported as it is"
    )
