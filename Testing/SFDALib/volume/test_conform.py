"""Images keep their place from their own grid to a model's grid and back."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from grids import AS_IS, DIRECTIONS, along, noise, oracle, refusal, tilted
from heads import OBLIQUE, geometry_around_head, head

from SFDALib.volume.conform import conform, conform_labels
from SFDALib.volume.geometry import Geometry, Volume
from SFDALib.volume.input_spec import InputSpec, Resampling
from SFDALib.volume.normalisation import Normalisation
from SFDALib.volume.orientation import oriented

ALL_CODES = [
    "".join(letters)
    for pairs in itertools.permutations(("LR", "PA", "SI"))
    for letters in itertools.product(*pairs)
]


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.mark.parametrize("code", ALL_CODES)
def test_conforming_agrees_with_simpleitk_for_all_48_orders_of_the_axes(code: str) -> None:
    volume = head(geometry_around_head((20, 22, 18), (4.0, 4.5, 5.0), tilted(code)))
    assert_conforms_as_simpleitk(volume, "LPS")


@pytest.mark.parametrize("wanted", ["LPS", "RAS", "ASL", "SRA", "IPR"])
@pytest.mark.parametrize("name", DIRECTIONS)
def test_conforming_agrees_with_simpleitk_for_any_wanted_orientation(
    name: str, wanted: str
) -> None:
    volume = head(geometry_around_head((20, 22, 18), (4.0, 4.5, 5.0), DIRECTIONS[name]))
    assert_conforms_as_simpleitk(volume, wanted)


def assert_conforms_as_simpleitk(volume: Volume, wanted: str) -> None:
    """Up-sampled to about 3 mm: the same as interpolating at each new voxel's place."""
    conformed = conform(volume, InputSpec(1, wanted, (3.0, 2.7, 3.3), AS_IS, is_2d=False))
    columns = np.array(conformed.geometry.direction).reshape(3, 3)
    wanted_columns = np.array(along(wanted)).reshape(3, 3)
    assert (np.diag(columns.T @ wanted_columns) > 0.7).all()  # the axes go where they should
    like = Volume(conformed.array, conformed.geometry).to_sitk()
    image = sitk.Cast(volume.to_sitk(), sitk.sitkFloat64)
    expected = sitk.GetArrayFromImage(sitk.Resample(image, like, sitk.Transform(), sitk.sitkLinear))
    ones = sitk.Cast(image * 0 + 1, sitk.sitkFloat64)
    inner = sitk.GetArrayFromImage(sitk.Resample(ones, like, sitk.Transform(), sitk.sitkLinear))
    inner = inner > 0.999
    assert inner.mean() > 0.7
    difference = np.abs(conformed.array[0] - expected)[inner].max()
    assert difference < 1e-4 * (volume.array.max() - volume.array.min())


@pytest.mark.parametrize("name", DIRECTIONS)
def test_the_conformed_box_is_the_input_box(name: str) -> None:
    volume = head(geometry_around_head((20, 22, 18), (4.0, 4.5, 5.0), DIRECTIONS[name]))
    geometry = conform(volume, InputSpec(1, "LPS", (3.1, 2.3, 7.0), AS_IS, is_2d=False)).geometry

    def corners(of: Geometry) -> np.ndarray:
        ends = itertools.product(*[(-0.5, n - 0.5) for n in of.size])
        return np.array(sorted(np.round(of.to_lps(np.array(end)), 6).tolist() for end in ends))

    np.testing.assert_allclose(corners(geometry), corners(volume.geometry), atol=1e-5)


@pytest.mark.parametrize("code", ALL_CODES)
def test_an_image_that_is_only_turned_comes_back_bit_for_bit(code: str) -> None:
    array = noise((1, 5, 6, 7)).astype(np.float32)
    volume = Volume(array, Geometry((7, 6, 5), (1.0, 2.0, 3.0), direction=tilted(code)))
    conformed = conform(volume, InputSpec(1, "LPS", (None, None, None), AS_IS, is_2d=False))
    assert np.array_equal(conformed.restore(torch.from_numpy(conformed.array)).numpy(), array)
    turned, spacing = oriented(array, volume.geometry, "LPS")
    assert np.array_equal(turned, conformed.array)
    assert spacing == conformed.geometry.spacing_kji


