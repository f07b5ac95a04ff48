"""The losses of the adaptation methods, each with its equation. Natural logarithms.

p are class probabilities ``(B, K, ...)``, background first; x runs over pixels or voxels.
"""

from __future__ import annotations

import torch
from torch import Tensor

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
