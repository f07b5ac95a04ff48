"""Whole runs on what people's folders hold: cohorts, channels, notes, evaluation."""

from __future__ import annotations

import codecs
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scene
import SimpleITK as sitk
from bundles import describe, write_bundle
from heads import geometry_around_head, head
from phantoms import Phantom, write
from scene import GRID, Slices, image_on, labels_on, nrrd, nrrd_place, write_series

from SFDALib.__main__ import main
from SFDALib.errors import RequestError
from SFDALib.jobs.cohort_images import images_in
from SFDALib.jobs.request import Job
from SFDALib.training.manifest import read_manifest
from SFDALib.volume.conform import conform
from SFDALib.volume.geometry import Geometry, Volume
from SFDALib.volume.input_spec import InputSpec
from SFDALib.volume.normalisation import Normalisation
from SFDALib.volume.reading import Reading

Phantoms = Callable[..., Phantom]


@pytest.fixture(scope="module")
def two_channel_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundles") / "two", describe(channels=2))


def run(command: str, bundle: Path, inputs: list[Path], out: Path, *more: str) -> int:
    words = ["--bundle", bundle, "--input", *inputs, "--method", "none", "--output", out]
    return main([command, *map(str, words), "--device", "cpu", *more])


def report_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text())


def test_the_report_says_how_the_files_were_read(tiny_bundle: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "ct", replace(Slices(), step=scene.tilted(20)))
    assert run("run", tiny_bundle, [tmp_path / "ct"], tmp_path / "out") == 0
    assert "gantry tilt" in report_of(tmp_path / "out")["notes"][0]
    made = sitk.ReadImage(str(tmp_path / "out/segmentation.seg.nrrd"))
    direction = np.array(made.GetDirection()).reshape(3, 3)
    assert np.allclose(direction.T @ direction, np.eye(3), atol=1e-6)
    assert made.GetSize()[1] > 44 and made.GetSpacing() == pytest.approx((1.6, 1.5, 3.0))


