"""The picture of several results."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from SFDALib.bundle.description import Label
from SFDALib.results.comparison import ComparedResult, ComparisonPicture, draw_comparison


def disc(shift: int = 0, radius: float = 6, value: int = 1, size: int = 32) -> np.ndarray:
    j, i = np.mgrid[:size, :size] - size // 2
    return (value * ((j**2 + (i - shift) ** 2) < radius**2)).astype(np.uint8)[None]


def array(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def picture(count: int = 4, **changes: Any) -> ComparisonPicture:
    maps = [np.concatenate([disc(), disc(radius=5 + n), disc()]) for n in range(count)]
    return ComparisonPicture(
        **{
            "image": np.random.default_rng(0).random((3, 32, 32)),
            "spacing_kji": (4.0, 2.0, 2.0),
            "labels": (Label(1, "Brain", (250, 170, 70)),),
            "results": [ComparedResult(f"Method {n}", m, f"{n} ml") for n, m in enumerate(maps)],
            "dice": np.eye(count),
            "title": "A comparison",
            "subtitle": "of phantoms",
        }
        | changes
    )


def drawn(path: Path, shown: ComparisonPicture) -> np.ndarray:
    """(rows, columns, RGBA) 0..255 of the written PNG."""
    draw_comparison(path, shown)
    return array(path)


class TestComparisonPicture:
    @pytest.mark.parametrize("count", [1, 2, 3, 5, 6])
    def test_grows_with_the_results(self, tmp_path: Path, count: int) -> None:
        assert drawn(tmp_path / "c.png", picture(count)).std() > 20

    def test_shows_six_results_and_the_dice_of_all(self, tmp_path: Path) -> None:
        six, nine = (drawn(tmp_path / f"{count}.png", picture(count)) for count in (6, 9))
        assert six.shape[1] == nine.shape[1]
        assert 0 < nine.shape[0] - six.shape[0] < 150  # three more lines, no further panels

    def test_shows_the_slice_on_which_the_results_differ_most(self, tmp_path: Path) -> None:
        bright = np.zeros((3, 32, 32))
        bright[1] = 1  # the middle slice alone is white
        middle = drawn(tmp_path / "a.png", picture(image=bright))
        other = drawn(tmp_path / "b.png", picture(image=bright[[1, 0, 0]]))
        assert middle.mean() > other.mean() + 40

    def test_is_the_same_picture_each_time(self, tmp_path: Path) -> None:
        for name in ("a.png", "b.png"):
            draw_comparison(tmp_path / name, picture(dice=np.full((4, 4), math.nan)))
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()

    def test_draws_a_photograph_and_results_without_a_voxel(self, tmp_path: Path) -> None:
        frame = np.random.default_rng(0).random((3, 1, 32, 32))
        results = [ComparedResult("Nothing", np.zeros((1, 32, 32), np.uint8), "0 ml")] * 2
        shown = picture(2, image=frame, results=results, dice=np.full((2, 2), math.nan))
        assert drawn(tmp_path / "c.png", shown).std() > 20

    def test_cuts_no_text_off(self, tmp_path: Path) -> None:
        labels = [Label(n, f"Structure {n} " * 9, (200, 80, 60)) for n in range(1, 9)]
        results = [
            ComparedResult("A method of a long name " * 2, disc(), "1234 ml labelled " * 5)
        ] * 9
        changes = {"labels": labels, "results": results, "remarks": ["Failed: a, b, c; " * 40]}
        titles = {"title": "1.2.840.113619.2.55.3.2831164355.927_" * 5, "subtitle": "W" * 400}
        shown = drawn(tmp_path / "c.png", picture(9, **changes, **titles, image=disc() * 1.0))
        background, border = shown[0, 0].copy(), 12
        shown[border:-border, border:-border] = background
        assert (shown == background).all()
