"""Hierarchical denoising (HD): from the source model's prediction Y_T to the pseudo-label Y*.

The constants of the NIG are the released ones (``uncertainty.NIGConstants``) and no options.

Two filters in a row: voxels of high entropy are doubted first, then those whose NIG variance,
built on the regional entropy and on that first doubt, is high among the voxels of the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from SFDALib.methods.heal import HealOptions
from SFDALib.uncertainty import (
    entropy,
    histogram_entropy,
    is_flat,
    nig_variance,
    normalise_minmax,
    regional_entropy,
    reliability_mask,
)


@dataclass(frozen=True)
class Denoised:
    """Result of hierarchical denoising; every map is (k, j, i).

    Args:
        labels: Y*, int64: the predicted class, 0 where rejected.
        entropy: voxel-wise entropy in bits, whatever the unit of tau1.
        nig: the uncertainty that tau2 cut: the NIG variance, normalised if so asked.
        valid: False where a voxel was rejected, so that a 0 in ``labels`` that was predicted can
            be told from one that was put there.
        kept_by_entropy: fraction of the predicted foreground that is certain (H <= tau1).
        kept_by_nig: fraction of the predicted foreground that is reliable (``nig`` <= tau2).
        max_variance: largest raw NIG variance, to which a min-max cut is relative.
        notes: degenerate outcomes, in plain words.

    Without predicted foreground both fractions are 1: there was nothing to reject.
    """

    labels: torch.Tensor
    entropy: torch.Tensor
    nig: torch.Tensor
    valid: torch.Tensor
    kept_by_entropy: float
    kept_by_nig: float
    max_variance: float
    notes: tuple[str, ...]


def hierarchical_denoising(probabilities: torch.Tensor, options: HealOptions) -> Denoised:
    """Reject the voxels of the source model's prediction that are not to be trusted.

    1. Y_T = arg-max_c p_c; a voxel is certain where H(p) <= tau1 (eqs. 1 and 2).
    2. d = |Y_T - Y_entropy|, the foreground that the entropy doubts, or |p_max - p_max where
       certain| of every voxel; E = regional entropy.
    3. NIG variance from E and d, normalised over the image; reliable where <= tau2.
    4. Y* = Y_T where reliable, else background (eq. 5).

    Args:
        probabilities: (K, k, j, i) softmax of the source model, K >= 2.
        options: ``tau1`` to ``hd_combine`` are read. E is the mean of H / log K over ``region``, in
            [0, 1], or with ``entropy_source=hist10`` the released histogram entropy of the refined
            map, in bits. The NIG variance of ``nig=paper`` is negative and is never normalised.
    """
    confidence, predicted = probabilities.max(dim=0)
    foreground = predicted != 0

    entropy_bits = entropy(probabilities, "bits")
    if options.entropy_unit == "bits":
        certain = reliability_mask(entropy_bits, options.tau1)
    else:
        certain = reliability_mask(entropy(probabilities, options.entropy_unit), options.tau1)

    initial = confidence if options.diff == "prob" else foreground.to(probabilities.dtype)
    refined = initial * certain

    if options.entropy_source == "hist10":
        regional = histogram_entropy(refined)
    else:
        regional = regional_entropy(entropy_bits / math.log2(len(probabilities)), options.region)
    nig = nig_variance(regional, initial - refined, options.nig)

    scaled = options.var_norm == "minmax" and options.nig != "paper"
    uncertainty = normalise_minmax(nig.variance) if scaled else nig.variance
    reliable = reliability_mask(uncertainty, options.tau2)
    valid = reliable & certain if options.hd_combine == "and_entropy" else reliable

    notes = _foreground_notes(foreground, valid)
    if scaled and is_flat(nig.variance):
        notes.append(
            "The NIG variance is the same in every voxel (its range is below 1e-6): it ranks "
            "nothing and rejects nothing."
        )
    if bool((nig.alpha <= 1).any()):
        notes.append(
            f"The {options.nig} reading gives alpha <= 1, where a NIG has no variance: its "
            "negative values pass any tau2 and reject nothing. Use nig=monotone to denoise."
        )
    return Denoised(
        labels=predicted * valid,
        entropy=entropy_bits,
        nig=uncertainty,
        valid=valid,
        kept_by_entropy=_fraction_kept(foreground, certain),
        kept_by_nig=_fraction_kept(foreground, reliable),
        max_variance=float(nig.variance.max()),
        notes=tuple(notes),
    )


def _fraction_kept(foreground: torch.Tensor, kept: torch.Tensor) -> float:
    total = int(foreground.sum())
    return int((foreground & kept).sum()) / total if total else 1.0


def _foreground_notes(foreground: torch.Tensor, valid: torch.Tensor) -> list[str]:
    if not bool(foreground.any()):
        return ["The source model predicts no foreground: Y* is empty."]
    kept = foreground & valid
    if not bool(kept.any()):
        return [
            "Every foreground voxel was rejected: Y* is empty. Raise tau1 or tau2 to keep some."
        ]
    if bool((kept == foreground).all()):
        return ["No foreground voxel was rejected: Y* is the source model's own prediction."]
    return []
