"""What the classifier of any network sees: the input of the convolution that it applies last."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)


def classifier(network: nn.Module, images: Tensor) -> str:
    """The name of the convolution that is applied last in a forward pass of images."""
    called: list[str] = []
    hooks = [
        part.register_forward_hook(lambda *_, name=name: called.append(name))
        for name, part in network.named_modules()
        if isinstance(part, CONVOLUTIONS)
    ]
    with torch.no_grad():
        network(images)
    for hook in hooks:
        hook.remove()
    return called[-1]


def forward(network: nn.Module, name: str, images: Tensor) -> tuple[Tensor, Tensor]:
    """Features (B, F, ...) before the classifier, and the logits."""
    seen: list[Tensor] = []
    part = network.get_submodule(name)
    hook = part.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        logits = network(images)
    finally:
        hook.remove()
    return seen[0].float(), logits.float()


def with_head_rate(
    network: nn.Module, name: str, rate: float, factor: float
) -> list[dict[str, object]]:
    """Groups of an optimiser: the classifier's weights learn so many times as fast as the rest."""
    head = list(network.get_submodule(name).parameters())
    body = [p for p in network.parameters() if all(p is not h for h in head)]
    return [{"params": body}, {"params": head, "lr": rate * factor}]


@contextmanager
def dropout(network: nn.Module, name: str, rate: float) -> Iterator[None]:
    """Dropout in a network for the time being: its own, or of the features before the classifier
    where it has none.
    """
    own = [m for m in network.modules() if isinstance(m, nn.modules.dropout._DropoutNd) and m.p]
    was = [module.training for module in own]
    hook = None
    if own:
        for module in own:
            module.train()
    else:
        hook = network.get_submodule(name).register_forward_pre_hook(
            lambda _, inputs: (F.dropout(inputs[0], rate), *inputs[1:])
        )
    try:
        yield
    finally:
        for module, mode in zip(own, was, strict=True):
            module.train(mode)
        if hook:
            hook.remove()


def prototypes(network: nn.Module, name: str, images: Tensor) -> Tensor:
    """The classifier's weights as one direction a class (K, F): the mean gradient of each logit.

    For a classifier of width 1, whatever affine layers follow it, that is its weight vector. One
    output of a sigmoid gives w / 2 to the foreground and - w / 2 to the background, whose logits
    then differ by the original one.
    """
    was = network.training
    network.eval()
    seen: list[Tensor] = []

    def as_leaf(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        seen.append(inputs[0].detach().requires_grad_(True))
        return (seen[0], *inputs[1:])

    hook = network.get_submodule(name).register_forward_pre_hook(as_leaf)
    try:
        with torch.enable_grad():
            logits = network(images)
            places = logits[:, 0].numel()
            directions = [
                torch.autograd.grad(logits[:, k].sum(), seen[0], retain_graph=True)[0]
                .transpose(0, 1)
                .flatten(1)
                .sum(1)
                / places
                for k in range(logits.shape[1])
            ]
    finally:
        hook.remove()
        network.train(was)
    weights = torch.stack(directions)
    return torch.cat([-weights / 2, weights / 2]) if len(weights) == 1 else weights


def class_means(features: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean features of each class (K, F).

    Args:
        features: (B, F, ...).
        weights: (B, K, ...); a class without weight gets zeros.
    """
    flat = features.transpose(0, 1).flatten(1)  # (F, N)
    share = weights.transpose(0, 1).flatten(1).to(flat.dtype)  # (K, N)
    return share @ flat.T / share.sum(1, keepdim=True).clamp(min=1e-8)


def resized(maps: Tensor, like: Tensor) -> Tensor:
    """Maps (B, C, ...) at the resolution of others, nearest neighbour."""
    if maps.shape[2:] == like.shape[2:]:
        return maps
    return F.interpolate(maps, size=like.shape[2:], mode="nearest")
