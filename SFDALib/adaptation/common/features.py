"""Features: the input of a network's classifier, the module that makes logits of features.

Its name is that within ``assembly.split(network)[0]``: the part whose outputs are region logits
where a network's outputs are regions, else the network itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from SFDALib.bundle import assembly
from SFDALib.errors import RequestError
from SFDALib.methods.iapc import IapcOptions
from SFDALib.methods.pseudo_labels import PseudoLabelOptions

LAYERS = (nn.modules.conv._ConvNd, nn.Linear)  # transposed convolutions, too


def classifier(network: nn.Module, images: Tensor) -> str:
    """The name of the module that makes logits of features.

    Of the layer applied last and the modules around it, the innermost of which the logits are made:
    it has as many outputs, no other layer in it, and with its output as it was the network gives
    the same logits for other images. What follows may be a normalisation, an upsampling or an
    activation. Around the layer it is a residual unit (MONAI's UNet).

    Args:
        images: any batch (B, C, ...) that the network accepts.

    Raises:
        RequestError: there is none.
    """
    base, _ = assembly.split(network)
    called: list[str] = []
    hooks = [
        part.register_forward_hook(lambda *_, name=name: called.append(name))
        for name, part in base.named_modules()
        if isinstance(part, LAYERS)
    ]
    with _evaluating(base):
        base(images)
    for hook in hooks:
        hook.remove()
    name = called[-1] if called else ""
    while name:
        if _makes_the_logits(base, name, images):
            return name
        name = name.rpartition(".")[0]
    raise RequestError(
        f"classifier: found no last layer in {type(base).__name__} of which alone its logits are"
        " made, expected one; use a method that needs none, such as adami or upl"
    )


def _makes_the_logits(base: nn.Module, name: str, images: Tensor) -> bool:
    part = base.get_submodule(name)
    if sum(isinstance(inner, LAYERS) for inner in part.modules()) != 1:
        return False
    outputs: list[Any] = []
    with _evaluating(base):
        hook = part.register_forward_hook(lambda *found: outputs.append(found[-1]))
        logits = base(images)
        hook.remove()
        if len(outputs) != 1 or outputs[0].shape[1] != logits.shape[1]:
            return False
        hook = part.register_forward_hook(lambda *_: outputs[0])
        others = base(images.flip(-1) + 1)
        hook.remove()
    return torch.equal(others, logits)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode without gradients for the time being."""
    was = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(was)


def forward(network: nn.Module, name: str, images: Tensor) -> tuple[Tensor, Tensor]:
    """Features (B, F, ...) before the classifier, and the class logits."""
    base, class_logits = assembly.split(network)
    seen: list[Tensor] = []
    hook = base.get_submodule(name).register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0])
    )
    try:
        logits = class_logits(base(images).float())
    finally:
        hook.remove()
    return seen[0].float(), logits


def head_parameters(network: nn.Module, name: str, images: Tensor) -> list[nn.Parameter]:
    """The weights of the classifier and of what follows it, such as a normalisation of the logits.

    Args:
        images: any batch (B, C, ...) that the network accepts.
    """
    base, _ = assembly.split(network)
    called: list[str] = []
    hooks = [
        part.register_forward_hook(lambda *_, name=name: called.append(name))
        for name, part in base.named_modules()
        if list(part.parameters(recurse=False)) or isinstance(part, LAYERS)
    ]
    with _evaluating(base):
        base(images)
    for hook in hooks:
        hook.remove()
    classifier_ = base.get_submodule(name)
    first = next(i for i, one in enumerate(called) if f"{one}.".startswith(f"{name}."))
    parts = [classifier_, *(base.get_submodule(one) for one in called[first:])]
    return list({id(p): p for part in parts for p in part.parameters()}.values())


def sgd(
    network: nn.Module,
    name: str,
    options: PseudoLabelOptions | IapcOptions,
    nesterov: bool = False,
) -> torch.optim.SGD:
    """SGD with momentum; the classifier learns ``options.head_rate`` times as fast as the rest.

    Args:
        name: of the classifier.
    """
    rate = options.learning_rate
    return torch.optim.SGD(
        with_head_rate(network, name, rate, options.head_rate),
        rate,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
        nesterov=nesterov,
    )


