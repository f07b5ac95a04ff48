"""The picture of one result."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from paths import ROOT
from scipy import ndimage

from SFDALib.bundle.description import Label
from SFDALib.results.overview import Overview, draw_overview

TERMINOLOGY = (
    "Segmentation category and type - 3D Slicer General Anatomy list"
    "~SCT^123037004^Anatomical Structure~SCT^12738006^Brain~^^"
    "~Anatomic codes - DICOM master list~^^~^^"
)
LABELS = (
    Label(1, "Sinus", (120, 80, 40)),  # has no voxel: the first, which is Slicer's hardest case
    Label(2, "Brain", (250, 250, 225), TERMINOLOGY),
    Label(3, "Eye: left = L", (0, 151, 206)),
)


def head() -> Overview:
    """A head of two shells, 20 slices of 4 mm; the source's result is too small."""
    k, j, i = np.mgrid[-10:10, -40:40, -30:30] * np.array([4.0, 2.0, 2.0]).reshape(3, 1, 1, 1)
    radius = np.sqrt((k / 45) ** 2 + (j / 70) ** 2 + (i / 50) ** 2)
    image = (100 * (radius < 1) + 80 * (radius < 0.8)).astype(np.float32)
    return Overview(
        image=image,
        spacing_kji=(4.0, 2.0, 2.0),
        source_labels=2 * (radius < 0.6).astype(np.int64),
        final_labels=2 * (radius < 0.8).astype(np.int64),
        labels=LABELS,
        volumes=("0 ml → 0 ml", "142 ml → 338 ml (+138 %)", "0 ml → 0 ml"),
        title="HEAL on a phantom",
        subtitle="bundle head 1.0 · seed 0",
    )


def photograph() -> Overview:
    """A disc in a colour frame, K = 1."""
    j, i = np.mgrid[:90, :120]
    disc = ((j - 40) ** 2 + (i - 70) ** 2 < 25**2)[None]
    rgb = np.stack([0.4 + 0.4 * disc, 0.3 + 0 * disc, 0.2 + 0.1 * disc])
    return dataclasses.replace(
        head(),
        image=rgb,
        spacing_kji=(1.0, 1.0, 1.0),
        source_labels=np.roll(disc, 8, axis=2) * 2,
        final_labels=disc * 2,
    )


def with_uncertainty(overview: Overview) -> Overview:
    edge = (overview.source_labels != overview.final_labels).astype(np.float32)
    return dataclasses.replace(overview, uncertainty=edge)


def with_sample(overview: Overview) -> Overview:
    sample = np.random.default_rng(0).random(overview.source_labels.shape)
    return dataclasses.replace(overview, sample=sample, sample_caption="sample 3 of 6, S = 0.42")


def picture(tmp_path: Path, overview: Overview) -> np.ndarray:
    """(rows, columns, RGBA) 0..255 of the written PNG."""
    draw_overview(tmp_path / "o.png", overview)
    return sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / "o.png"))


class TestOverview:
    @pytest.mark.parametrize("subject", [head, photograph])
    @pytest.mark.parametrize("sample", [False, True])
    @pytest.mark.parametrize("uncertainty", [False, True])
    def test_draws_every_kind(
        self, tmp_path: Path, subject: Callable[[], Overview], sample: bool, uncertainty: bool
    ) -> None:
        overview = with_uncertainty(subject()) if uncertainty else subject()
        overview = with_sample(overview) if sample else overview
        drawn = picture(tmp_path, overview)
        assert drawn.std() > 20
        if sample and uncertainty:
            assert drawn.shape[1] > picture(tmp_path, subject()).shape[1]

    def test_is_the_same_picture_each_time(self, tmp_path: Path) -> None:
        overview = with_sample(with_uncertainty(head()))
        draw_overview(tmp_path / "a.png", overview)
        with_other_defaults = (
            "import pickle, sys, matplotlib\n"
            "from SFDALib.results.overview import draw_overview\n"
            "matplotlib.rcParams.update({'font.size': 30, 'axes.facecolor': 'red'})\n"
            "draw_overview(sys.argv[1], pickle.load(sys.stdin.buffer))\n"
        )
        command = [sys.executable, "-c", with_other_defaults, str(tmp_path / "b.png")]
        subprocess.run(command, cwd=ROOT, input=pickle.dumps(overview), check=True)
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()

    def test_cuts_no_text_off(self, tmp_path: Path) -> None:
        labels = [Label(value, f"Structure {value} " * 9, (200, 80, 60)) for value in range(1, 30)]
        drawn = picture(
            tmp_path,
            dataclasses.replace(
                with_sample(with_uncertainty(head())),
                title="1.2.840.113619.2.55.3.2831164355.927_" * 5,
                subtitle="W" * 400 + " $x^ \\frac{",
                sample_caption="a caption that is rather longer than its panel is wide " * 2,
                labels=labels,
                volumes=["1320 ml → 1410 ml (+7 %)"] * len(labels),
            ),
        )
        background, border = drawn[0, 0].copy(), 12
        drawn[border:-border, border:-border] = background
        assert (drawn == background).all()

    def test_shows_the_patient_s_right_on_the_left_with_true_proportions(
        self, tmp_path: Path
    ) -> None:
        final = np.zeros((3, 60, 40), int)
        final[1, 10:30, 5:15] = 1  # right, in front; 20 mm deep and 20 mm wide
        final[1, 40:50, 20:35] = 2  # left, behind; 10 mm deep and 30 mm wide
        overview = dataclasses.replace(
            head(),
            image=np.zeros(final.shape),
            spacing_kji=(4.0, 1.0, 2.0),
            source_labels=np.zeros_like(final),
            final_labels=final,
            labels=(Label(1, "green", (0, 255, 0)), Label(2, "red", (255, 0, 0))),
            volumes=("", ""),
        )
        drawn = picture(tmp_path, overview)[..., :3].astype(int)
        boxes = []
        for channel in (1, 0):
            pure = 2 * drawn[..., channel] - drawn.sum(axis=-1) > 60
            outlines = ndimage.find_objects(ndimage.label(pure, np.ones((3, 3)))[0])
            boxes.append(max(outlines, key=lambda box: box[1].stop - box[1].start))
        (green_rows, green_columns), (red_rows, red_columns) = boxes
        assert green_columns.stop < red_columns.start
        assert green_rows.stop < red_rows.start
        sides = [part.stop - part.start for box in boxes for part in box]
        millimetres = np.array([20, 20, 10, 30])
        np.testing.assert_allclose(sides / millimetres / (sides[0] / 20), 1, atol=0.1)

    def test_works_without_any_label_voxel(self, tmp_path: Path) -> None:
        nothing = np.zeros_like(head().source_labels)
        empty = dataclasses.replace(head(), source_labels=nothing, final_labels=nothing)
        assert picture(tmp_path, empty).std() > 20

    def test_never_touches_pyplot(self) -> None:
        script = "import sys, SFDALib.results.overview\nprint('matplotlib.pyplot' in sys.modules)"
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
        assert done.stdout == "False\n"