def test_series_and_spacing_are_stated_on_the_command_line_and_in_a_job_file(
    tiny_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_series(tmp_path / "ct", Slices())
    other = replace(Slices(), series="1.2.3", number=5, count=9, description="late")
    write_series(tmp_path / "ct", other, name="other")
    assert run("run", tiny_bundle, [tmp_path / "ct"], tmp_path / "out") == 2
    assert '2: "late" (CT, 9 images of 40x44)' in caplog.messages[-1]
    assert run("run", tiny_bundle, [tmp_path / "ct"], tmp_path / "out", "--series", "late") == 0
    assert sitk.ReadImage(str(tmp_path / "out/entropy.nrrd")).GetSize() == (40, 44, 9)
    (tmp_path / "bare.nrrd").write_bytes(nrrd({}, image_on(GRID)))
    assert run("run", tiny_bundle, [tmp_path / "bare.nrrd"], tmp_path / "two") == 2
    job = {
        **{"bundle": str(tiny_bundle), "input": str(tmp_path / "bare.nrrd"), "method": "none"},
        **{"output": str(tmp_path / "two"), "device": "cpu", "reading": {"spacing": [2, 3, 4]}},
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    assert main(["run", "--job", str(tmp_path / "job.json")]) == 0
    assert sitk.ReadImage(str(tmp_path / "two/entropy.nrrd")).GetSpacing() == (2, 3, 4)


@pytest.mark.parametrize(
    "reading",
    [{"spacing": [1, 2]}, {"spacing": [1, 2, 0]}, {"series": "x"}, {"pace": 1}, {"series": [3]}],
    ids=str,
)
def test_a_job_file_with_a_wrong_reading_is_refused(reading: Any, tmp_path: Path) -> None:
    job = {"bundle": "b", "input": "i", "method": "none", "output": "o", "reading": reading}
    (tmp_path / "job.json").write_text(json.dumps(job))
    with pytest.raises(RequestError, match='field "reading"'):
        Job.from_file(tmp_path / "job.json")


def test_series_are_one_for_all_files_or_one_for_each() -> None:
    for series, files, good in (
        (("a",), "ij", True),
        (("a", "b"), "ij", True),
        (("a", "b"), "i", 0),
    ):
        job = Job(
            bundle="b",
            input=tuple(files),
            method="none",
            output="o",
            reading=Reading(series=series),
        )
        if good:
            assert job.checked().reading.series == series
            assert job.reading.of_file(len(files) - 1).series == series[-1:]
        else:
            with pytest.raises(RequestError, match="one for all or one for each"):
                job.checked()


def test_a_job_with_what_was_stated_survives_its_file(tmp_path: Path) -> None:
    reading = Reading((1.0, 2.0, 3.0), ("a", "b"), True)
    job = Job(bundle="b", input=("i", "j"), method="none", output="o", reading=reading)
    (tmp_path / "job.json").write_text(json.dumps(job.to_dict()))
    assert Job.from_file(tmp_path / "job.json") == job


def test_what_windows_editors_put_before_a_text_is_no_part_of_it(tmp_path: Path) -> None:
    job = {"bundle": "b", "input": "i", "method": "none", "output": "o"}
    (tmp_path / "job.json").write_bytes(codecs.BOM_UTF8 + json.dumps(job).encode())
    assert Job.from_file(tmp_path / "job.json").bundle == "b"
    for name in ("i.nrrd", "l.nrrd"):
        (tmp_path / name).touch()
    text = codecs.BOM_UTF8 + b"image,label,split\r\ni.nrrd,l.nrrd,train\r\n"
    (tmp_path / "manifest.csv").write_bytes(text)
    assert read_manifest(tmp_path / "manifest.csv")[0].label == tmp_path / "l.nrrd"


# --- Cohorts -------------------------------------------------------------------------------------


def hidden_beside(folder: Path) -> None:
    for file in list(folder.iterdir()):
        (folder / f"._{file.name}").write_bytes(b"\0\5\26\7 what macOS leaves beside a file")
    (folder / ".DS_Store").write_bytes(b"x" * 300)


def test_channels_in_files_of_their_own_are_one_image_of_a_cohort(
    two_channel_bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for case in ("pat_1", "pat_2"):
        for channel in range(2):
            content = nrrd(nrrd_place(GRID), image_on(GRID) + channel)
            (folder / f"{case}_{channel:04d}.nrrd").write_bytes(content)
    (folder / "lonely_0000.nrrd").write_bytes(nrrd(nrrd_place(GRID), image_on(GRID)))
    hidden_beside(folder)
    assert run("cohort", two_channel_bundle, [folder], tmp_path / "out") == 2
    summary = json.loads((tmp_path / "out/cohort.json").read_text())
    rows = {row["folder"]: row for row in summary["images"]}
    assert summary["done"] == 2 and summary["failed"] == 1
    assert {"pat_1", "pat_2", None} == set(rows)
    assert "found 1 channel(s), expected 2" in rows[None]["error"]
    names = [file["name"] for file in report_of(tmp_path / "out/pat_2")["input"]]
    assert names == ["pat_2_0000.nrrd", "pat_2_0001.nrrd"]


def test_a_folder_of_dicom_folders_is_a_cohort(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "patients"
    for patient, date in (("anna", "2020"), ("anna", "2021"), ("bert", "2020")):
        write_series(folder / patient / date, Slices())
    write_series(folder / "carl", replace(Slices(), count=9))
    hidden_beside(folder / "carl")
    (folder / "anna/notes.txt").write_text("nothing to read here")
    assert run("cohort", tiny_bundle, [folder], tmp_path / "out") == 0
    found = {entry.name for entry in (tmp_path / "out").iterdir() if entry.is_dir()}
    assert found == {"anna_2020", "anna_2021", "bert_2020", "carl"}


def test_a_model_of_one_channel_takes_each_file_for_an_image(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"a_{number:04d}.nii.gz").touch()
    (tmp_path / "._a_0000.nii.gz").touch()
    assert [files for _, files in images_in([str(tmp_path)], 1)] == [
        (tmp_path / "a_0000.nii.gz",),
        (tmp_path / "a_0001.nii.gz",),
    ]
    assert images_in([str(tmp_path)], 2) == [
        (str(tmp_path / "a"), (tmp_path / "a_0000.nii.gz", tmp_path / "a_0001.nii.gz"))
    ]


def test_raw_training_data_has_hidden_files_beside_it(tmp_path: Path) -> None:
    for folder, name in (("imagesTr", "a_0000.nrrd"), ("labelsTr", "a.nrrd")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).touch()
        (tmp_path / folder / f"._{name}").touch()
    (tmp_path / "dataset.json").write_text('{"file_ending": ".nrrd", "channel_names": {"0": "x"}}')
    assert [entry.label.name for entry in read_manifest(tmp_path)] == ["a.nrrd"]


# --- Evaluation ----------------------------------------------------------------------------------


def test_evaluate_takes_voxels_whose_axes_are_stored_in_another_order(tmp_path: Path) -> None:
    labels = labels_on(GRID)
    sitk.WriteImage(Volume(labels[None], GRID).to_sitk(), str(tmp_path / "a.nrrd"))
    other = sitk.DICOMOrient(sitk.ReadImage(str(tmp_path / "a.nrrd")), "SAR")
    for name in ("b.nrrd", "b.nii.gz"):
        sitk.WriteImage(other, str(tmp_path / name))
        words = ["--result", tmp_path / name, "--reference", tmp_path / "a.nrrd"]
        assert main(["evaluate", *map(str, words), "--json", f"{tmp_path}/{name}.json"]) == 0
        found = json.loads((tmp_path / f"{name}.json").read_text())["results"][0]["classes"]
        assert [found[str(value)]["dice"] for value in (1, 2)] == [1.0, 1.0]
        volumes = [found[str(value)]["predicted_ml"] for value in (1, 2)]
        assert volumes == pytest.approx(list(scene.ML), rel=0.03)


@pytest.mark.parametrize("cropped", ["result", "reference"])
def test_evaluate_takes_a_segmentation_that_is_cropped_to_its_segments(
    cropped: str, tmp_path: Path
) -> None:
    """As Slicer stores a .seg.nrrd."""
    whole = Volume(labels_on(GRID)[None], GRID).to_sitk()
    sitk.WriteImage(whole, str(tmp_path / "whole.nrrd"))
    part = sitk.DICOMOrient(whole[4:35, 3:42, 2:18], "RAS")
    sitk.WriteImage(part, str(tmp_path / "part.seg.nrrd"))
    pair = [tmp_path / "part.seg.nrrd", tmp_path / "whole.nrrd"]
    result, reference = pair if cropped == "result" else pair[::-1]
    words = ["--result", result, "--reference", reference, "--json", tmp_path / "table.json"]
    assert main(["evaluate", *map(str, words)]) == 0
    classes = json.loads((tmp_path / "table.json").read_text())["results"][0]["classes"]
    for value in (1, 2):
        assert classes[str(value)]["dice"] == 1.0
        assert classes[str(value)]["predicted_ml"] == classes[str(value)]["reference_ml"]
        assert classes[str(value)]["reference_ml"] == pytest.approx(scene.ML[value - 1], rel=0.03)


# --- What a method makes of it -------------------------------------------------------------------


def test_heal_without_edges_writes_its_own_segmentation_too(
    phantom: Phantoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from SFDALib.heal import pipeline

    def no_edges(labels: np.ndarray, options: Any) -> np.ndarray:
        return np.zeros(labels.shape, bool)

    monkeypatch.setattr(pipeline, "condition_edges", no_edges)
    emptied = _emptied(pipeline.hierarchical_denoising)
    monkeypatch.setattr(pipeline, "hierarchical_denoising", emptied)
    words = ["--bundle", phantom().bundle, "--input", phantom().image, "--method", "heal"]
    words += ["--output", tmp_path / "out", "--device", "cpu"]
    assert main(["run", *map(str, words)]) == 0
    assert "the source model's own" in " ".join(report_of(tmp_path / "out")["notes"])
    files = [tmp_path / f"out/{name}segmentation.seg.nrrd" for name in ("", "adapted_", "source_")]
    first, *others = (sitk.GetArrayFromImage(sitk.ReadImage(str(file))) for file in files)
    assert all(np.array_equal(first, other) for other in others)


def _emptied(denoise: Callable[..., Any]) -> Callable[..., Any]:
    def empty(*arguments: Any) -> Any:
        denoised = denoise(*arguments)
        return replace(denoised, labels=denoised.labels * 0)

    return empty


def test_a_crop_to_one_slice_is_no_thin_volume() -> None:
    array = np.zeros((1, 8, 9, 10), np.int16)
    array[0, 3, 2:7, 2:8] = np.arange(30).reshape(5, 6) + 1
    volume = Volume(array, Geometry((10, 9, 8), (1.0, 1.0, 1.0)))
    grid = InputSpec(1, "LPS", (None,) * 3, Normalisation("none"), is_2d=False, crop="nonzero")
    assert conform(volume, grid).array.shape == (1, 1, 5, 6)


@pytest.mark.parametrize("size", [1e18, 1e25, 3e38])
def test_large_numbers_are_standardised_as_small_ones(size: float) -> None:
    volume = head(geometry_around_head((20, 20, 10), (3.0, 3.0, 5.0)))
    large = Volume(volume.array * (size / 300), volume.geometry)
    grid = InputSpec(1, "LPS", (None,) * 3, Normalisation("zscore"), is_2d=False)
    expected = (volume.array - volume.array.mean()) / volume.array.std()
    np.testing.assert_allclose(conform(large, grid).array, expected, atol=1e-5)


def test_numbers_that_single_precision_does_not_hold_are_refused() -> None:
    volume = head(geometry_around_head((20, 20, 10), (3.0, 3.0, 5.0)))
    large = Volume(volume.array * 1e38, volume.geometry)
    with pytest.raises(RequestError, match="cannot normalise"):
        conform(large, InputSpec(1, "LPS", (None,) * 3, Normalisation("none"), is_2d=False))


def test_itk_keeps_its_warnings_to_itself(
    tiny_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    (tmp_path / "empty").mkdir()
    shutil.copy(write(tmp_path / "a.nrrd", *_head()), tmp_path / "empty/a.txt")
    (tmp_path / "bad.nrrd").write_bytes(b"NRRD0004\ntype: short\ndimension: 3\nsizes: 4 4 4\n\n")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(300))
    for name in ("empty", "bad.nrrd", "bad.png"):
        assert run("run", tiny_bundle, [tmp_path / name], tmp_path / "out") == 2
    told = capfd.readouterr()
    assert "0x" not in told.err + told.out and "WARNING: In" not in told.err + told.out


def _head() -> tuple[np.ndarray, Geometry]:
    volume = head(geometry_around_head((20, 20, 10), (3.0, 3.0, 5.0)))
    return volume.array, volume.geometry
