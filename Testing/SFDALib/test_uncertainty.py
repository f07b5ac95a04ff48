"""Uncertainty maps against HEAL's released code (parity/heal_hd.json), scipy and hand counts."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from paths import PARITY
from scipy.ndimage import uniform_filter

from SFDALib.uncertainty import (
    NIGConstants,
    entropy,
    histogram_entropy,
    nig_variance,
    normalise_minmax,
    regional_entropy,
    reliability_mask,
)

FIXTURE = json.loads((PARITY / "heal_hd.json").read_text())


def binary(foreground: float) -> torch.Tensor:
    """Class probabilities (2, 1, 1, 1) of one voxel."""
    return torch.tensor([1 - foreground, foreground]).view(2, 1, 1, 1)


# --- entropy


def test_entropy_in_nats_and_its_cut_match_the_released_3d_script():
    case = FIXTURE["3d_entropy"]
    probabilities = torch.tensor(case["probs_last_axis_classes"]).movedim(-1, 0)
    nats = entropy(probabilities, "nats")
    torch.testing.assert_close(nats, torch.tensor(case["entropy_nats"]), rtol=1e-5, atol=0)
    certain = reliability_mask(nats, 0.2)
    assert (~certain).int().tolist() == case["uncertain_mask"]
    assert (probabilities.argmax(0) * certain).tolist() == case["kept_labels"]


@pytest.mark.parametrize(
    ("unit", "expected"), [("bits", 2.0), ("nats", math.log(4)), ("normalised", 1.0)]
)
def test_four_equal_classes_have_two_bits(unit, expected):
    result = entropy(torch.full((4, 1, 2, 3), 0.25), unit)
    assert result.shape == (1, 2, 3)
    torch.testing.assert_close(result, torch.full((1, 2, 3), expected))


def test_a_certain_voxel_has_no_bits_but_a_trace_of_nats():
    assert entropy(binary(1.0), "bits").item() == 0
    # -2 terms: 1e-7 ln 1e-7 and (1 - 1e-7) ln(1 - 1e-7), the latter in float32 steps of 6e-8
    assert entropy(binary(1.0), "nats").item() == pytest.approx(1e-7 * (16.118 + 1), rel=0.02)


def test_probabilities_a_rounding_error_outside_zero_to_one_have_a_finite_entropy():
    assert entropy(binary(1 + 1e-6), "bits").item() == pytest.approx(0, abs=1e-6)


def test_an_unknown_unit_is_refused():
    with pytest.raises(AssertionError, match="decibel"):
        entropy(binary(0.5), "decibel")


# --- regional entropy


@pytest.mark.parametrize(("region", "size"), [("3x3", (1, 3, 3)), ("3x3x3", (3, 3, 3))])
@pytest.mark.parametrize("shape", [(4, 5, 6), (1, 5, 6), (2, 1, 3)])
def test_regional_entropy_is_a_replicated_box_mean(region, size, shape):
    values = np.random.default_rng(0).random(shape)
    result = regional_entropy(torch.from_numpy(values), region).numpy()
    np.testing.assert_allclose(result, uniform_filter(values, size, mode="nearest"), rtol=1e-9)


def test_the_in_plane_window_does_not_reach_the_neighbouring_slice():
    values = torch.zeros(3, 4, 4)
    values[1] = 1.0
    torch.testing.assert_close(regional_entropy(values, "3x3"), values)
    torch.testing.assert_close(
        regional_entropy(values, "3x3x3"), torch.full_like(values, 1 / 3), rtol=1e-6, atol=0
    )


# --- the released NIG filter


@pytest.mark.parametrize("name", ["2d_soft", "2d_hard", "2d_flat"])
def test_the_released_reading_matches_the_released_2d_script_at_every_step(name):
    expected = {key: torch.tensor(value) for key, value in FIXTURE[name].items()}
    initial, refined = expected["initial"], expected["refined"]

    regional = histogram_entropy(refined)
    nig = nig_variance(regional, (initial - refined).abs(), "released")
    uncertainty = normalise_minmax(nig.variance)
    reliable = reliability_mask(uncertainty, 0.2)

    found = {
        "H": regional,
        "omega": nig.omega,
        "beta": nig.beta,
        "alpha": nig.alpha,
        "uncertainty": nig.variance,
        "uncertainty_norm": uncertainty,
        "reliability_mask": reliable.to(initial.dtype),
        "processed_initial": initial * reliable,
    }
    assert found.keys() | {"initial", "refined"} == expected.keys()
    for key, value in found.items():
        # Min-max subtracts nearly equal numbers: there float32 leaves 3e-7 of the range.
        atol = 1e-6 if key == "uncertainty_norm" else 0
        torch.testing.assert_close(value, expected[key], rtol=1e-5, atol=atol, msg=key)


@pytest.mark.parametrize("row", FIXTURE["window_k_ones_of_9"], ids=lambda row: f"k={row['k']}")
def test_histogram_entropy_of_a_window_with_k_ones_of_nine(row):
    window = (torch.arange(9) < row["k"]).float().view(3, 3)
    local = histogram_entropy(window)[1, 1]
    nig = nig_variance(local, torch.zeros(()), "released")
    assert local.item() == pytest.approx(row["local_entropy_bits"], rel=1e-5)
    assert (nig.beta / nig.omega).item() == pytest.approx(row["beta_over_omega"], rel=1e-5)


def test_histogram_entropy_counts_the_upper_end_in_the_last_bin():
    assert histogram_entropy(torch.tensor([[[0.95, 1.0]]])).max() < 1e-4


def test_in_the_released_reading_the_disagreement_has_no_influence():
    regional = torch.linspace(0, 1, 11)
    none = nig_variance(regional, torch.zeros(11), "released")
    full = nig_variance(regional, torch.ones(11), "released")
    torch.testing.assert_close(none.variance, full.variance, rtol=0, atol=0)
    torch.testing.assert_close(none.alpha, torch.full((11,), 1.01))


# --- the other readings


def test_the_monotone_variance_rises_with_entropy_and_with_disagreement():
    regional = torch.linspace(0, 1, 21).view(-1, 1)
    disagreement = torch.linspace(0, 1, 5).view(1, -1)
    variance = nig_variance(regional, disagreement).variance
    assert (variance.diff(dim=0) > 0).all()
    assert (variance.diff(dim=1) > 0).all()


@pytest.mark.parametrize(
    ("regional", "disagreement", "expected"),
    [
        (0.0, 0.0, 0.01 * 0.01 / 0.11),
        (0.0, 1.0, 0.01 * 0.01 / 0.01),
        (1.0, 1.0, 0.81 * 0.51 / 0.01),
        (0.5, 0.5, 0.41 * 0.26 / 0.06),
    ],
)
def test_the_monotone_variance_by_hand(regional, disagreement, expected):
    nig = nig_variance(torch.tensor(regional), torch.tensor(disagreement))
    assert nig.variance.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("disagreement", "below", "above"), [(0.0, 0.21, 0.23), (1.0, 0.05, 0.06)])
def test_a_raw_variance_of_a_fifth_lies_at_the_documented_entropy(disagreement, below, above):
    variance = nig_variance(torch.tensor([below, above]), torch.tensor(disagreement)).variance
    assert variance[0] < 0.2 < variance[1]


def test_the_paper_variance_is_negative_over_all_its_range():
    regional = torch.linspace(0, 1, 21).view(-1, 1)
    nig = nig_variance(regional, torch.linspace(0, 1, 5).view(1, -1), "paper")
    assert nig.alpha.max() < 1
    assert nig.variance.max() < 0
    # E = 0, d = 0: omega = 100, beta = .81, alpha - 1 = -.999
    assert nig.variance[0, 0].item() == pytest.approx(-100 / (0.81 * 0.999), rel=1e-5)


def test_the_constants_can_be_changed():
    constants = NIGConstants(kappa=1.0, alpha0=1.0, zeta1=0.0, zeta2=3.0, eta1=0.0, eta2=0.5)
    nig = nig_variance(torch.tensor(0.7), torch.tensor(0.0), constants=constants)
    assert (nig.alpha.item(), nig.beta.item(), nig.omega.item()) == (3.0, 3.0, 2.0)
    assert nig.variance.item() == 0.75


# --- normalisation and mask


def test_minmax_normalisation_spans_zero_to_one():
    result = normalise_minmax(torch.tensor([-1.0, 1.0, 3.0]))
    torch.testing.assert_close(result, torch.tensor([0.0, 0.5, 1.0]), rtol=0, atol=1e-6)


def test_a_flat_map_normalises_to_zeros():
    assert normalise_minmax(torch.tensor([5.0, 5.0 + 5e-7])).tolist() == [0, 0]


def test_the_threshold_itself_is_reliable_and_nan_never():
    assert reliability_mask(torch.tensor([0.5, 0.6, math.nan]), 0.5).tolist() == [
        True,
        False,
        False,
    ]
