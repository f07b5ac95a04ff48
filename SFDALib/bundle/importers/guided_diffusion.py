"""Rename the weights of the guided-diffusion U-Net (Med-DDPM's files) to MONAI's names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

import torch
from torch import nn

from SFDALib.errors import RequestError
from SFDALib.networks.diffusion_unet import ConditionalDiffusionUNet

# A residual block's and an attention block's parts: MONAI's name, guided-diffusion's name.
RESIDUAL_PARTS = (
    ("norm1", "in_layers.0"),
    ("conv1.conv", "in_layers.2"),
    ("time_emb_proj", "emb_layers.1"),
    ("norm2", "out_layers.0"),
    ("conv2.conv", "out_layers.3"),
    ("skip_connection.conv", "skip_connection"),
)
ATTENTION_PARTS = (
    ("norm", "norm"),
    ("attn.to_q", "qkv"),
    ("attn.to_k", "qkv"),
    ("attn.to_v", "qkv"),
    ("attn.out_proj", "proj_out"),
)
QKV_ORDER = ("attn.to_q", "attn.to_k", "attn.to_v")


def weights_from_guided_diffusion(
    state_dict: Mapping[str, torch.Tensor], network: ConditionalDiffusionUNet
) -> dict[str, torch.Tensor]:
    """Rename and reshape a guided-diffusion U-Net's weights for ``network.load_state_dict``.

    Args:
        state_dict: guided-diffusion's names to tensors, as in a U-Net's own file or, prefixed by
            ``denoise_fn.``, among the buffers of a Med-DDPM diffusion.
        network: the network the weights are for; its attention blocks have one head each, as
            Med-DDPM's have.

    Returns:
        A state dict with exactly the names and shapes of ``network``'s.

    Raises:
        RequestError: a weight is missing, left over, or of another shape than the network's.
    """
    prefix = "denoise_fn."
    if any(name.startswith(prefix) for name in state_dict):
        state_dict = {
            name.removeprefix(prefix): weight
            for name, weight in state_dict.items()
            if name.startswith(prefix)
        }

    expected = network.state_dict()
    weights: dict[str, torch.Tensor] = {}
    used: set[str] = set()
    for module, original in _module_names(network):
        for kind in ("weight", "bias"):
            name, source = f"{module}.{kind}", f"{original}.{kind}"
            if name not in expected:  # a block whose skip connection is the identity
                continue
            if source not in state_dict:
                raise RequestError(
                    f"guided-diffusion weights: found no '{source}', expected it; choose the"
                    " weights of the described network"
                )
            used.add(source)
            weight = state_dict[source]
            for third, part in enumerate(QKV_ORDER):
                if module.endswith(part):
                    weight = weight.chunk(3)[third]
            if module.endswith(("attn.out_proj", *QKV_ORDER)) and kind == "weight":
                weight = weight.squeeze(-1)  # a Conv1d of kernel size 1 is a Linear layer
            if weight.shape != expected[name].shape:
                raise RequestError(
                    f"guided-diffusion weights: found '{source}' of shape {tuple(weight.shape)},"
                    f" expected {tuple(expected[name].shape)}; choose the weights of the described"
                    " network"
                )
            weights[name] = weight

    left_over = sorted(set(state_dict) - used)
    if left_over:
        raise RequestError(
            f"guided-diffusion weights: found {len(left_over)} surplus, such as '{left_over[0]}',"
            " expected exactly those of the described network; choose the weights of it"
        )
    return weights


def _module_names(network: ConditionalDiffusionUNet) -> Iterator[tuple[str, str]]:
    """Pairs of a module's name in MONAI's network and in guided-diffusion's."""
    yield from (("time_embed.0", "time_embed.0"), ("time_embed.2", "time_embed.2"))
    yield from (("conv_in.conv", "input_blocks.0.0"), ("out.0", "out.0"), ("out.2.conv", "out.2"))

    block = 1
    for level, down in enumerate(network.down_blocks):
        for i in range(_length(down.resnets)):
            yield from _residual(f"down_blocks.{level}.resnets.{i}", f"input_blocks.{block}.0")
            if hasattr(down, "attentions"):
                name = f"down_blocks.{level}.attentions.{i}"
                yield from _attention(name, f"input_blocks.{block}.1")
            block += 1
        if down.downsampler is not None:
            yield f"down_blocks.{level}.downsampler.op.conv", f"input_blocks.{block}.0.op"
            block += 1

    yield from _residual("middle_block.resnet_1", "middle_block.0")
    yield from _attention("middle_block.attention", "middle_block.1")
    yield from _residual("middle_block.resnet_2", "middle_block.2")

    block = 0
    for level, up in enumerate(network.up_blocks):
        attends = hasattr(up, "attentions")
        for i in range(_length(up.resnets)):
            yield from _residual(f"up_blocks.{level}.resnets.{i}", f"output_blocks.{block}.0")
            if attends:
                name = f"up_blocks.{level}.attentions.{i}"
                yield from _attention(name, f"output_blocks.{block}.1")
            block += 1
        if up.upsampler is not None:  # the last part of the level's last block
            name = f"up_blocks.{level}.upsampler.postconv.conv"
            yield name, f"output_blocks.{block - 1}.{2 if attends else 1}.conv"


def _length(blocks: object) -> int:
    return len(cast(nn.ModuleList, blocks))


def _residual(name: str, original: str) -> Iterator[tuple[str, str]]:
    return ((f"{name}.{ours}", f"{original}.{theirs}") for ours, theirs in RESIDUAL_PARTS)


def _attention(name: str, original: str) -> Iterator[tuple[str, str]]:
    return ((f"{name}.{ours}", f"{original}.{theirs}") for ours, theirs in ATTENTION_PARTS)
