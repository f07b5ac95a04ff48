"""Pseudo-labels of self-training, CBST and CRST, by hand."""

from __future__ import annotations

import pytest
import torch

from SFDALib.adaptation.common import pseudo_labels


def test_self_training_thresholds_are_those_of_the_most_confident_pixels() -> None:
    """Class 0 has 4 pixels, of which 50 % are 2: the second largest, 0.8. Class 1 has one, of which
    50 % are none: 1. Together, 2 of 5: 0.8 again.
    """
    confidence = torch.tensor([0.9, 0.6, 0.8, 0.7, 0.6])
    winner = torch.tensor([0, 0, 0, 0, 1])
    by_class = pseudo_labels.thresholds(confidence, winner, 2, 0.5)
    assert by_class.tolist() == pytest.approx([0.8, 1.0])
    assert pseudo_labels.thresholds(confidence, None, 2, 0.5).tolist() == pytest.approx([0.8, 0.8])
    assert pseudo_labels.thresholds(confidence, None, 2, 0.0).tolist() == [1, 1]


def test_cbst_labels_by_the_ratio_to_the_threshold_and_ignores_the_rest() -> None:
    """p / threshold = (.75, 1.5), (1.125, .25), (.75, .67)."""
    p = torch.tensor([[0.6, 0.9, 0.6], [0.6, 0.1, 0.267]]).T.reshape(1, 3, 2).transpose(1, 2)
    label = pseudo_labels.pseudo_label(p, torch.tensor([0.8, 0.4]))
    assert label.tolist() == [[1, 0, pseudo_labels.IGNORED]]


def test_crst_softens_the_labels_by_the_weight_of_their_entropy() -> None:
    """Ratios (.75, 1.5) and (1.125, .25): with a weight of 1 the shares of their sum, with 1/2
    those of their squares; a pixel whose ratios stay below 1 has no label.
    """
    p = torch.tensor([[0.6, 0.9, 0.6], [0.6, 0.1, 0.267]])[None]
    limits = torch.tensor([0.8, 0.4])
    soft = pseudo_labels.soft_label(p, limits, 1.0)
    assert soft[0, 0].tolist() == pytest.approx([1 / 3, 1.125 / 1.375, 0])
    assert soft[0, 1].tolist() == pytest.approx([2 / 3, 0.25 / 1.375, 0])
    squared = pseudo_labels.soft_label(p, limits, 0.5)
    assert squared[0, 1, 0].item() == pytest.approx(0.8)
