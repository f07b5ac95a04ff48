"""U-Net of the code published with AdaEnt and AdaMI (Bateson et al.), so that its checkpoints load.

The names of the weights are those of that code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from SFDALib.networks.residual_unet import BATCH_NORM, CONVOLUTION


def _block(dims: int, inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Convolution of width 3 without bias, BN, PReLU with one slope."""
    convolution = CONVOLUTION[dims](inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, BATCH_NORM[dims](outputs), nn.PReLU())


def _level(dims: int, inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(_block(dims, inputs, outputs, stride), _block(dims, outputs, outputs))


def _up(dims: int, channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Upsample(scale_factor=2),
        _block(dims, channels, channels),
        _block(dims, channels, channels),
    )


class _Residual(nn.Module):
    """Block, convolution and BN, plus the identity; then a leaky ReLU of slope 0.2."""

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        convolution = CONVOLUTION[dims](channels, channels, 3, padding=1)
        block = _block(dims, channels, channels)
        self.convs = nn.Sequential(block, convolution, BATCH_NORM[dims](channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.convs(x), 0.2)


class SFDAUNet(nn.Module):
    """Four levels with strided convolutions, nearest-neighbour upsampling, concatenated skips.

    Args:
        spatial_dims: 2 as published, or 3.
        in_channels: image channels C.
        out_channels: 1 for a binary model (sigmoid), else the number of classes (softmax; the
            original's binary models have 2).
        features: channels at full resolution, doubled at each of the three down-samplings.

    Input ``(N, C, [k,] j, i)`` with sides that are multiples of 8; output the logits
    ``(N, out_channels, [k,] j, i)``. With 32 features in 2D: 4,678,775 parameters for two outputs.
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, features: int = 32
    ) -> None:
        super().__init__()
        dims, n = spatial_dims, features
        self.conv0 = _level(dims, in_channels, n)
        self.conv1 = _level(dims, n, 2 * n, stride=2)
        self.conv2 = _level(dims, 2 * n, 4 * n, stride=2)
        self.bridge = nn.Sequential(
            _block(dims, 4 * n, 8 * n, stride=2), _Residual(dims, 8 * n), _block(dims, 8 * n, 8 * n)
        )
        self.deconv1 = _up(dims, 8 * n)
        self.conv5 = _level(dims, 12 * n, 4 * n)
        self.deconv2 = _up(dims, 4 * n)
        self.conv6 = _level(dims, 6 * n, 2 * n)
        self.deconv3 = _up(dims, 2 * n)
        self.conv7 = _level(dims, 3 * n, n)
        self.final = CONVOLUTION[dims](n, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(N, out_channels, [k,] j, i)`` of an image ``(N, in_channels, [k,] j, i)``."""
        x0 = self.conv0(x)
        x1 = self.conv1(x0)
        x2 = self.conv2(x1)
        y = self.deconv1(self.bridge(x2))
        y = self.deconv2(self.conv5(torch.cat([y, x2], dim=1)))
        y = self.deconv3(self.conv6(torch.cat([y, x1], dim=1)))
        return self.final(self.conv7(torch.cat([y, x0], dim=1)))