def test_without_a_wanted_orientation_the_axes_stay(tmp_path: Path) -> None:
    volume = head(geometry_around_head((20, 22, 18), (4.0, 4.5, 5.0), along("ASL")))
    conformed = conform(volume, InputSpec(1, None, (None, None, None), AS_IS, is_2d=False))
    assert conformed.geometry == volume.geometry
    np.testing.assert_allclose(conformed.array, volume.array, rtol=1e-6)


def segment(volume: Volume) -> np.ndarray:
    conformed = conform(volume, InputSpec(1, "LPS", (1.5, 1.5, 1.5), AS_IS, is_2d=False))
    return conformed.restore_labels(oracle(conformed))


@pytest.mark.parametrize("name", DIRECTIONS)
@pytest.mark.parametrize("spacing", [(1.6, 1.6, 1.6), (1.2, 1.3, 3.0), (2.2, 1.4, 1.1)], ids=str)
def test_the_segmentation_of_a_turned_or_resampled_copy_is_the_turned_or_resampled_segmentation(
    name: str, spacing: tuple[float, float, float]
) -> None:
    size = tuple(int(110 / mm) for mm in spacing)
    volume = head(geometry_around_head(size, spacing, DIRECTIONS[name]))
    labels = segment(volume)
    assert labels.dtype == np.uint8
    assert labels.shape == volume.array.shape[1:]
    assert dice(labels == 1, volume.array[0] > 200) > 0.99

    first = head(geometry_around_head((70, 70, 70), (1.6, 1.6, 1.6)))
    moved = sitk.Resample(
        Volume(segment(first)[None], first.geometry).to_sitk(),
        volume.to_sitk(),
        sitk.Transform(),
        sitk.sitkLabelGaussian,
    )
    assert dice(labels == 1, sitk.GetArrayFromImage(moved) == 1) > 0.98  # both are sampled twice


@pytest.mark.parametrize("flips", list(itertools.product((1, -1), repeat=3)), ids=str)
def test_the_segmentation_of_a_flipped_copy_is_the_flipped_segmentation_exactly(
    flips: tuple[int, int, int],
) -> None:
    """A copy with the same voxels at the same places, stored in another order."""
    volume = head(geometry_around_head((40, 44, 24), (2.5, 2.5, 4.5), OBLIQUE))
    stored = tuple(slice(None, None, step) for step in flips)
    size, spacing = np.array(volume.geometry.size), np.array(volume.geometry.spacing)
    steps = np.array(flips[::-1])
    start = np.where(steps < 0, size - 1, 0)
    columns = np.array(OBLIQUE).reshape(3, 3) * steps
    geometry = Geometry(
        volume.geometry.size,
        tuple(spacing),
        tuple(volume.geometry.to_lps(start)),
        tuple(columns.ravel()),
    )
    copy = Volume(volume.array[(slice(None), *stored)], geometry)
    assert np.array_equal(segment(copy), segment(volume)[stored])


def test_the_label_of_the_largest_restored_probability_wins() -> None:
    volume = head(geometry_around_head((20, 22, 12), (4.0, 4.5, 7.0), tilted("PIL")))
    conformed = conform(volume, InputSpec(1, "LPS", (3.0, 3.0, 3.0), AS_IS, is_2d=False))
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn((9, *conformed.array.shape[1:]), generator=generator)
    probabilities = torch.softmax(logits, dim=0)
    labels = conformed.restore_labels(probabilities)
    assert np.array_equal(labels, conformed.restore(probabilities).argmax(0).numpy())
    assert len(np.unique(labels)) == 9


def test_labels_are_enlarged_by_repeating_them() -> None:
    labels = noise((3, 4, 5)).astype(np.uint8) % 4
    volume = Volume(noise((1, 3, 4, 5)), Geometry((5, 4, 3), (2.0, 4.0, 6.0)))
    conformed = conform(volume, InputSpec(1, "LPS", (1.0, 2.0, 3.0), AS_IS, is_2d=False))
    expected = labels.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
    assert np.array_equal(conform_labels(labels, conformed), expected)


def test_labels_are_turned_with_their_image() -> None:
    geometry = Geometry((5, 4, 3), (2.0, 4.0, 6.0), direction=along("ASL"))
    image = noise((1, 3, 4, 5)).astype(np.uint8)
    conformed = conform(
        Volume(image, geometry), InputSpec(1, "LPS", (None,) * 3, AS_IS, is_2d=False)
    )
    assert np.array_equal(conform_labels(image[0], conformed), conformed.array[0])


