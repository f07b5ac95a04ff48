"""Size-aware fusion (SAF): the smallest structure from Y*, the others from M_S(I_B).

A generated image shows the large structures well and may lose the smallest one, so that class
is taken from the denoised pseudo-label of the target image itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, assert_never

import torch


@dataclass(frozen=True)
class Fused:
    """Result of size-aware fusion.

    Args:
        labels: (k, j, i) int64.
        smallest_class: k*, the class taken from Y*; None if skipped.
        lambdas: inverse-size weight of each foreground class 1..K-1, 0 for one absent from Y*;
            they sum to 1. Empty if skipped. Only "prob_lambda" weighs with them.
        skipped: True if there was nothing to fuse and the labels are those of M_S(I_B).
        notes: why it was skipped, in plain words.
    """

    labels: torch.Tensor
    smallest_class: int | None
    lambdas: tuple[float, ...]
    skipped: bool
    notes: tuple[str, ...]


def size_aware_fusion(
    generated_probabilities: torch.Tensor,
    denoised_labels: torch.Tensor,
    source_probabilities: torch.Tensor | None = None,
    mode: Literal["hard", "prob_lambda"] = "hard",
) -> Fused:
    """Fuse the segmentation of the generated image with the denoised pseudo-label (eq. 8).

    With v_k the size of class k in Y*, k* = arg-min_k v_k over the foreground classes present
    in Y* (the highest label on ties) and lambda_k = v_k^-1 / sum_i v_i^-1.

    "hard": the labels of M_S(I_B), in which k* gives way to the second-best class, and Y* == k*
    painted on top. "prob_lambda": of the labels that Y* and M_S(I_B) give a voxel, the
    foreground class of the largest lambda_k P_k, where P_k is M_S(I_B)'s probability, but for
    k* that of the source model on the target where Y* == k* and 0 elsewhere; Y*'s label where
    none is above 0. Background has no lambda: its size would make it vanish and flood the
    image with foreground.

    Left out: the smallest of overlapping regions instead of labels, which of nested ones is
    always the innermost.

    Args:
        generated_probabilities: (K, k, j, i), M_S(I_B) of the chosen sample I_B.
        denoised_labels: (k, j, i) integers, Y*.
        source_probabilities: (K, k, j, i), M_S(X_T); without them P_k* is 1 where Y* == k*.
            Only "prob_lambda" reads them.
    """
    generated = generated_probabilities.argmax(dim=0)
    num_classes = len(generated_probabilities)
    counts = torch.bincount(denoised_labels.flatten().long(), minlength=num_classes).tolist()
    present = [k for k in range(1, num_classes) if counts[k] > 0]
    if len(present) < 2:
        return Fused(generated, None, (), True, (_why_skipped(num_classes, present),))

    sizes = {k: counts[k] for k in present}
    smallest = min(present, key=lambda k: (sizes[k], -k))
    total = sum(1 / size for size in sizes.values())
    lambdas = tuple(1 / sizes[k] / total if k in sizes else 0.0 for k in range(1, num_classes))
    from_denoised = denoised_labels == smallest

    match mode:
        case "hard":
            second_best = generated_probabilities.clone()
            second_best[smallest] = -1
            labels = second_best.argmax(dim=0)
            labels[from_denoised] = smallest
        case "prob_lambda":
            scores = generated_probabilities[1:].clone()
            scores[smallest - 1] = from_denoised
            if source_probabilities is not None:
                scores[smallest - 1] *= source_probabilities[smallest]
            scores *= scores.new_tensor(lambdas).view(-1, 1, 1, 1)
            for label in range(1, num_classes):
                scores[label - 1] *= (denoised_labels == label) | (generated == label)
            best, labels = scores.max(dim=0)
            labels = torch.where(best > 0, labels + 1, denoised_labels)
        case _:
            assert_never(mode)
    return Fused(labels, smallest, lambdas, False, ())


def _why_skipped(num_classes: int, present: list[int]) -> str:
    if num_classes == 2:
        reason = "the model has a single foreground class"
    elif present:
        reason = f"the denoised label holds a single foreground class ({present[0]})"
    else:
        reason = "the denoised label is empty"
    return f"Size-aware fusion skipped: {reason}. The generated image's segmentation stands."
