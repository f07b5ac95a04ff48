"""The conditional diffusion U-Net: MONAI's ``DiffusionModelUNet`` with Med-DDPM's details.

Dorjsembe et al., "Conditional Diffusion Models for Semantic 3D Brain MRI Synthesis", IEEE JBHI
2024 (Med-DDPM); the network is Dhariwal & Nichol's guided-diffusion U-Net, arXiv:2105.05233.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
from monai.networks.nets import DiffusionModelUNet
from monai.networks.nets.diffusion_model_unet import get_timestep_embedding
from torch import nn

from SFDALib.errors import RequestError


class ConditionalDiffusionUNet(DiffusionModelUNet):
    """Predict the noise in an image from the noisy image, the time step and a mask condition.

    It differs from MONAI's network in three points: the condition enters by concatenation with
    the noisy image, the timestep embedding has a period of 1000 (MONAI: 10000), and features are
    up-sampled (bi-, tri-) linearly (MONAI: nearest).

    Args:
        spatial_dims: 2 or 3.
        image_channels: channels of the image, and of the predicted noise.
        condition_channels: channels of the condition.
        channels: features of each level, each a multiple of ``norm_num_groups``; each level after
            the first halves the grid.
        num_res_blocks: residual blocks a level on the way down (one more on the way up).
        attention_levels: for each level, whether its blocks are followed by self-attention. The
            middle block always has attention.
        num_head_channels: channels of an attention head, for each level; the last also for the
            middle block. 0 where a level has no attention.
        norm_num_groups: groups of every group normalisation.
        max_period: longest period of the timestep embedding, in steps.
        condition_encoding: how the condition is encoded; its channels are 0 or 1, the last is the
            body. "mask": unchanged; "exclusive": the body is 0 where another channel is 1;
            "signed": as "exclusive", then scaled to -1 and 1.
    """

    def __init__(
        self,
        spatial_dims: int,
        image_channels: int,
        condition_channels: int,
        channels: Sequence[int],
        num_res_blocks: int,
        attention_levels: Sequence[bool],
        num_head_channels: Sequence[int],
        norm_num_groups: int = 32,
        max_period: int = 1000,
        condition_encoding: Literal["mask", "exclusive", "signed"] = "mask",
    ) -> None:
        if condition_encoding not in ("mask", "exclusive", "signed"):
            raise ValueError(f"condition_encoding is {condition_encoding!r:.40}")
        super().__init__(
            spatial_dims=spatial_dims,
            in_channels=image_channels + condition_channels,
            out_channels=image_channels,
            num_res_blocks=num_res_blocks,
            channels=channels,
            attention_levels=attention_levels,
            norm_num_groups=norm_num_groups,
            norm_eps=1e-5,
            num_head_channels=num_head_channels,
            use_flash_attention=True,  # the same sum without the (voxels x voxels) matrix
        )
        self.image_channels = image_channels
        self.condition_channels = condition_channels
        self.max_period = max_period
        self.condition_encoding = condition_encoding
        for module in self.modules():
            if isinstance(module, nn.Upsample):
                module.mode = {2: "bilinear", 3: "trilinear"}[spatial_dims]
                module.align_corners = False

    @property
    def divisor(self) -> int:
        """Each side of the image must be a multiple of this."""
        return 2 ** (len(self.block_out_channels) - 1)

    # MONAI's optional arguments are left out: this network has none of what they are for
    def forward(  # type: ignore[override]
        self, x: torch.Tensor, timesteps: torch.Tensor, condition: torch.Tensor
    ) -> torch.Tensor:
        """Predict the noise.

        Args:
            x: noisy images, (N, image_channels, spatial...).
            timesteps: step of each image, 0 the least noisy, (N,).
            condition: (N, condition_channels, spatial...).

        Returns:
            The noise epsilon_theta(x_t, t, c), of the shape of ``x``.

        Raises:
            RequestError: a side of the image is no multiple of ``divisor``.
        """
        if any(side % self.divisor for side in x.shape[2:]):
            raise RequestError(
                f"diffusion network: found a grid of {tuple(x.shape[2:])} voxels, expected sides"
                f" that are multiples of {self.divisor}; pad the image"
            )
        embedding = get_timestep_embedding(timesteps, self.block_out_channels[0], self.max_period)
        embedding = self.time_embed(embedding.to(x.dtype))

        h = self.conv_in(torch.cat([x, self._encoded(condition)], dim=1))
        skips = [h]
        for block in self.down_blocks:
            h, outputs = block(hidden_states=h, temb=embedding)
            skips.extend(outputs)
        h = self.middle_block(hidden_states=h, temb=embedding)
        for block in self.up_blocks:
            count = len(cast(nn.ModuleList, block.resnets))
            h = block(hidden_states=h, res_hidden_states_list=skips[-count:], temb=embedding)
            del skips[-count:]
        return self.out(h)

    def _encoded(self, condition: torch.Tensor) -> torch.Tensor:
        if self.condition_encoding == "mask":
            return condition
        structures, body = condition[:, :-1], condition[:, -1:]
        exclusive = torch.cat([structures, body * (structures.sum(1, keepdim=True) == 0)], dim=1)
        return exclusive if self.condition_encoding == "exclusive" else 2 * exclusive - 1
