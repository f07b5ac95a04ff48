"""What a method returns, whatever its kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Segmented:
    """One image, segmented; everything on the model's grid.

    Args:
        probabilities: (K, k, j, i); one-hot where only labels exist.
        maps: named uncertainty maps (k, j, i).
        denoised: the pseudo-label Y* (k, j, i), if the method makes one.
        samples: diffusion samples (C, k, j, i) in [0, 1].
        chosen: index of the sample that was segmented.
        report: plain data for report.json.
        notes: degenerate outcomes, in plain words.
    """

    probabilities: Tensor
    maps: Mapping[str, Tensor] = field(default_factory=dict)
    denoised: Tensor | None = None
    samples: tuple[Tensor, ...] = ()
    chosen: int | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Adapted:
    """Adapted weights and how they came about.

    Args:
        weights: the network's state dict; the source's own is untouched.
        members: how many sets of weights they hold for each of the source's; their logits are
            averaged, see ``bundle.assembly.ensemble_of``.
        curves: named series, one value an epoch, epoch 0 being the source model and, with the
            option ``settle_bn``, epoch 1 the settled one.
        best_epoch: the epoch whose weights these are; 0 is the source's.
        stopped: why it ended, in plain words.
        notes: what else a reader of the report should know.
        collapsed: whether it was stopped because it collapsed.
    """

    weights: Mapping[str, Tensor]
    curves: Mapping[str, list[float]]
    best_epoch: int
    stopped: str
    notes: tuple[str, ...] = ()
    members: int = 1
    collapsed: bool = False
