"""Residual U-Net with a segmentation head on its early features (Sheikh and Schultz, UDAS).

Everything before the first down-sampling (``init_path``) is small and sees little context; the
rest is deep. UDAS adapts only the former, with the latter as its teacher.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
BATCH_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class PreActivation(nn.Module):
    """BN, ReLU, convolution without change of resolution."""

    def __init__(
        self, spatial_dims: int, inputs: int, outputs: int, kernel: int, bias: bool = False
    ) -> None:
        super().__init__()
        self.norm = BATCH_NORM[spatial_dims](inputs)
        self.convolution = CONVOLUTION[spatial_dims](
            inputs, outputs, kernel, padding=kernel // 2, bias=bias
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features ``(N, outputs, [k,] j, i)`` of features ``(N, inputs, [k,] j, i)``."""
        return self.convolution(torch.relu(self.norm(x)))


class ResidualBlock(nn.Module):
    """Two pre-activated convolutions plus the identity."""

    def __init__(self, spatial_dims: int, channels: int, kernel: int = 3) -> None:
        super().__init__()
        self.path = nn.Sequential(
            PreActivation(spatial_dims, channels, channels, kernel),
            PreActivation(spatial_dims, channels, channels, kernel),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features of the shape of ``x``, ``(N, channels, [k,] j, i)``."""
        return x + self.path(x)


class ResidualUNet(nn.Module):
    """Four levels, summed shortcuts, and a batch normalisation of the logits.

    Args:
        spatial_dims: 2 or 3.
        in_channels: image channels C.
        out_channels: 1 for a binary model (sigmoid), else the number of classes (softmax).
        features: channels at full resolution; doubled at each of the three down-samplings.

    Input ``(N, C, [k,] j, i)`` with sides that are multiples of 8; output the logits
    ``(N, out_channels, [k,] j, i)``. With 16 features in 2D: 2,434,771 parameters for one output.
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, features: int = 16
    ) -> None:
        super().__init__()
        conv, transposed, norm = (
            CONVOLUTION[spatial_dims],
            TRANSPOSED[spatial_dims],
            BATCH_NORM[spatial_dims],
        )

        def blocks(channels: int) -> list[nn.Module]:
            return [ResidualBlock(spatial_dims, channels) for _ in range(3)]

        def down(channels: int) -> nn.Sequential:
            halving = conv(channels, 2 * channels, 2, stride=2, bias=False)
            return nn.Sequential(norm(channels), halving, nn.ReLU(), *blocks(2 * channels))

        def up(channels: int) -> nn.Sequential:
            doubling = transposed(channels, channels // 2, 2, stride=2, bias=False)
            return nn.Sequential(*blocks(channels), norm(channels), doubling, nn.ReLU())

        n = features
        first = conv(in_channels, n, 3, padding=1, bias=False)
        self.init_path = nn.Sequential(first, nn.ReLU(), *blocks(n))
        self.shortcut0 = conv(n, n, 1)
        self.down1 = down(n)
        self.shortcut1 = conv(2 * n, 2 * n, 1)
        self.down2 = down(2 * n)
        self.shortcut2 = conv(4 * n, 4 * n, 1)
        self.down3 = down(4 * n)
        self.up3 = up(8 * n)
        self.up2 = up(4 * n)
        self.up1 = up(2 * n)
        self.out_path = nn.Sequential(
            ResidualBlock(spatial_dims, n, kernel=1),
            PreActivation(spatial_dims, n, out_channels, kernel=1, bias=True),
            norm(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(N, out_channels, [k,] j, i)`` of an image ``(N, in_channels, [k,] j, i)``."""
        x0 = self.init_path(x)
        x1 = self.down1(x0)
        x2 = self.down2(x1)
        x2 = self.up3(self.down3(x2)) + self.shortcut2(x2)
        x1 = self.up2(x2) + self.shortcut1(x1)
        x0 = self.up1(x1) + self.shortcut0(x0)
        return self.out_path(x0)


class EarlyHead(nn.Sequential):
    """Three small convolutions that segment from early features.

    Input ``(N, channels, ...)``, output logits ``(N, out_channels, ...)`` at the same resolution.
    """

    def __init__(self, spatial_dims: int, channels: int, out_channels: int) -> None:
        conv = CONVOLUTION[spatial_dims]
        super().__init__(
            conv(channels, 12, 3, padding=1),
            nn.ReLU(),
            conv(12, 8, 3, padding=1),
            nn.ReLU(),
            conv(8, out_channels, 3, padding=1),
        )
