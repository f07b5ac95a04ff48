"""Contrastive learning on pixels that a frozen teacher is sure of: the second stage of ProtoContra.

The features of sure pixels are drawn to the mean of their class, and pushed from pixels that the
teacher is unsure of and that hardly belong to the class: it ranks third to fifth there.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from SFDALib.adaptation.common import features
from SFDALib.networks.outputs import class_logits, class_probabilities

# As published.
SHARE = 20.0  # per cent of a class's pixels at the start: unsure ones; falls to 0
BACKGROUND_SHARE = SHARE / 4
GAP = 10.0  # per cent between the sure and the unsure
CONFIDENT = 0.3  # probability of an anchor's class
RANKS = slice(2, 5)  # of the classes of which a pixel is a negative, the likeliest being 0
ANCHORS, NEGATIVES = 64, 256  # of each class a step, and of each anchor
BANK, BACKGROUND_BANK = 30_000, 50_000  # negatives that are kept of a class
GATE = 5.0  # nat: entropy of all pixels of a class together, below which all are left out
PSEUDO_SHARE, PSEUDO_GATE = 20.0, 10.0  # the same of the cross-entropy's labels


class Contrast:
    """The loss of the second stage, with its memory.

    Args:
        teacher: a network, of which a copy is kept as it is.
        name: of its classifier.
        steps: of optimisation, over which the share of unsure pixels falls.
        temperature: divides the cosines.
        calibration: divides the logits.
        pseudo_weight: of a cross-entropy with the teacher's labels.
    """

    def __init__(
        self,
        teacher: nn.Module,
        name: str,
        steps: int,
        temperature: float,
        calibration: float = 1.0,
        pseudo_weight: float = 0.0,
    ) -> None:
        self.teacher = copy.deepcopy(teacher).eval().requires_grad_(False)
        self._name = name
        self._steps = steps
        self._temperature = temperature
        self._calibration = calibration
        self._pseudo_weight = pseudo_weight
        self._done = 0
        self._bank: dict[int, Tensor] = {}

    def loss(self, images: Tensor, seen: Tensor, logits: Tensor | None = None) -> Tensor:
        """InfoNCE of this step, the mean over the classes that the images show; 0 if one alone.

        Args:
            images: a batch.
            seen: the student's features of it (B, F, ...).
            logits: the student's, which only the cross-entropy needs.
        """
        with torch.no_grad():
            known, found = features.forward(self.teacher, self._name, images)
            whole = class_probabilities(found / self._calibration)
            p = features.resized(whole, known)
        extra: Tensor | float = 0.0
        if self._pseudo_weight and logits is not None:
            left = PSEUDO_SHARE * max(1 - self._done / self._steps, 0.0)
            value = sure_cross_entropy(logits / self._calibration, whole, left)
            extra = self._pseudo_weight * value
        return extra + self._contrast(p, known, seen)

    def _contrast(self, p: Tensor, known: Tensor, seen: Tensor) -> Tensor:
        p, known, seen = (x.transpose(0, 1).flatten(1).T for x in (p, known, seen))  # (N, ...)
        share = max(1 - self._done / self._steps, 0.0)
        self._done += 1
        sure, unsure = masks(p, share)
        winner = p.argmax(1)
        ranked = p.argsort(1, descending=True)[:, RANKS]
        total, shown = 0 * seen.sum(), 0
        for label in range(p.shape[1]):
            self._remember(label, known[unsure & (ranked == label).any(1)])
            inside = sure & (winner == label)
            shown += bool(inside.any())
            anchors = seen[inside & (p[:, label] > CONFIDENT)]
            if len(anchors) and len(self._bank[label]):
                anchors = anchors[_draw(len(anchors), ANCHORS)]
                others = self._bank[label].to(seen.device)
                negatives = others[_draw(len(others), ANCHORS * NEGATIVES)]
                negatives = negatives.view(ANCHORS, NEGATIVES, -1)
                positive = known[inside].mean(0)
                total = total + info_nce(anchors, positive, negatives, self._temperature)
        return total / shown if shown > 1 else 0 * total

    def _remember(self, label: int, negatives: Tensor) -> None:
        """Keep the latest of a class, on the CPU."""
        kept = self._bank.get(label, negatives[:0].cpu())
        size = BANK if label else BACKGROUND_BANK
        self._bank[label] = torch.cat([kept, negatives.cpu()])[-size:]


def masks(p: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Sure and unsure pixels (N,), by the percentiles of the entropy among the pixels of a class;
    none of a class of which the model is sure everywhere.

    Args:
        p: (N, K) probabilities.
        share: of ``SHARE``, 1 at the start.
    """
    entropy = torch.special.entr(p).sum(1)
    winner = p.argmax(1)
    sure, unsure = (torch.zeros_like(winner, dtype=torch.bool) for _ in range(2))
    for label in winner.unique().tolist():
        inside = winner == label
        if entropy[inside].sum() <= GATE:
            continue
        top = 100 - share * (SHARE if label else BACKGROUND_SHARE)
        low, high = np.percentile(entropy[inside].cpu().numpy(), [top - GAP, top])
        sure |= inside & (entropy <= low)
        unsure |= inside & (entropy >= high)
    return sure, unsure


def sure_cross_entropy(logits: Tensor, p: Tensor, dropped: float) -> Tensor:
    """Mean cross-entropy with the teacher's labels, of each class without so many per cent of its
    most uncertain pixels, times all pixels over those that are left.

    Args:
        logits: of the student (B, 1 or K, ...).
        p: of the teacher (B, K, ...).
    """
    entropy = -(p * torch.log(p + 1e-6)).sum(1)
    label = p.argmax(1)
    left_out = torch.zeros_like(label, dtype=torch.bool)
    for one in label.unique().tolist():
        inside = label == one
        if entropy[inside].sum() > PSEUDO_GATE:
            limit = np.percentile(entropy[inside].cpu().numpy(), 100 - dropped)
            left_out |= inside & (entropy >= limit)
    kept = ~left_out
    each = F.cross_entropy(class_logits(logits), label, reduction="none")
    return (each * kept).sum() / kept.sum().clamp(min=1) * kept.numel() / kept.sum().clamp(min=1)


def info_nce(anchors: Tensor, positive: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Mean over the anchors of ``- log e^cos(a, p)/t / (e^cos(a, p)/t + sum_n e^cos(a, n)/t)``.

    Args:
        anchors: (A, F).
        positive: (F,).
        negatives: (A, M, F).
    """
    near = F.cosine_similarity(anchors, positive[None], dim=1)[:, None]
    far = F.cosine_similarity(anchors[:, None], negatives, dim=2)
    return -torch.log_softmax(torch.cat([near, far], 1) / temperature, dim=1)[:, 0].mean()


def _draw(count: int, wanted: int) -> Tensor:
    return torch.randint(count, (wanted,))
