"""The shape of structures: by hand, and against SimpleITK's filter of label shapes."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from SFDALib.volume.shape import Shape, shapes

SPACING = (3.0, 1.5, 1.0)  # mm along k, j, i


def ellipsoid(
    half_mm: tuple[float, float, float],
    centre_mm: tuple[float, float, float] = (60.0, 60.0, 60.0),
    turn: float = 0.0,
) -> np.ndarray:
    """A mask ``(k, j, i)`` of 120 mm along each axis; turned about k by radians."""
    axes = [np.arange(0, 120, mm) for mm in SPACING]
    k, j, i = (
        grid - middle
        for grid, middle in zip(np.meshgrid(*axes, indexing="ij"), centre_mm, strict=True)
    )
    j, i = np.cos(turn) * j - np.sin(turn) * i, np.sin(turn) * j + np.cos(turn) * i
    return sum((x / h) ** 2 for x, h in zip((k, j, i), half_mm, strict=True)) <= 1


def only(mask: np.ndarray) -> Shape:
    (found,) = shapes(mask.astype(np.uint8), [1], SPACING)
    assert found is not None
    return found


def test_an_ellipsoid_has_its_own_axes_wherever_it_lies_and_however_it_is_turned() -> None:
    for mask in (
        ellipsoid((24, 15, 36)),
        ellipsoid((24, 15, 36), (70.0, 50.0, 55.0)),
        ellipsoid((24, 15, 36), turn=0.7),
    ):
        found = only(mask)
        assert (found.length_mm, found.width_mm, found.thickness_mm) == pytest.approx(
            (72, 48, 30), rel=0.02
        )
        assert found.fill == pytest.approx(1, abs=0.02)
        assert found.distance_mm is None


def test_the_axes_are_those_of_simpleitk() -> None:
    """ITK takes voxels as points: without the sixth of a voxel's own variance."""
    mask = ellipsoid((18, 12, 36), turn=0.4) & ~ellipsoid((9, 6, 18), (66.0, 60.0, 60.0))
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(SPACING[::-1])
    peer = sitk.LabelShapeStatisticsImageFilter()
    peer.Execute(image)
    found = only(mask)
    axes = (found.thickness_mm, found.width_mm, found.length_mm)
    moments = np.array(peer.GetPrincipalMoments(1))
    assert axes == pytest.approx(2 * np.sqrt(5 * moments), rel=0.02)
    volume = peer.GetPhysicalSize(1)
    assert found.fill == pytest.approx(volume / (np.pi / 6 * np.prod(axes)), rel=1e-6)


def test_a_hollow_and_a_scattered_structure_fill_less_of_their_ellipsoid() -> None:
    """By hand: the shell between the radii r and 1 has ``1/5 (1 - r^5) / (1 - r^3)`` as variance
    along each axis; its ellipsoid's half axes are the root of five times that.
    """
    shell = ellipsoid((48, 48, 48)) & ~ellipsoid((36, 36, 36))
    r = 0.75
    variance = (1 - r**5) / (1 - r**3) / 5
    assert only(shell).fill == pytest.approx((1 - r**3) / (5 * variance) ** 1.5, rel=0.02)
    two = ellipsoid((15, 15, 15), (60.0, 30.0, 60.0)) | ellipsoid((15, 15, 15), (60.0, 90.0, 60.0))
    assert only(two).fill < 0.5
    assert only(two).length_mm > 100


def test_a_voxel_is_a_box_and_not_a_point() -> None:
    mask = np.zeros((5, 6, 7), bool)
    mask[2, 3, 4] = True
    found = only(mask)
    box = 2 * np.sqrt(5 / 12) * np.array(sorted(SPACING, reverse=True))
    assert (found.length_mm, found.width_mm, found.thickness_mm) == pytest.approx(tuple(box))


def test_the_distance_is_to_the_common_centre_of_all_structures() -> None:
    labels = np.zeros((4, 10, 12), np.uint8)
    labels[:, 2:4, 2:4] = 1  # centre at j = 2.5, i = 2.5
    labels[:, 6:8, 6:8] = 3  # centre at j = 6.5, i = 6.5, of the same size
    first, second, third = shapes(labels, [1, 2, 3], SPACING)
    assert second is None, "it has no voxels"
    apart = np.hypot(2 * 1.5, 2 * 1.0)  # two voxels along j and along i from the middle
    assert first is not None and third is not None
    assert first.distance_mm == pytest.approx(apart)
    assert third.distance_mm == pytest.approx(apart)


def test_an_empty_segmentation_has_no_shapes() -> None:
    assert shapes(np.zeros((3, 4, 5), np.uint8), [1, 2], SPACING) == [None, None]
