"""Logits become probabilities of every class, the background first."""

from __future__ import annotations

import math

import pytest
import torch

from SFDALib.networks.outputs import class_probabilities


def test_one_output_is_a_sigmoid_of_two_classes() -> None:
    logits = torch.tensor([[[[0.0, math.log(3)]]]])
    p = class_probabilities(logits)
    assert p.shape == (1, 2, 1, 2)
    assert p[0, :, 0, 0].tolist() == pytest.approx([0.5, 0.5])
    assert p[0, :, 0, 1].tolist() == pytest.approx([0.25, 0.75])


def test_several_outputs_are_a_softmax_with_the_background_first() -> None:
    logits = torch.tensor([0.0, math.log(2), math.log(5)]).reshape(1, 3, 1, 1, 1)
    p = class_probabilities(logits)
    assert p.flatten().tolist() == pytest.approx([1 / 8, 2 / 8, 5 / 8])
