"""Modules around a bundle's networks: the mean of an ensemble, and classes of overlapping regions.

Both return class logits as any network does, so that other code treats them like one network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from SFDALib.errors import RequestError
from SFDALib.volume.input_spec import Region


class Ensemble(nn.Module):
    """The mean of the logits of networks of one architecture."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        """The mean logits ``(N, K, [k,] j, i)`` of an image ``(N, C, [k,] j, i)``."""
        total = self.members[0](x)
        for member in self.members[1:]:
            total = total + member(x)
        return total / len(self.members)


class Regions(nn.Module):
    """Class logits of a network whose output channels are overlapping regions.

    With ``p_r`` the sigmoid of region r, painted over the earlier ones, a voxel has the label of
    the last region that it lies in: ``P(label of r) = p_r prod_{s > r} (1 - p_s)`` and
    ``P(background) = prod_s (1 - p_s)``. Their logarithms are the logits.
    """

    def __init__(self, network: nn.Module, regions: Sequence[Region]) -> None:
        super().__init__()
        self.network = network
        self.regions = tuple(regions)

    def forward(self, x: Tensor) -> Tensor:
        """Class logits ``(N, R + 1, [k,] j, i)`` of an image ``(N, C, [k,] j, i)``."""
        return self.class_logits(self.network(x))

    def class_logits(self, logits: Tensor) -> Tensor:
        """Region logits ``(N, R, ...)`` to class logits ``(N, R + 1, ...)``, background first."""
        classes: list[Tensor] = [logits] * (len(self.regions) + 1)
        outside_later = torch.zeros_like(logits[:, 0])
        for region in reversed(self.regions):
            z = logits[:, region.channel]
            classes[region.label] = F.logsigmoid(z) + outside_later
            outside_later = outside_later + F.logsigmoid(-z)
        classes[0] = outside_later
        return torch.stack(classes, dim=1)

    def membership(self) -> Tensor:
        """1/2 where a class lies in a region, -1/2 where it does not, ``(R + 1, R)`` by channel.

        Regions are painted from the outermost inwards, so that the label of one lies in all that
        were painted before. Times the region logits it is the class logits of certain voxels.
        """
        inside = torch.full((len(self.regions) + 1, len(self.regions)), -0.5)
        for index, region in enumerate(self.regions):
            for outer in self.regions[: index + 1]:
                inside[region.label, outer.channel] = 0.5
        return inside


def assemble(build: Callable[[], nn.Module], ensemble: int, regions: Sequence[Region]) -> nn.Module:
    """The network of a bundle.

    Args:
        build: builds one network with its weights.
        ensemble: the number of networks, whose logits are averaged.
        regions: of the output channels, in painting order; empty for one class a channel.
    """
    network = build() if ensemble == 1 else Ensemble([build() for _ in range(ensemble)])
    return Regions(network, regions) if regions else network


def ensemble_of(networks: Sequence[nn.Module]) -> nn.Module:
    """The mean of the logits of assembled networks of one architecture, as one network.

    A single network is returned with the names of its weights unchanged; members of ensembles are
    put together in one ensemble.
    """
    members = [part for network in networks for part in parts(network)]
    together = Ensemble(members) if len(members) > 1 else members[0]
    first = networks[0]
    return Regions(together, first.regions) if isinstance(first, Regions) else together


def split(network: nn.Module) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """The part whose logits are averaged over windows, and what turns the mean to class logits."""
    if isinstance(network, Regions):
        return network.network, network.class_logits
    return network, lambda logits: logits


def parts(network: nn.Module) -> tuple[nn.Module, ...]:
    """The networks in an assembled one: several for an ensemble."""
    network, _ = split(network)
    return tuple(network.members) if isinstance(network, Ensemble) else (network,)


def members(network: nn.Module) -> tuple[nn.Module, ...]:
    """The members of an ensemble, each with its own class logits; they share the weights.

    The network itself where it is no ensemble.
    """
    each = parts(network)
    if len(each) == 1:
        return (network,)
    if isinstance(network, Regions):
        return tuple(Regions(one, network.regions) for one in each)
    return each


def membership(network: nn.Module, outputs: int) -> Tensor:
    """The matrix ``(K, outputs)`` from a network's outputs to scores of the classes.

    The identity for a softmax; -1/2 and 1/2 for one sigmoid; ``Regions.membership`` for regions.
    """
    if isinstance(network, Regions):
        return network.membership()
    return torch.eye(outputs) if outputs > 1 else torch.tensor([[-0.5], [0.5]])


def single(network: nn.Module) -> nn.Module:
    """The one network in an assembled one.

    Raises:
        RequestError: it is an ensemble.
    """
    one, *more = parts(network)
    if more:
        raise RequestError(
            f"early features: found an ensemble of {1 + len(more)} sets of weights, each"
            " with features of its own, expected one; import the model again with --fold 0"
        )
    return one