def with_head_rate(
    network: nn.Module, name: str, rate: float, factor: float
) -> list[dict[str, object]]:
    """Groups of an optimiser: the classifier's weights learn so many times as fast as the rest."""
    head = list(assembly.split(network)[0].get_submodule(name).parameters())
    body = [p for p in network.parameters() if all(p is not h for h in head)]
    return [{"params": body}, {"params": head, "lr": rate * factor}]


def _own_dropout(network: nn.Module) -> list[nn.Module]:
    kind = nn.modules.dropout._DropoutNd
    return [module for module in network.modules() if isinstance(module, kind) and module.p]


def has_dropout(network: nn.Module) -> bool:
    """Whether it has layers of dropout with a rate above 0."""
    return bool(_own_dropout(network))


@contextmanager
def dropout(network: nn.Module, name: str, rate: float) -> Iterator[None]:
    """Dropout in a network for the time being: its own, or of the features before the classifier
    where it has none.
    """
    own = _own_dropout(network)
    was = [module.training for module in own]
    hook = None
    if own:
        for module in own:
            module.train()
    else:
        hook = (
            assembly.split(network)[0]
            .get_submodule(name)
            .register_forward_pre_hook(lambda _, inputs: (F.dropout(inputs[0], rate), *inputs[1:]))
        )
    try:
        yield
    finally:
        for module, mode in zip(own, was, strict=True):
            module.train(mode)
        if hook:
            hook.remove()


def prototypes(network: nn.Module, name: str, images: Tensor) -> Tensor:
    """The classifier's weights as one direction a class (K, F), whatever affine layers follow it:
    ``A W`` with W the mean gradient of each output and A ``assembly.membership``. One sigmoid with
    weights w so gives -w/2 and w/2, nested regions sums of +-w_r/2.

    Raises:
        RequestError: the outputs are no affine function of the features, so that their gradients
            depend on the image.
    """
    base, _ = assembly.split(network)
    weights, others = (_gradients(base, name, x) for x in (images, images.flip(-1) + 1))
    if not torch.allclose(weights, others, rtol=1e-3, atol=1e-3 * float(weights.abs().max())):
        raise RequestError(
            f"prototypes: found logits of {type(base).__name__} that are no affine function of its"
            " features, expected weights of each class that are the same for every image; use"
            " another method than protocontra"
        )
    return assembly.membership(network, len(weights)).to(weights) @ weights


def _gradients(base: nn.Module, name: str, images: Tensor) -> Tensor:
    """Mean gradient of each output with respect to the features (outputs, F)."""
    seen: list[Tensor] = []

    def as_leaf(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        seen.append(inputs[0].detach().requires_grad_(True))
        return (seen[0], *inputs[1:])

    hook = base.get_submodule(name).register_forward_pre_hook(as_leaf)
    try:
        with _evaluating(base), torch.enable_grad():
            logits = base(images)
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
    return torch.stack(directions)


def class_means(features: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean features of each class (K, F).

    Args:
        features: (B, F, ...).
        weights: (B, K, ...); a class without weight gets zeros.
    """
    flat = features.transpose(0, 1).flatten(1)  # (F, N)
    share = weights.transpose(0, 1).flatten(1).to(flat.dtype)  # (K, N)
    return share @ flat.T / share.sum(1, keepdim=True).clamp(min=1e-8)


def resized(maps: Tensor, like: Tensor, how: Literal["nearest", "linear"] = "nearest") -> Tensor:
    """Maps (B, C, ...) at the resolution of others; linearly with the corners aligned, as the
    originals do.
    """
    size = like.shape[2:]
    if maps.shape[2:] == size:
        return maps
    if how == "nearest":
        return F.interpolate(maps, size=size, mode="nearest")
    mode = "bilinear" if len(size) == 2 else "trilinear"
    return F.interpolate(maps, size=size, mode=mode, align_corners=True)
