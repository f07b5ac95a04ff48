"""The losses against the numbers of the originals' code, and by hand."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from paths import PARITY
from torch import Tensor

from SFDALib.adaptation.common import (
    losses,
)

SFDA = json.loads((PARITY / "sfda_losses.json").read_text())

UDAS = json.loads((PARITY / "udas_losses.json").read_text())


def probabilities(case: dict) -> tuple[Tensor, Tensor]:
    """Logits that require gradients, and the class probabilities of them."""
    if "probs" in case:
        return torch.empty(0), torch.tensor(case["probs"])
    logits = torch.tensor(case["logits"], requires_grad=True)
    return logits, torch.softmax(logits, dim=1)


def ratios(case: dict, p: Tensor) -> Tensor:
    return torch.tensor(case["sizes_pixels"]) / p[0, 0].numel()


CASES = ["binary", "multi", "prior_sum_above_1", "equal_prior_minimum"]


@pytest.mark.parametrize("name", [*CASES, "hard_match", "hard_absent_class"])
def test_entropy_class_ratio_and_prior_term_are_the_originals(name: str) -> None:
    case = SFDA[name]
    _, p = probabilities(case)
    weights = torch.tensor(case.get("weights_se", [1.0] * p.shape[1]), dtype=torch.float32)

    estimate = losses.class_ratio(p)
    assert losses.weighted_entropy(p, weights).item() == pytest.approx(case["entropy"], rel=1e-5)
    assert estimate.flatten().tolist() == pytest.approx(
        np.ravel(case["est_prop"]).tolist(), rel=1e-5
    )
    term = losses.ratio_given_prior(estimate, ratios(case, p))
    assert term.item() == pytest.approx(case["kl"], rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_the_plain_class_ratio_is_the_mean_probability(name: str) -> None:
    _, p = probabilities(SFDA[name])
    expected = np.ravel(SFDA[name]["mean_softmax"]).tolist()
    assert losses.class_ratio(p, "mean").flatten().tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("term", ["entropy", "kl"])
def test_gradients_are_the_originals(name: str, term: str) -> None:
    case = SFDA[name]
    logits, p = probabilities(case)
    if term == "entropy":
        value = losses.weighted_entropy(p, torch.tensor(case["weights_se"], dtype=torch.float32))
    else:
        value = losses.ratio_given_prior(losses.class_ratio(p), ratios(case, p))
    (gradient,) = torch.autograd.grad(value, logits)
    torch.testing.assert_close(gradient, torch.tensor(case[f"grad_{term}"]), rtol=1e-4, atol=1e-7)


def test_the_partly_hardened_ratio_is_the_originals_soft_size_of_power_1() -> None:
    _, p = probabilities(SFDA["cross_entropy"])
    expected = torch.tensor(SFDA["norm_soft_size"]["power1"])[..., 0]
    torch.testing.assert_close(losses.class_ratio(p), expected, rtol=1e-5, atol=0)


def test_the_prior_term_of_adaent_is_the_divergence_from_prior_to_estimate() -> None:
    """KL(tau || est) + H(tau) = -(0.25 ln 0.4 + 0.75 ln 0.6) for one image; an absent class (tau 0)
    costs nothing, where AdaMI's costs -est ln 1e-10.
    """
    estimate = torch.tensor([[0.4, 0.6], [0.8, 0.2]])
    tau = torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    first = -(0.25 * np.log(0.4) + 0.75 * np.log(0.6))
    second = -np.log(0.8)
    value = losses.prior_given_ratio(estimate, tau).item()
    assert value == pytest.approx((first + second) / 2, rel=1e-6)
    other = losses.ratio_given_prior(estimate[1:], tau[1:]).item()
    assert other == pytest.approx(0.8 * np.log(0.8) + 0.2 * (np.log(0.2) - np.log(1e-10)), rel=1e-5)


@pytest.mark.parametrize("term", [losses.ratio_given_prior, losses.prior_given_ratio])
def test_the_order_of_a_batchs_images_does_not_matter(term: Any) -> None:
    case = SFDA["multi"]
    _, p = probabilities(case)
    tau = ratios(case, p)
    weights = torch.tensor(case["weights_se"])
    for order in ([1, 0], [0, 0]):
        same = [0] if order == [0, 0] else [0, 1]  # identical images are as one
        assert term(losses.class_ratio(p[order]), tau[order]).item() == pytest.approx(
            term(losses.class_ratio(p[same]), tau[same]).item(), rel=1e-6
        )
        assert losses.weighted_entropy(p[order], weights).item() == pytest.approx(
            losses.weighted_entropy(p[same], weights).item(), rel=1e-6
        )


@pytest.mark.parametrize("term", [losses.ratio_given_prior, losses.prior_given_ratio])
def test_an_image_that_the_selection_leaves_out_gets_no_gradient_of_the_prior(term: Any) -> None:
    case = SFDA["multi"]
    logits, p = probabilities(case)
    keep = torch.tensor([[1.0], [0.0]]).expand(2, 5)
    (gradient,) = torch.autograd.grad(term(losses.class_ratio(p), ratios(case, p), keep), logits)
    assert (gradient[1] == 0).all()
    assert (gradient[0] != 0).any()


def test_the_binary_refinement_loss_is_the_originals() -> None:
    case = UDAS["binary"]
    loss = losses.soft_cross_entropy(
        torch.tensor(case["early_logits"]), torch.tensor(case["teacher_prob"])
    )
    assert loss.item() == pytest.approx(case["loss"], rel=1e-5)
    assert loss.item() == pytest.approx(case["bce_torch"], rel=1e-5)


def test_the_multi_class_refinement_loss_is_the_originals_times_the_number_of_classes() -> None:
    case = UDAS["multi"]
    teacher = torch.softmax(torch.tensor(case["teacher_logits"]), dim=1)
    loss = losses.soft_cross_entropy(torch.tensor(case["early_logits"]), teacher).item()
    assert loss == pytest.approx(case["soft_ce_per_pixel"], rel=1e-5)
    assert loss == pytest.approx(case["loss"] * 4, rel=1e-5)


def test_crst_losses_are_means_over_what_is_labelled() -> None:
    logits = torch.tensor([[[0.0, math.log(3), 5.0]]])  # p of the foreground: 1/2, 3/4
    target = torch.tensor([[[0.5, 0.25, 0.0], [0.5, 0.75, 0.0]]])
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    value = losses.masked_soft_cross_entropy(logits, target).item()
    assert value == pytest.approx((math.log(2) + entropy) / 2)
    labelled = torch.tensor([[True, True, False]])
    uniform = -(math.log(0.25) + math.log(0.75)) / 2
    value = losses.uniform_cross_entropy(logits, labelled).item()
    assert value == pytest.approx((math.log(2) + uniform) / 2)


def test_masked_cross_entropy_is_the_mean_over_what_is_labelled() -> None:
    logits = torch.tensor([[[0.0, 2.0, 5.0]]])  # one output: a sigmoid
    labels = torch.tensor([[1, 0, 255]])
    expected = (math.log(2) + math.log(1 + math.exp(2))) / 2
    assert losses.masked_cross_entropy(logits, labels, 255).item() == pytest.approx(expected)
    assert losses.masked_cross_entropy(logits, torch.full((1, 3), 255), 255).item() == 0
