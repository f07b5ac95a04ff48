"""The documented entry point without a window: its files, its scene, and its exit status."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

SCRIPT = Path(__file__).resolve().parents[1] / "SFDASegmenter/Scripts/adapt_and_segment.py"


@pytest.fixture
def adapt_and_segment(
    slicer_app: Any, scene: Any, phantom: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    """``adapt_and_segment(input, output, words)``: the script's exit status, without a window."""
    import slicer

    monkeypatch.setattr(slicer.app.commandOptions(), "noMainWindow", True)
    spec = importlib.util.spec_from_file_location("adapt_and_segment", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)

    def run(given: Path, output: Path, *words: str) -> int:
        request = ["--bundle", str(phantom().bundle), "--input", str(given), "--device", "cpu"]
        return script.main([*request, "--output", str(output), *words])

    return run


def test_a_volume_becomes_files_and_a_scene_with_all_of_it(
    adapt_and_segment: Callable[..., int], phantom: Callable[..., Any], tmp_path: Path
) -> None:
    import slicer
    from SFDASegmenterLib.scene.results import results_in_scene

    output = tmp_path / "new folder" / "out"
    words = ["--method", "heal", "--option", "samples=2", "--option", "steps=2"]
    assert adapt_and_segment(phantom().image, output, *words) == 0
    names = {path.name for path in output.iterdir()}
    assert {"segmentation.seg.nrrd", "entropy.nrrd", "report.json", "scene.mrb"} <= names
    assert [path.name for path in output.parent.iterdir()] == ["out"], "nothing half-written"
    assert json.loads((output / "report.json").read_text())["options"]["samples"] == 2
    assert not list(Path(slicer.app.temporaryPath).glob("SFDA-*"))
    slicer.mrmlScene.Clear()
    slicer.util.loadScene(str(output / "scene.mrb"))
    (results,) = results_in_scene()
    entropy = sitk.GetArrayFromImage(sitk.ReadImage(str(output / "entropy.nrrd")))
    assert np.array_equal(slicer.util.arrayFromVolume(results.get("entropy")), entropy)


def test_a_folder_is_run_volume_by_volume_and_what_failed_is_in_the_status(
    adapt_and_segment: Callable[..., int],
    phantom: Callable[..., Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    folder = tmp_path / "volumes"
    folder.mkdir()
    shutil.copy(phantom().image, folder / "good.nrrd")
    image = sitk.ReadImage(str(phantom().image))
    sitk.WriteImage(image * 0, str(folder / "flat.nrrd"))
    (folder / "notes.txt").write_text("no volume")
    output = tmp_path / "out"
    assert adapt_and_segment(folder, output, "--method", "none") == 2
    summary = json.loads((output / "cohort.json").read_text())
    done = {row["image"]: row["folder"] for row in summary["images"]}
    good = next(place for name, place in done.items() if "good" in name)
    assert (output / good / "segmentation.seg.nrrd").is_file()
    assert (output / "scene.mrb").is_file()
    assert "flat" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "magic"], "expected one of none"),
        (["--method", "heal", "--option", "steps=0"], "steps"),
        (["--method", "none", "--speed", "9"], "--speed"),
    ],
)
def test_a_wrong_word_is_one_line_and_status_2(
    adapt_and_segment: Callable[..., int],
    phantom: Callable[..., Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    words: list[str],
    said: str,
) -> None:
    assert adapt_and_segment(phantom().image, tmp_path / "out", *words) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("SFDA: ")
    assert said in lines[-1]
    assert not (tmp_path / "out").exists()


def test_a_result_is_not_written_over(
    adapt_and_segment: Callable[..., int], phantom: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    assert adapt_and_segment(phantom().image, tmp_path / "out", "--method", "none") == 2
    assert list((tmp_path / "out").iterdir()) == []


def test_an_image_that_is_none_is_refused(
    adapt_and_segment: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "broken.nrrd"
    path.write_text("NRRD0004\nbroken")
    assert adapt_and_segment(path, tmp_path / "out", "--method", "none") == 2
    assert adapt_and_segment(tmp_path / "gone.nrrd", tmp_path / "out", "--method", "none") == 2
    assert "found no" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
