"""The documented entry point without a window: its files, its scene, and its exit status."""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from paths import ROOT

from SFDALib.__main__ import parser as command_line
from SFDALib.commands.arguments import request_of
from SFDALib.errors import RequestError
from SFDALib.jobs.labelled import Labelled
from SFDALib.jobs.request import Job

SCRIPT = ROOT / "SFDASegmenter/Scripts/adapt_and_segment.py"


@pytest.fixture
def script(slicer_app: Any, scene: Any, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, in an application without a window."""
    import slicer

    monkeypatch.setattr(slicer.app.commandOptions(), "noMainWindow", True)
    spec = importlib.util.spec_from_file_location("adapt_and_segment", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


@pytest.fixture
def adapt_and_segment(script: ModuleType, phantom: Callable[..., Any]) -> Callable[..., int]:
    """``adapt_and_segment(input, output, words, command=None)``: the script's exit status."""

    def run(given: Path, output: Path, *words: str, command: str | None = None) -> int:
        request = ["--bundle", str(phantom().bundle), "--input", str(given), "--device", "cpu"]
        before = [command] if command else []
        return script.main([*before, *request, "--output", str(output), *words])

    return run


@pytest.fixture
def asked(script: ModuleType, phantom: Callable[..., Any]) -> Callable[..., Any]:
    """``asked(command, inputs, words, channels=1)``: the request that the script makes of them."""

    def request(command: str, inputs: list[Path], *words: str, channels: int = 1) -> Any:
        bundle = str(phantom(channels=channels).bundle)
        files = ["--input", *map(str, inputs)]
        given = script.parser().parse_args(
            [command, "--bundle", bundle, "--output", "out", *words, *files]
        )
        return script.request_in_scene(request_of(given.form, given))

    return request


def options_of(parser: argparse.ArgumentParser) -> dict[str, dict[str, Any]]:
    """By command and option, what may be typed there."""
    (commands,) = (
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    )
    return {
        name: {
            word: (action.choices, action.nargs, action.type, action.default, action.help)
            for action in command._actions
            for word in action.option_strings
        }
        for name, command in commands.choices.items()
    }


def test_the_script_knows_the_options_of_the_command_line(script: ModuleType) -> None:
    own = options_of(script.parser())
    assert list(own) == ["run", "cohort", "compare"]
    for command, options in own.items():
        wanted = dict(options_of(command_line())[command])
        for of_the_process in ("--progress", "--stop-with-stdin"):
            del wanted[of_the_process]
        assert options == wanted, command


def test_every_field_of_a_job_reaches_the_request(
    asked: Callable[..., Any], phantom: Callable[..., Any]
) -> None:
    words = ("--method", "tent", "--option", "epochs=3", "--gate", "off", "--seed", "7")
    request = asked("run", [phantom().image], *words, "--device", "cuda:1")
    assert (request.method, request.options["epochs"]) == ("tent", 3)
    assert (request.gate, request.seed, request.device) == ("off", 7, "cuda:1")
    assert request.bundle == str(phantom().bundle)
    assert request.adapt == "auto" and not request.compared and len(request.images) == 1
    assert asked("run", [phantom().image], "--method", "none").gate == "on"
    cohort = asked("cohort", [phantom().image] * 2, *words, "--adapt", "once")
    assert cohort.adapt == "once" and cohort.gate == "off" and len(cohort.images) == 2


@pytest.mark.parametrize("command", ["run", "cohort", "compare"])
def test_plausible_volumes_reach_the_request(
    asked: Callable[..., Any], phantom: Callable[..., Any], command: str
) -> None:
    which = ("--methods", "tent") if command == "compare" else ("--method", "tent")
    words = (*which, "--volumes", "brain=900-2500, 1=0.5-1-3")
    assert asked(command, [phantom().image], *words).volumes == "brain=900-2500,1=0.5-1-3"
    assert asked(command, [phantom().image], *which).volumes == ""


def test_without_adapt_a_cohort_is_left_to_the_library(
    asked: Callable[..., Any], phantom: Callable[..., Any]
) -> None:
    images, words = [phantom().image] * 2, ("--method", "tent")
    assert asked("cohort", images, *words).adapt == "auto"
    assert asked("cohort", images, *words, "--adapt", "each").adapt == "each"


def test_labels_probabilities_and_resampling_reach_the_request(
    asked: Callable[..., Any], phantom: Callable[..., Any], tmp_path: Path
) -> None:
    """A mask without an image's name is of the only one, or of the one that is called the same."""
    images = []
    for name in ("a.nrrd", "b.nrrd"):
        images.append(tmp_path / name)
        shutil.copy(phantom().image, images[-1])
    (tmp_path / "masks").mkdir()
    masks = [tmp_path / "masks" / "b.seg.nrrd", tmp_path / "masks" / "a.seg.nrrd"]
    for mask in masks:
        mask.touch()
    learn = ("--method", "few-labels", "--labels")
    request = asked("run", images[:1], *learn, str(masks[0]))
    assert request.labels == (Labelled(str(masks[0]), (str(images[0]),)),)
    assert not request.probabilities and not request.reading.resample_channels
    more = ("--probabilities", "--resample-channels")
    request = asked("cohort", images, *learn, str(tmp_path / "masks"), *more)
    assert {one.labels: one.image for one in request.labels} == {
        str(mask): (str(image),) for mask, image in zip(masks, reversed(images), strict=True)
    }
    assert request.probabilities and request.reading.resample_channels
    with pytest.raises(RequestError, match="found 0 images of the name c"):
        asked("cohort", images, *learn, str(tmp_path / "c.seg.nrrd"))


@pytest.mark.parametrize("words", [("--spacing", "1", "1", "1"), ("--series", "2")])
def test_what_slicer_reads_by_itself_cannot_be_stated(
    asked: Callable[..., Any], phantom: Callable[..., Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(RequestError, match="--spacing or --series: found one, expected none here"):
        asked("run", [phantom().image], "--method", "none", *words)


def test_several_files_are_channels_of_one_image_unless_they_are_a_cohort(
    asked: Callable[..., Any], phantom: Callable[..., Any], tmp_path: Path
) -> None:
    files = []
    for index in range(3):
        files.append(tmp_path / f"channel{index}.nrrd")
        shutil.copy(phantom().image, files[-1])
    for command, words in (("run", ["--method", "none"]), ("compare", ["--methods", "heal"])):
        (image,) = asked(command, files, *words, channels=3).images
        assert (len(image.nodes), image.channels) == (3, 3)
    assert len(asked("cohort", files, "--method", "none").images) == 3
    with pytest.raises(RequestError, match="use cohort"):
        asked("run", [tmp_path], "--method", "none")


def test_a_comparison_has_the_methods_that_are_named_or_all(
    asked: Callable[..., Any], phantom: Callable[..., Any]
) -> None:
    words = ("--methods", "heal", "--option", "heal.samples=2")
    request = asked("compare", [phantom().image], *words)
    assert list(request.compared) == ["none", "heal"]
    assert request.compared["heal"]["samples"] == 2
    everything = asked("compare", [phantom().image]).compared
    assert {"none", "heal", "early-features"} <= set(everything)


def test_a_job_file_is_taken_instead_of_words(
    script: ModuleType, phantom: Callable[..., Any], tmp_path: Path
) -> None:
    made = phantom()
    job = Job(
        bundle=str(made.bundle),
        input=(str(made.image),),
        method="none",
        output=str(tmp_path / "out"),
        gate="off",
    )
    (tmp_path / "job.json").write_text(json.dumps(job.to_dict()))
    given = script.parser().parse_args(["run", "--job", str(tmp_path / "job.json")])
    request = script.request_in_scene(request_of(given.form, given))
    assert (request.method, request.gate) == ("none", "off")


def test_methods_are_compared_into_files_and_a_scene(
    adapt_and_segment: Callable[..., int], phantom: Callable[..., Any], tmp_path: Path
) -> None:
    import slicer
    from SFDASegmenterLib.scene.results import results_in_scene

    words = ("--methods", "heal", "--option", "heal.samples=2", "--option", "heal.steps=2")
    assert adapt_and_segment(phantom().image, tmp_path / "out", *words, command="compare") == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"none", "heal", "comparison.json", "consensus_staple.seg.nrrd", "scene.mrb"} <= names
    slicer.mrmlScene.Clear()
    slicer.util.loadScene(str(tmp_path / "out" / "scene.mrb"))
    assert [one.report["method"] for one in results_in_scene()] == ["none", "heal"]


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


def test_what_is_doubtful_of_the_image_is_printed_and_probabilities_are_delivered(
    script: ModuleType,
    recorded_jobs: Path,
    head_bundle: Path,
    head_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setenv("SFDA_WARNINGS", "The gantry was tilted.\nThe image is inverted.")
    words = ["run", "--bundle", str(head_bundle), "--input", str(head_file), "--method", "none"]
    assert script.main([*words, "--probabilities", "--output", str(tmp_path / "out")]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("SFDA: ")]
    assert said == ["SFDA: The gantry was tilted.", "SFDA: The image is inverted."]
    assert (tmp_path / "out" / "probabilities.nrrd").is_file()


def test_a_volume_is_found_in_a_folder_where_slicer_takes_it_for_a_segmentation(
    script: ModuleType,
    adapt_and_segment: Callable[..., int],
    phantom: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For NIfTI Slicer names the reader that was there first, of volumes or of segmentations."""
    folder = tmp_path / "volumes"
    folder.mkdir()
    image = sitk.ReadImage(str(phantom().image))
    sitk.WriteImage(image, str(folder / "head.nii.gz"))
    sitk.WriteImage(sitk.Cast(image > 0, sitk.sitkUInt8), str(folder / "truth.seg.nrrd"))
    manager = type(script.slicer.app.coreIOManager())
    monkeypatch.setattr(manager, "fileType", lambda *_: "SegmentationFile")
    output = tmp_path / "out"
    assert adapt_and_segment(folder, output, "--method", "none") == 0
    (file,) = json.loads((output / "report.json").read_text())["input"]
    assert "head" in file["name"]


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


def said(capsys: pytest.CaptureFixture) -> list[str]:
    """The last lines on standard output, after those about the progress."""
    lines = capsys.readouterr().out.splitlines()
    last = max(number for number, line in enumerate(lines) if "oading the results" in line)
    return [line.removeprefix("SFDA: ") for line in lines[last + 1 :]]


def test_the_verdicts_on_each_volume_and_on_all_together_are_printed(
    adapt_and_segment: Callable[..., int],
    phantom: Callable[..., Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    (tmp_path / "volumes").mkdir()
    for name in ("a", "b"):
        shutil.copy(phantom().image, tmp_path / "volumes" / f"{name}.nrrd")
    output = tmp_path / "out"
    words = ("--method", "tent", "--option", "epochs=1")
    assert adapt_and_segment(tmp_path / "volumes", output, *words) == 0
    summary = json.loads((output / "cohort.json").read_text())
    own = [row["trust"]["sentence"] for row in summary["images"]]
    assert said(capsys) == [
        f"a TENT: {own[0]}",
        f"b TENT: {own[1]}",
        summary["trust"]["sentence"],
        f"the result is in {output}",
    ]


def test_numbered_slices_are_images_of_their_own(
    asked: Callable[..., Any], phantom: Callable[..., Any], tmp_path: Path
) -> None:
    """Not stacked to one volume, as Slicer does with numbered files unless told otherwise."""
    from SFDASegmenterLib import staging

    head = sitk.ReadImage(str(phantom().image))
    for k in range(3, 6):
        sitk.WriteImage(head[:, :, k : k + 1], str(tmp_path / f"frame{k}.nrrd"))
    images = asked("cohort", [tmp_path], "--method", "tent").images
    found = [voxels for image in images for voxels in staging.voxels_of(image)]
    expected = [sitk.GetArrayFromImage(head)[k : k + 1] for k in range(3, 6)]
    assert len(found) == len(expected)
    assert all(map(np.array_equal, found, expected))


def test_of_the_automatic_choice_the_verdict_on_what_is_delivered_is_printed(
    script: ModuleType,
    recorded_jobs: Path,
    head_bundle: Path,
    head_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    words = ["run", "--bundle", str(head_bundle), "--input", str(head_file)]
    assert script.main([*words, "--output", str(tmp_path / "out")]) == 0
    trust = json.loads((tmp_path / "out" / "report.json").read_text())["trust"]
    verdict, place = said(capsys)
    assert verdict.endswith(f" Automatic (AdaMI): {trust['sentence']}")
    assert place == f"the result is in {tmp_path / 'out'}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "magic"], "expected one of auto"),
        (["--method", "heal", "--option", "steps=0"], "steps"),
        (["--method", "none", "--speed", "9"], "--speed"),
        (["--method", "none", "--gate", "ajar"], "--gate"),
        (["--method", "none", "--preset", "mine"], "--preset"),
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
    adapt_and_segment: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    expected_errors: Callable[[], list[str]],
) -> None:
    path = tmp_path / "broken.nrrd"
    path.write_text("NRRD0004\nbroken")
    assert adapt_and_segment(path, tmp_path / "out", "--method", "none") == 2
    assert adapt_and_segment(tmp_path / "gone.nrrd", tmp_path / "out", "--method", "none") == 2
    assert "found no" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert all("broken.nr" in error or "vtk" in error for error in expected_errors())
