"""nnU-Net's networks, of dynamic-network-architectures, with arguments that are plain data.

The modules and so the names of the weights are that library's own. Its operations are classes;
here they are words of a list, and the number of dimensions decides the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dynamic_network_architectures.architectures import unet
from torch import nn

CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}
NORMS: Mapping[str, Mapping[int, type[nn.Module]]] = {
    "InstanceNorm": {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d},
    "BatchNorm": {2: nn.BatchNorm2d, 3: nn.BatchNorm3d},
}
DROPOUTS = {"Dropout": {2: nn.Dropout2d, 3: nn.Dropout3d}}
NONLINEARITIES = {"LeakyReLU": nn.LeakyReLU, "ReLU": nn.ReLU}

Sizes = Sequence[int] | Sequence[Sequence[int]]


def _operations(
    spatial_dims: int,
    conv_bias: bool,
    norm: str | None,
    norm_arguments: Mapping[str, Any] | None,
    dropout: str | None,
    dropout_arguments: Mapping[str, Any] | None,
    nonlinearity: str,
    nonlinearity_arguments: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The library's arguments for the operations."""
    return {
        "conv_op": CONVOLUTION[spatial_dims],
        "conv_bias": conv_bias,
        "norm_op": None if norm is None else NORMS[norm][spatial_dims],
        "norm_op_kwargs": dict(norm_arguments or {}),
        "dropout_op": None if dropout is None else DROPOUTS[dropout][spatial_dims],
        "dropout_op_kwargs": dict(dropout_arguments or {}),
        "nonlin": NONLINEARITIES[nonlinearity],
        "nonlin_kwargs": dict(nonlinearity_arguments or {}),
    }


class PlainConvUNet(unet.PlainConvUNet):
    """nnU-Net's default: stacked convolutions, strided ones between the stages.

    Args:
        spatial_dims: 2 or 3.
        features, kernel_sizes, strides, convolutions: of each stage, the first at full resolution.
        decoder_convolutions: of each stage but the deepest.
        norm, dropout, nonlinearity: words of ``NORMS``, ``DROPOUTS``, ``NONLINEARITIES``.

    Input ``(N, in_channels, [k,] j, i)`` with sides that are multiples of the strides' products;
    output the logits ``(N, out_channels, [k,] j, i)``.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        features: Sequence[int],
        kernel_sizes: Sizes,
        strides: Sizes,
        convolutions: Sequence[int],
        decoder_convolutions: Sequence[int],
        conv_bias: bool = True,
        norm: str | None = "InstanceNorm",
        norm_arguments: Mapping[str, Any] | None = None,
        dropout: str | None = None,
        dropout_arguments: Mapping[str, Any] | None = None,
        nonlinearity: str = "LeakyReLU",
        nonlinearity_arguments: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            input_channels=in_channels,
            num_classes=out_channels,
            n_stages=len(features),
            features_per_stage=features,
            kernel_sizes=kernel_sizes,
            strides=strides,
            n_conv_per_stage=convolutions,
            n_conv_per_stage_decoder=decoder_convolutions,
            **_operations(
                *(spatial_dims, conv_bias, norm, norm_arguments, dropout, dropout_arguments),
                *(nonlinearity, nonlinearity_arguments),
            ),
        )


class ResidualEncoderUNet(unet.ResidualEncoderUNet):
    """nnU-Net's residual encoder presets: a stem, then stages of residual blocks.

    Args:
        blocks: of each stage.
        stem_channels: None for the features of the first stage.

    The others, input and output as in ``PlainConvUNet``.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        features: Sequence[int],
        kernel_sizes: Sizes,
        strides: Sizes,
        blocks: Sequence[int],
        decoder_convolutions: Sequence[int],
        conv_bias: bool = True,
        norm: str | None = "InstanceNorm",
        norm_arguments: Mapping[str, Any] | None = None,
        dropout: str | None = None,
        dropout_arguments: Mapping[str, Any] | None = None,
        nonlinearity: str = "LeakyReLU",
        nonlinearity_arguments: Mapping[str, Any] | None = None,
        stem_channels: int | None = None,
    ) -> None:
        super().__init__(
            input_channels=in_channels,
            num_classes=out_channels,
            n_stages=len(features),
            features_per_stage=features,
            kernel_sizes=kernel_sizes,
            strides=strides,
            n_blocks_per_stage=blocks,
            n_conv_per_stage_decoder=decoder_convolutions,
            stem_channels=stem_channels,
            **_operations(
                *(spatial_dims, conv_bias, norm, norm_arguments, dropout, dropout_arguments),
                *(nonlinearity, nonlinearity_arguments),
            ),
        )
