"""Model selection without labels: is an adaptation collapsing, and which state was the best?

Every weight-updating method evaluates the network after each epoch, in eval mode on all target
patches. The criterion, which is minimised, adds the mean entropy and the distance of the classes'
sizes from those that the bundle expects: of volumes in ml, of many single slices the mean area of
those that show the class. Neither is enough alone: the entropy of a mask that vanishes falls, and a
size may be right in the wrong place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from SFDALib.adaptation.common.patches import TargetPatches
from SFDALib.bundle.description import Description
from SFDALib.machine.batch_size import batch_that_fits
from SFDALib.networks.outputs import class_probabilities
from SFDALib.volume.conform import Conformed

# Chosen on the development volumes of the demo's data (patient 12), judged on others: volumes of
# healthy organs vary by tens of per cent, so that within the range they weigh less than entropy.
SIZE_WEIGHT = 0.1  # bits for a volume that is wrong by a factor of e
VANISHED = 0.25  # of the source's share of a class: less is taken for a vanishing mask
FLOODED = 2.0  # times the largest plausible (or mean) share, or the source's: more is flooding
LEAST_SHARE = 1e-9  # in place of none, for logarithms
LEAST_SLICES = 8  # of fewer single slices the mean area varies more than a volume does


@dataclass(frozen=True)
class State:
    """The network's output on the target patches after an epoch.

    Args:
        entropy: mean entropy in bits.
        shares: share of each foreground class among the most likely labels.
        shown: the same in the images that show the class at all; 0 if none does.
    """

    entropy: float
    shares: tuple[float, ...]
    shown: tuple[float, ...]


@dataclass(frozen=True)
class Expected:
    """The share of the target patches that a class should fill.

    Args:
        mean: of all images; of single slices, of those that show the class.
        plausible: least and most; None for single slices, of whose areas the bundle has the mean.
    """

    mean: float
    plausible: tuple[float, float] | None


def expected_shares(
    description: Description,
    patches: TargetPatches,
    images: Sequence[Conformed],
) -> tuple[Expected | None, ...]:
    """What the bundle's volumes in ml mean for the patches, or its areas in mm2 if all images are
    single slices; None for a class without them, and of fewer than ``LEAST_SLICES`` of these.
    """
    voxels, spacing = patches.voxels / len(images), images[0].geometry.spacing
    if all(image.array.shape[1] == 1 for image in images):
        mm2 = voxels * math.prod(spacing[:2])
        enough = len(images) >= LEAST_SLICES
        areas = (label.slice_area_mm2 if enough else None for label in description.labels)
        return tuple(None if area is None else Expected(area / mm2, None) for area in areas)
    ml = voxels * math.prod(spacing) / 1000
    return tuple(
        Expected(label.mean_ml / ml, (label.size_ml[0] / ml, label.size_ml[1] / ml))
        if label.size_ml and label.mean_ml
        else None
        for label in description.labels
    )


@torch.no_grad()
def evaluate(network: nn.Module, patches: TargetPatches, temperature: float) -> State:
    """Evaluate the network on all patches."""
    network.eval()
    device = next(network.parameters()).device
    size = batch_that_fits(network, tuple(patches.batch([0]).shape[1:]), device)
    entropy, image_of = 0.0, torch.tensor(patches.image_of)
    counts: Tensor | None = None  # (images, K)
    for indices in patches.ordered(size):
        p = class_probabilities(network(patches.batch(indices)).float() / temperature)
        entropy += float(torch.special.entr(p).sum(1).mean()) / math.log(2) * len(indices)
        if counts is None:
            counts = torch.zeros(max(patches.image_of) + 1, p.shape[1], dtype=torch.long)
        found = p.argmax(1).flatten(1)
        of_patches = [torch.bincount(one, minlength=p.shape[1]) for one in found]
        counts.index_add_(0, image_of[indices], torch.stack(of_patches).cpu())
    assert counts is not None  # there is a patch
    shares = counts.sum(0) / counts.sum()
    pixels = (counts.sum(1, keepdim=True) * (counts > 0)).sum(0)  # of the images that show a class
    shown = counts.sum(0) / pixels.clamp(min=1)
    return State(entropy / len(patches), tuple(shares[1:].tolist()), tuple(shown[1:].tolist()))


@dataclass
class ModelSelection:
    """Keeps the best state and the curves, and decides when to stop.

    Args:
        expected: shares of each foreground class, see ``expected_shares``.
        patience: epochs without a better state before it stops; 0 never stops for that.
    """

    expected: Sequence[Expected | None]
    patience: int = 0
    curves: dict[str, list[float]] = field(default_factory=dict)
    best_epoch: int = 0
    stopped: str | None = None
    collapsed: bool = False
    _source: State | None = None  # the first state
    _weights: dict[str, Tensor] = field(default_factory=dict)

    def update(
        self, network: nn.Module, state: State, selection_loss: float | None = None, **more: float
    ) -> bool:
        """Record the state after an epoch (the first call: of the source).

        Args:
            network: whose weights are kept if the state is the best.
            state: of the network.
            selection_loss: a loss by labels, minimised instead of ``criterion``. Training with
                labels can leave a collapse again, which then is not selected but ends nothing.
            more: further values, one curve each.

        Returns:
            Whether to go on.
        """
        self._source = self._source or state
        criterion = self.criterion(state) if selection_loss is None else selection_loss
        self._record(criterion=criterion, entropy_bits=state.entropy, **more)
        self._record(**{f"share_{k}": share for k, share in enumerate(state.shares, start=1)})
        epoch = len(self.curves["criterion"]) - 1
        collapse = self.collapse(state)
        if collapse and (selection_loss is None or not math.isfinite(state.entropy)):
            self.collapsed = True
            self.stopped = f"collapse after epoch {epoch}: {collapse}"
            return False
        better = criterion < self.curves["criterion"][self.best_epoch]
        if epoch == 0 or (better and not collapse):
            self.best_epoch = epoch
            self._weights = {k: v.detach().clone() for k, v in network.state_dict().items()}
        elif self.patience and epoch - self.best_epoch >= self.patience:
            self.stopped = f"no better state for {self.patience} epochs"
            return False
        return True

    def _record(self, **values: float) -> None:
        for name, value in values.items():
            self.curves.setdefault(name, []).append(float(value))

    def criterion(self, state: State) -> float:
        """``entropy + sum_k (SIZE_WEIGHT |log(share / mean)| + |log(share / nearest bound)|)``, the
        latter only outside the plausible range. Of single slices the share is that of those slices
        that show the class, as the mean is.
        """
        total = state.entropy
        for share, shown, expected in zip(state.shares, state.shown, self.expected, strict=True):
            if expected:
                found = max(share if expected.plausible else shown, LEAST_SHARE)
                total += SIZE_WEIGHT * abs(math.log(found / expected.mean))
                low, high = expected.plausible or (0.0, math.inf)
                total += abs(math.log(found / min(max(found, low), high)))
        return total

    def collapse(self, state: State) -> str | None:
        """Why the state counts as collapsed, in words; None if it does not."""
        if not math.isfinite(state.entropy):
            return "the predictions are no numbers"
        source = self._source or state
        classes = zip(source.shares, state.shares, self.expected, strict=True)
        for label, (was, now, expected) in enumerate(classes, start=1):
            low, high = was, was
            if expected:
                low, high = expected.plausible or (expected.mean, expected.mean)
            least, most = min(was, low), max(was, high)
            if now < VANISHED * least:
                return f"label {label} shrank from {was:.1%} to {now:.1%} of the image"
            if 0 < FLOODED * most < now:
                return f"label {label} grew from {was:.1%} to {now:.1%} of the image"
        return None

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights of the best state."""
        return self._weights
