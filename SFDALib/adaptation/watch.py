"""Watch an adaptation without labels: is it collapsing, and which state was the best?

Every weight-updating method asks this after each epoch. The criterion is the method's own, the
smaller the better; the signs of collapse are common to all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from SFDALib.adaptation.patches import TargetPatches
from SFDALib.memory import batch_that_fits
from SFDALib.networks.catalogue import class_probabilities

VANISHED = 0.25  # of the source's foreground share: less is taken for a vanishing mask
FLOODED = 3.0  # times the source's foreground share (or over 90 %): a flooding mask


@dataclass(frozen=True)
class State:
    """What the network says of the target images at one moment, in eval mode."""

    criterion: float
    entropy: float
    shares: tuple[float, ...]  # of each foreground class, hard, over all patches


def measure(
    network: nn.Module,
    patches: TargetPatches,
    temperature: float,
    criterion: Callable[[Tensor, list[int]], float],
) -> State:
    """Evaluate the network on all patches.

    Args:
        criterion: logits of a batch and its indices -> the method's own criterion for it, a mean
            over the batch's images.
    """
    network.eval()
    size = batch_that_fits(network, tuple(patches.batch([0]).shape[1:]), _device(network))
    criteria = entropies = 0.0
    counts: Tensor | None = None
    voxels = 0
    with torch.no_grad():
        for indices in patches.ordered(size):
            logits = network(patches.batch(indices)).float()
            p = class_probabilities(logits / temperature)
            criteria += criterion(logits, indices) * len(indices)
            entropies += float(torch.special.entr(p).sum(1).mean()) / math.log(2) * len(indices)
            found = torch.bincount(p.argmax(1).flatten(), minlength=p.shape[1])
            counts = found if counts is None else counts + found
            voxels += int(found.sum())
    shares = tuple(float(count) / voxels for count in counts[1:])
    return State(criteria / len(patches), entropies / len(patches), shares)


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


@dataclass
class Watch:
    """Keeps the best state and the curves, and tells when to stop.

    Args:
        patience: epochs without a better criterion before it stops; 0 never stops for that.
    """

    patience: int = 0
    curves: dict[str, list[float]] = field(default_factory=dict)
    best_epoch: int = 0
    stopped: str | None = None
    _best: State | None = None
    _source: State | None = None
    _weights: dict[str, Tensor] = field(default_factory=dict)

    def look(self, network: nn.Module, state: State, **more: float) -> bool:
        """Note the state after an epoch (the first call: of the source). True: go on."""
        epoch = len(self.curves.get("criterion", []))
        self._note(criterion=state.criterion, entropy_bits=state.entropy)
        self._note(**{f"share_{k}": share for k, share in enumerate(state.shares, start=1)})
        self._note(**more)
        if self._source is None:
            self._source = state
        collapse = self.collapse(state)
        if collapse:
            self.stopped = f"collapse after epoch {epoch}: {collapse}"
            return False
        if self._best is None or state.criterion < self._best.criterion:
            self._best, self.best_epoch = state, epoch
            self._weights = {k: v.detach().clone() for k, v in network.state_dict().items()}
        elif self.patience and epoch - self.best_epoch >= self.patience:
            self.stopped = f"no better criterion for {self.patience} epochs"
            return False
        return True

    def _note(self, **values: float) -> None:
        for name, value in values.items():
            self.curves.setdefault(name, []).append(float(value))

    def collapse(self, state: State) -> str | None:
        """What is wrong, in words; None if nothing is."""
        if not math.isfinite(state.criterion):
            return "the loss is no number"
        before, now = sum(self._source.shares), sum(state.shares)
        if now < VANISHED * before:
            return f"the foreground shrank from {before:.1%} to {now:.1%} of the image"
        if now > min(FLOODED * before, 0.9) and before > 0:
            return f"the foreground grew from {before:.1%} to {now:.1%} of the image"
        for label, (was, share) in enumerate(
            zip(self._source.shares, state.shares, strict=True), start=1
        ):
            if was > 0 and share < 0.1 * VANISHED * was:
                return f"label {label} vanished"
        return None

    @property
    def weights(self) -> dict[str, Tensor]:
        """Those of the best state."""
        return self._weights
