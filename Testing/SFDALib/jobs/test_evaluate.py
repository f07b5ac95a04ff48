"""Results against a reference: the numbers in the table, in the JSON file, and what is refused."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from phantoms import Phantom
from quick_jobs import labels_of
from rich.console import Console

from SFDALib.__main__ import main
from SFDALib.bundle.description import Label
from SFDALib.commands.evaluate import AVERAGED, NUMBERS, table
from SFDALib.evaluation import metrics
from SFDALib.results.images import write_segmentation
from SFDALib.volume.image_file import read_labels

BRAIN = (Label(1, "Brain", (250, 250, 225)),)


@pytest.fixture(scope="module")
def reference(phantom: Callable[..., Phantom]) -> Path:
    return phantom().labels


@pytest.fixture(scope="module")
def results(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two result folders: the reference shifted by a voxel along I, and along J."""
    truth = read_labels(reference)
    folders = []
    for axis in (2, 1):
        folder = tmp_path_factory.mktemp("result")
        moved = np.roll(truth.array[0], 1, axis)
        write_segmentation(
            folder / "segmentation.seg.nrrd", moved, truth.geometry, BRAIN, "a shift"
        )
        folders.append(folder)
    return folders


def words(given: list[Path], reference: Path, table: Path) -> list[str]:
    request = [word for path in given for word in ("--result", str(path))]
    return ["evaluate", *request, "--reference", str(reference), "--json", str(table)]


def test_evaluate_measures_files_and_folders_alike(
    results: list[Path], reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    given = [results[0], results[1] / "segmentation.seg.nrrd"]
    assert main([*words(given, reference, tmp_path / "t.json"), "--tolerance-mm", "1.5"]) == 0
    truth = sitk.GetArrayFromImage(sitk.ReadImage(str(reference)))
    written = json.loads((tmp_path / "t.json").read_text())
    shown = capsys.readouterr().out
    assert [row["result"] for row in written["results"]] == [str(path) for path in given]
    for row, folder in zip(written["results"], results, strict=True):
        measured = metrics.evaluate_labels(labels_of(folder), truth, (6.0, 2.2, 2.5), [1], 1.5)
        assert row["classes"] == {"1": {"name": "Brain", **asdict(measured[1])}}
        assert 0.5 < measured[1].dice < 1
        for number in (measured[1].dice, measured[1].hd95_mm, measured[1].surface_dice):
            assert f"{number:.4g}" in shown


def test_several_results_have_a_mean_with_its_interval(
    results: list[Path], reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(words(results, reference, tmp_path / "t.json")) == 0
    written = json.loads((tmp_path / "t.json").read_text())
    one, other = (row["classes"]["1"]["dice"] for row in written["results"])
    mean = written["means"]["1"]
    assert mean["name"] == "Brain" and mean["dice"]["counted"] == 2
    assert mean["dice"]["mean"] == pytest.approx((one + other) / 2)
    margin = 12.706 * abs(one - other) / 2  # t of one degree of freedom; s / sqrt(2)
    assert mean["dice"]["high"] - mean["dice"]["mean"] == pytest.approx(margin, rel=1e-3)
    shown = capsys.readouterr().out
    for number in ("mean", "low", "high"):
        assert f"{mean['dice'][number]:.4g}" in shown


def test_a_single_result_has_no_line_for_a_mean(
    results: list[Path], reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(words(results[:1], reference, tmp_path / "t.json")) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "Brain" in line]
    assert len(lines) == 1
    assert json.loads((tmp_path / "t.json").read_text())["means"]["1"]["dice"]["low"] is None


def test_a_class_that_a_result_misses_counts_as_failed(
    results: list[Path], reference: Path, tmp_path: Path
) -> None:
    truth = read_labels(reference)
    nothing = np.zeros_like(truth.array[0])
    path = tmp_path / "nothing.seg.nrrd"
    write_segmentation(path, nothing, truth.geometry, BRAIN, "nothing")
    assert main(words([results[0], path], reference, tmp_path / "t.json")) == 0
    means = json.loads((tmp_path / "t.json").read_text())["means"]["1"]
    assert (means["dice"]["counted"], means["asd_mm"]["counted"]) == (2, 1)
    assert means["dice"]["failed"] == means["asd_mm"]["excluded"] == 1


def test_evaluate_refuses_a_reference_on_another_grid(
    results: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = sitk.ReadImage(str(results[0] / "segmentation.seg.nrrd"))
    labels.SetOrigin([mm + 1 for mm in labels.GetOrigin()])
    sitk.WriteImage(labels, str(tmp_path / "moved.nrrd"))
    assert main(words(results[:1], tmp_path / "moved.nrrd", tmp_path / "t.json")) == 2
    assert "another grid" in caplog.messages[-1]
    assert not (tmp_path / "t.json").exists()


def test_the_table_says_how_many_results_failed() -> None:
    good = {"mean": 0.45, "low": 0.1, "high": 0.8, "counted": 2, "failed": 1}
    values = dict.fromkeys(NUMBERS, 0.5) | {"name": "Brain"}
    row = {"result": "a", "classes": {"1": values}}
    means = {"1": {"name": "Brain", **dict.fromkeys(AVERAGED, good)}}
    console = Console(width=120, file=io.StringIO())
    console.print(table({"results": [row, row], "means": means}))
    assert "mean of 2, 1 failed" in console.file.getvalue()
