"""Intensities are normalised as computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from grids import noise

from SFDALib.volume.intensity import normalise, normalise_unit
from SFDALib.volume.normalisation import Normalisation

CHANNEL = np.array([0, 1, 2, 3, 4], np.float32).reshape(1, 1, 1, 5)


@pytest.mark.parametrize(
    ("normalisation", "expected"),
    [
        (Normalisation("none"), [0, 1, 2, 3, 4]),
        (Normalisation("minmax"), [0, 0.25, 0.5, 0.75, 1]),
        # The 25th and 75th percentile are 1 and 3.
        (Normalisation("percentile", 25, 75), [0, 0, 0.5, 1, 1]),
        # Mean 2, variance (4 + 1 + 0 + 1 + 4) / 5 = 2.
        (Normalisation("zscore"), [-(2**0.5), -(0.5**0.5), 0, 0.5**0.5, 2**0.5]),
        # Clipped to 1..3, minus 2, divided by 4.
        (Normalisation("fixed", 1, 3, mean=2, std=4), [-0.25, -0.25, 0, 0.25, 0.25]),
    ],
    ids=lambda value: value.kind if isinstance(value, Normalisation) else "",
)
def test_intensities_are_normalised_as_by_hand(
    normalisation: Normalisation, expected: list[float]
) -> None:
    result = normalise(CHANNEL, normalisation)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result.ravel(), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("normalisation", "unit", "sample", "expected"),
    [
        # In 0..1 as the model wants it; what a sample holds is scaled again: 25 % is 0.1, 75 % 0.9.
        (
            Normalisation("percentile", 25, 75),
            [0, 0, 0.5, 1, 1],
            [0, 0.1, 0.5, 0.9, 1],
            [0, 0, 0.5, 1, 1],
        ),
        (Normalisation("minmax"), [0, 0.25, 0.5, 0.75, 1], [0.2, 0.3, 0.4, 0.5, 0.6], None),
        # The window 1..3 becomes 0..1; 0.25 of it is 1.5, (1.5 - 2) / 4 = -0.125; below 0 is air.
        (
            Normalisation("fixed", 1, 3, mean=2, std=4),
            [0, 0, 0.5, 1, 1],
            [-0.5, 0, 0.25, 1, 1.5],
            [-0.25, -0.25, -0.125, 0.25, 0.25],
        ),
        # CT: -100..300 HU; 0.25 is 0 HU, (0 - 50) / 200.
        (
            Normalisation("fixed", -100, 300, mean=50, std=200),
            [0.25, 0.2525, 0.255, 0.2575, 0.26],
            [0, 0.25, 0.5, 0.75, 1],
            [-0.75, -0.25, 0.25, 0.75, 1.25],
        ),
        # 0.5 and 99.5 % of 0..4 lie at 0.02 and 3.98; of the sample, mean 0.5, std 0.25 sqrt 2.
        (
            Normalisation("zscore"),
            [0, 0.98 / 3.96, 0.5, 2.98 / 3.96, 1],
            [0, 0.25, 0.5, 0.75, 1],
            [-(2**0.5), -(0.5**0.5), 0, 0.5**0.5, 2**0.5],
        ),
    ],
    ids=["percentile", "minmax", "fixed", "CT", "zscore"],
)
def test_intensities_go_to_0_to_1_for_the_diffusion_model_and_back_as_by_hand(
    normalisation: Normalisation,
    unit: list[float],
    sample: list[float],
    expected: list[float] | None,
) -> None:
    expected = expected or unit
    to_unit = normalise(CHANNEL, normalisation.unit())
    np.testing.assert_allclose(to_unit.ravel(), unit, atol=1e-6)
    drawn = np.array(sample, np.float32).reshape(CHANNEL.shape)
    back = normalise_unit(drawn, normalisation)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back.ravel(), expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["percentile", "minmax", "zscore", "fixed"])
def test_an_image_that_went_to_0_to_1_is_to_the_model_as_before(kind: str) -> None:
    """Exactly where the window tells all; up to what the percentiles clip otherwise."""
    constants = {"lower": 100, "upper": 200, "mean": 130, "std": 40} if kind == "fixed" else {}
    normalisation = Normalisation(kind, **constants)
    image = noise((2, 8, 9, 10)).astype(np.float32)
    direct = normalise(image, normalisation)
    unit = normalise(image, normalisation.unit())
    assert unit.min() >= 0 and unit.max() <= 1
    np.testing.assert_allclose(
        normalise_unit(unit, normalisation), direct, atol=0.05 if kind != "fixed" else 1e-5
    )


def test_each_channel_is_normalised_by_itself() -> None:
    result = normalise(np.concatenate([CHANNEL, 100 - 7 * CHANNEL]), Normalisation("minmax"))
    np.testing.assert_allclose(result[1], 1 - result[0], atol=1e-6)


def test_normalisation_within_the_body_leaves_what_is_around_it() -> None:
    array = np.zeros((2, 1, 5, 5), np.float32)
    array[0, 0, 1:4, 1:4] = [[1, 2, 3], [4, 0, 6], [7, 8, 9]]  # the hole belongs to the body
    array[1, 0, 1:4, 1:4] = 5
    scaled = normalise(array, Normalisation("zscore", within="body", channels=(0,)))
    body = np.array([1, 2, 3, 4, 0, 6, 7, 8, 9])
    expected = (body - body.mean()) / body.std()
    np.testing.assert_allclose(scaled[0, 0, 1:4, 1:4].ravel(), expected, rtol=1e-5)
    assert scaled[0, 0, 0].tolist() == [0] * 5
    assert (scaled[1] == array[1]).all()