def test_voxels_that_grow_are_averaged() -> None:
    """A checkerboard, which plain interpolation at every 4th voxel would turn into one colour."""
    board = (np.indices((24, 24, 24)).sum(0) % 2).astype(np.float32)[None]
    volume = Volume(board, Geometry((24, 24, 24), (1.0, 1.0, 1.0)))
    array = conform(volume, InputSpec(1, "LPS", (4.0, 4.0, 4.0), AS_IS, is_2d=False)).array
    np.testing.assert_allclose(array, 0.5, atol=0.02)


@pytest.mark.parametrize("spacing", [None, 0.5], ids=["as is", "up-sampled"])
def test_one_slice_is_refused_for_a_3d_model(spacing: float | None) -> None:
    """Up-sampling turns a slice of 3 mm into six, which does not make it a volume."""
    volume = Volume(noise((1, 1, 9, 10)), Geometry((10, 9, 1), (1.0, 2.0, 3.0)))
    grid = InputSpec(1, "LPS", (spacing,) * 3, AS_IS, is_2d=False)
    assert "one voxel thick" in refusal(lambda: conform(volume, grid))


def test_one_slice_is_welcome_for_a_2d_model() -> None:
    volume = Volume(noise((1, 1, 9, 10)), Geometry((10, 9, 1), (1.0, 2.0, 3.0)))
    assert conform(volume, InputSpec(1, "LPS", (1, 1, None), AS_IS, True)).array.shape == (
        1,
        1,
        18,
        10,
    )


def test_a_wrong_number_of_channels_is_refused() -> None:
    volume = Volume(noise((2, 8, 9, 10)), Geometry((10, 9, 8), (1.0, 2.0, 3.0)))
    line = refusal(lambda: conform(volume, InputSpec(1, "LPS", (None,) * 3, AS_IS, is_2d=False)))
    assert "found 2 channel(s), expected 1" in line


def test_a_spacing_in_the_wrong_unit_is_refused_before_it_fills_the_memory() -> None:
    volume = Volume(noise((1, 8, 9, 10)), Geometry((10, 9, 8), (1e3, 2e3, 3e3)))  # µm
    grid = InputSpec(1, "LPS", (1.0, 1.0, 1.0), AS_IS, is_2d=False)
    assert "10x9x8 voxels that grows to 10000x18000x24000" in refusal(lambda: conform(volume, grid))


def test_a_cropped_image_comes_back_to_its_place() -> None:
    array = np.zeros((1, 6, 8, 10))
    array[0, 2:5, 1:6, 3:9] = 7
    array[0, 3, 3, 5] = 9
    geometry = Geometry((10, 8, 6), (1.0, 2.0, 3.0), (5.0, 6.0, 7.0))
    grid = InputSpec(
        *(1, None, (None,) * 3, Normalisation("none"), False),
        axes=(1, 0, 2),
        crop="nonzero",
    )
    conformed = conform(Volume(array, geometry), grid)
    assert conformed.array.shape == (1, 5, 3, 6)
    peak = np.argwhere(conformed.array[0] == 9)[0]
    np.testing.assert_allclose(
        conformed.geometry.to_lps(peak[::-1]), geometry.to_lps(np.array([5, 3, 3]))
    )
    p = torch.from_numpy((conformed.array[0] == 9).astype(np.float32))
    labels = conformed.restore_labels(torch.stack([1 - p, p]))
    assert np.argwhere(labels).tolist() == [[3, 3, 5]]
    assert torch.equal(conformed.restore(p[None])[0] > 0, torch.from_numpy(array[0] == 9))


def test_thick_slices_are_resampled_by_themselves_to_the_nearest() -> None:
    array = np.random.default_rng(0).normal(size=(1, 4, 10, 10))
    geometry = Geometry((10, 10, 4), (1.0, 1.0, 5.0))
    resampling = Resampling(order=3, smooth=False, separate_z=True)
    grid = InputSpec(1, None, (1.0, 1.0, 2.5), Normalisation("none"), False, resampling=resampling)
    result = conform(Volume(array, geometry), grid).array
    np.testing.assert_allclose(result, array.repeat(2, axis=1), rtol=1e-6)
