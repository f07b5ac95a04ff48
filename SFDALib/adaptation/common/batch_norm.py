"""Batch normalisation: statistics of the target instead of the source's, and its weights."""

from __future__ import annotations

from torch import nn
from torch.optim.swa_utils import update_bn

from SFDALib.adaptation.common.patches import TargetPatches


def reestimate(network: nn.Module, patches: TargetPatches, batch: int) -> None:
    """Replace every running mean and variance by the average over the patches, in one pass."""
    update_bn((patches.batch(indices) for indices in patches.ordered(batch)), network)


def affine_parameters(part: nn.Module) -> list[nn.Parameter]:
    """Scale and shift of every batch normalisation in it."""
    norms = (m for m in part.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
    return [parameter for norm in norms for parameter in norm.parameters(recurse=False)]
