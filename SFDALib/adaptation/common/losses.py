"""The losses of the adaptation methods, each with its equation. Natural logarithms.

p are class probabilities ``(B, K, ...)``, background first; x runs over pixels or voxels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from SFDALib.networks.outputs import class_logits

EPSILON = 1e-10  # inside every logarithm, as in the originals


def weighted_entropy(p: Tensor, class_weights: Tensor) -> Tensor:
    """Mean over pixels and images of the class-weighted entropy (Bateson et al., AdaEnt and AdaMI):
    ``-sum_{b,k,x} nu_k p log p / sum p``.
    """
    weights = class_weights.view(1, -1, *[1] * (p.ndim - 2))
    return -(weights * p * torch.log(p + EPSILON)).sum() / (p.sum() + EPSILON)


def class_ratio(p: Tensor, how: str = "maxnorm") -> Tensor:
    """Share of each class in each image, ``(B, K)``, differentiable.

    "mean" is the mean probability. "maxnorm", the originals' code, gives each pixel's most likely
    class the weight 1 and the others p_k / max_j p_j, then normalises: partly hardened.
    """
    if how == "maxnorm":
        p = p / (p.max(dim=1, keepdim=True).values + EPSILON)
    sums = p.flatten(2).sum(dim=2)
    return sums / (sums.sum(dim=1, keepdim=True) + EPSILON)


def ratio_given_prior(estimate: Tensor, prior: Tensor, keep: Tensor | None = None) -> Tensor:
    """AdaMI's prior term, KL(estimate || prior), mean over images.

    Args:
        estimate, prior: (B, K).
        keep: (B, K) 0 or 1; classes (or whole images) to leave out where 0.
    """
    terms = estimate * (torch.log(estimate + EPSILON) - torch.log(prior + EPSILON))
    return _mean_over_images(terms, keep)


def prior_given_ratio(estimate: Tensor, prior: Tensor, keep: Tensor | None = None) -> Tensor:
    """AdaEnt's prior term, the cross-entropy from the prior to the estimate, mean over images:
    ``-sum_k tau_k log est_k = KL(prior || estimate) + H(prior)``.
    """
    return _mean_over_images(-prior * torch.log(estimate + EPSILON), keep)


def _mean_over_images(terms: Tensor, keep: Tensor | None) -> Tensor:
    if keep is not None:
        terms = terms * keep
    return terms.sum() / len(terms)


def soft_cross_entropy(logits: Tensor, teacher: Tensor) -> Tensor:
    """Cross-entropy of the early prediction under the final one (UDAS), mean over pixels.

    Args:
        logits: (B, 1 or K, ...) early logits.
        teacher: probabilities of the same shape; one channel is a sigmoid.
    """
    if logits.shape[1] == 1:
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, teacher)
    return -(teacher * torch.log_softmax(logits, dim=1)).sum(dim=1).mean()


def mean_entropy(p: Tensor, epsilon: float = 0.0) -> Tensor:
    """Mean over pixels and images of the entropy in nats, ``-sum_k p log (p + epsilon)``."""
    each = -p * torch.log(p + epsilon) if epsilon else torch.special.entr(p)
    return each.sum(dim=1).mean()


def soft_dice(p: Tensor, q: Tensor, smooth: float = 1e-5) -> Tensor:
    """Mean over the classes of ``(2 sum p q + s) / (sum p^2 + sum q^2 + s)`` of ``(B, K, ...)``."""
    axes = [0, *range(2, p.ndim)]
    overlap = 2 * (p * q).sum(axes) + smooth
    return (overlap / (p.square().sum(axes) + q.square().sum(axes) + smooth)).mean()


def masked_cross_entropy(
    logits: Tensor, labels: Tensor, ignored: int, weights: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy over the pixels that are not ``ignored``; 0 where none is left.

    Args:
        logits: (B, 1 or K, ...); one channel is a sigmoid.
        labels: (B, ...) whole numbers.
        weights: (B, ...) factors of the pixels.
    """
    each = torch.nn.functional.cross_entropy(
        class_logits(logits), labels, ignore_index=ignored, reduction="none"
    )
    each = each if weights is None else each * weights
    return each.sum() / (labels != ignored).sum().clamp(min=1)


def masked_soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean of ``- sum_k y_k log p_k`` over the pixels that have a label; 0 where none has.

    Args:
        logits: (B, 1 or K, ...).
        target: (B, K, ...) y; zeros where a pixel has no label.
    """
    each = -(target * torch.log_softmax(class_logits(logits), dim=1)).sum(1)
    return each.sum() / (target.sum(1) > 0).sum().clamp(min=1)


def uniform_cross_entropy(logits: Tensor, labelled: Tensor) -> Tensor:
    """Mean over the labelled pixels of ``- 1/K sum_k log p_k = KL(uniform || p) + log K``; 0 where
    none is.

    Args:
        logits: (B, 1 or K, ...).
        labelled: (B, ...) bool.
    """
    each = -torch.log_softmax(class_logits(logits), dim=1).mean(1)
    return (each * labelled).sum() / labelled.sum().clamp(min=1)
