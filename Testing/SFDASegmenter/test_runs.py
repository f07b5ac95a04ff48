"""Running, cancelling and failing jobs from the panel, and closing what they run in."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from panel_bench import FOR_EVER, choose_method, choose_model, choose_volume, compare, settle
from paths import ROOT

from SFDALib.trust.levels import LEVELS

SAMPLES = ROOT / "SFDASegmenter" / "Resources" / "Samples"


@pytest.mark.parametrize(
    ("method", "options", "roles"),
    [
        ("none", {}, ()),
        (
            "heal",
            {"samples": "2", "steps": "2", "tau1": "1", "tau2": "1"},
            ("nig_uncertainty", "denoised", "samples", "browser", "scores"),
        ),
        ("adami", {"epochs": "1"}, ("curves",)),
    ],
)
def test_a_click_brings_every_result_into_the_scene(
    jobs_here: None,
    panel: Any,
    fill: Callable[..., Any],
    run: Callable[[], Any],
    method: str,
    options: dict[str, str],
    roles: tuple[str, ...],
) -> None:
    volume = fill(method, **options)
    ended = run()
    assert ended.state.value == "done", ended.message
    results, ui = panel.results.results, panel.ui
    assert results.input is volume
    for role in ("source", "entropy", "volumes", "report", *roles):
        assert results.get(role) is not None, role
    assert ui.applyButton.text == "Adapt && Segment"
    assert ui.applyButton.enabled
    assert ui.volumesTable.rowCount == 1
    assert ui.volumesTable.item(0, 0).text() == "Brain"
    assert ui.saveBundleButton.enabled == (method == "adami")
    assert ("nig_uncertainty" in panel.results.maps.rows) == (method == "heal")
    assert "vote_entropy" not in panel.results.maps.rows, "nothing was compared"
    assert not ui.allRadio.visible
    assert ui.verdictLabel.text


def test_the_automatic_choice_shows_its_result_and_has_the_others_at_hand(
    panel: Any, fill: Callable[..., Any], run: Callable[[], Any]
) -> None:
    import qt
    from slicer_standin import user

    volume = fill("auto")
    ended = run()
    assert ended.state.value == "done", ended.message
    ui, results = panel.ui, panel.results.results
    assert results.node.GetName() == f"{volume.GetName()} Automatic (AdaMI)"
    assert not ui.messageFrame.visible, "what was not tried is no failure"
    assert ui.resultRadio.checked and ui.allRadio.visible and ui.saveBundleButton.enabled
    names = [one.node.GetName() for one in results.compared]
    assert names == [results.node.GetName(), f"{volume.GetName()} HEAL"]
    user.click(ui.allRadio)
    assert panel.parameters.shown == "all"
    user.choose(ui.resultSelector, names[1])
    settle()
    assert panel.results.results.report["method"] == "heal"
    assert ui.samplesWidget.visible
    user.choose(ui.resultSelector, names[0])
    settle()
    user.click(ui.reportButton)
    (browser,) = panel.results.report_window.findChildren(qt.QTextBrowser)
    page = browser.plainText
    for text in ("What was tried", "AdaMI is delivered", "HEAL", "it would take about 40 s"):
        assert text in page
    chosen, other = results.report["auto"]["tried"]
    for row in (chosen, other):
        assert LEVELS[row["trust"]["decision"]].meaning in page


@pytest.mark.parametrize(
    ("method", "options"),
    [
        # HEAL is in the module's self-test.
        pytest.param("adami", {"epochs": "2", "learning_rate": "1e-4"}, marks=pytest.mark.slow),
        pytest.param(
            "early-features", {"epochs": "2", "learning_rate": "2e-5"}, marks=pytest.mark.slow
        ),
    ],
)
@pytest.mark.timeout(900)
def test_a_click_on_the_demo_volume_finds_the_brain(
    panel: Any,
    real_jobs: None,
    pump: Callable[..., None],
    method: str,
    options: dict[str, str],
) -> None:
    import slicer
    from slicer_standin import user

    volume = slicer.util.loadVolume(str(SAMPLES / "patient04_t2w.nii.gz"))
    panel.input.choose_example()
    choose_volume(panel, volume)
    choose_method(panel, method, **options)
    user.click(panel.ui.applyButton)
    pump(lambda: not panel.logic.running, 800)
    ended = panel.logic.run
    assert ended.state.value == "done", ended.message
    results = panel.results.results
    assert results.node.GetName() == f"patient04_t2w {results.report['title']}"
    (row,) = results.report["volumes"]
    assert 200 < row["source_ml"] < 500  # the source model finds a fifth of this brain
    assert row["result_ml"] > 2 * row["source_ml"]
    entropy = slicer.util.arrayFromVolume(results.get("entropy"))
    assert entropy.dtype == np.float32
    assert entropy.shape == slicer.util.arrayFromVolume(volume).shape


def test_cancel_leaves_no_node_no_file_and_no_process(
    panel: Any,
    fill: Callable[..., Any],
    start: Callable[[], Any],
    pump: Callable[..., None],
    processes: list[Any],
) -> None:
    import slicer
    from slicer_standin import user

    fill("adami", epochs=FOR_EVER)
    before = slicer.mrmlScene.GetNumberOfNodes()
    ended = start()
    assert panel.ui.progressLabel.text.startswith("Adapting, step")
    user.click(panel.ui.applyButton)
    assert ended.ended or panel.ui.progressLabel.text == "Cancelling..."
    pump(lambda: ended.ended, 60)
    assert ended.state.value == "cancelled"
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    assert not ended.folder.exists()
    assert processes[-1].poll() is not None
    pump(lambda: panel.ui.applyButton.text == "Adapt && Segment")
    assert not panel.ui.messageFrame.visible, "a cancelled run is no failure"


def test_cancel_while_the_results_are_loaded_takes_them_back(
    panel: Any, fill: Callable[..., Any], run: Callable[[], Any], pump: Callable[..., None]
) -> None:
    import slicer

    fill("heal")
    run()  # makes the colour tables, which stay
    before = slicer.mrmlScene.GetNumberOfNodes()
    panel.ui.applyButton.click()
    second = panel.logic.run
    pump(lambda: second.state.value == "placing" and _grown(before), 60)
    panel.ui.applyButton.click()
    assert second.state.value == "cancelled"
    assert slicer.mrmlScene.GetNumberOfNodes() == before


def _grown(before: int) -> bool:
    import slicer

    return slicer.mrmlScene.GetNumberOfNodes() > before


def test_closing_the_scene_ends_the_run_and_the_panel_starts_anew(
    panel: Any, fill: Callable[..., Any], start: Callable[[], Any], processes: list[Any]
) -> None:
    import slicer

    fill("adami", epochs=FOR_EVER)
    ended = start()
    slicer.mrmlScene.Clear()
    assert processes[-1].poll() is not None
    assert not ended.folder.exists()
    assert panel.ui.applyButton.text == "Adapt && Segment"
    assert panel.ui.inputVolumeSelector.currentNode() is None


def test_closing_the_module_ends_the_run(
    panel: Any, fill: Callable[..., Any], start: Callable[[], Any], processes: list[Any]
) -> None:
    fill("adami", epochs=FOR_EVER)
    ended = start()
    panel.close()
    assert processes[-1].poll() is not None
    assert not ended.folder.exists()


def test_reloading_the_module_ends_the_run_and_keeps_what_was_chosen(
    panel: Any, fill: Callable[..., Any], start: Callable[[], Any], processes: list[Any]
) -> None:
    import slicer
    from slicer_standin import modules

    volume = fill("adami", epochs=FOR_EVER)
    ended = start()
    slicer.util.reloadScriptedModule("SFDASegmenter")
    again = modules.select("SFDASegmenter").panel
    assert again is not panel
    assert processes[-1].poll() is not None or len(processes) > 1
    assert not ended.folder.exists()
    assert again.request().method == "adami"
    assert again.request().options == {"epochs": int(FOR_EVER)}
    assert again.request().images[0].nodes == (volume.GetID(),)


def test_the_application_ends_the_run_when_it_quits(
    panel: Any, fill: Callable[..., Any], start: Callable[[], Any], processes: list[Any]
) -> None:
    import slicer

    fill("adami", epochs=FOR_EVER)
    ended = start()
    slicer.app.aboutToQuit.emit()
    assert processes[-1].poll() is not None
    assert not ended.folder.exists()


def test_leaving_the_module_does_not_stop_a_run(
    panel: Any, fill: Callable[..., Any], pump: Callable[..., None]
) -> None:
    from slicer_standin import user

    fill("none")
    user.click(panel.ui.applyButton)
    panel.leave()
    pump(lambda: not panel.logic.running, 120)
    assert panel.logic.run.state.value == "done"
    panel.enter()
    assert panel.results.results is not None


def test_a_failure_of_the_job_is_one_line_with_the_rest_at_hand(
    jobs_here: None,
    panel: Any,
    fill: Callable[..., Any],
    run: Callable[[], Any],
    expected_errors: Callable[[], list[str]],
) -> None:
    import slicer
    from slicer_standin import application, user

    volume = fill("none")
    slicer.util.updateVolumeFromArray(volume, np.full_like(slicer.util.arrayFromVolume(volume), 5))
    before = slicer.mrmlScene.GetNumberOfNodes()
    ended = run()
    assert ended.state.value == "failed"
    assert ended.status == 2
    (logged,) = expected_errors()
    assert "The run failed (exit status 2)" in logged
    assert panel.ui.messageFrame.visible
    assert "same value 5 in every voxel" in panel.ui.messageLabel.text
    assert "\n" not in panel.ui.messageLabel.text
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    user.click(panel.ui.logButton)
    assert "same value 5" in application.dialogs[-1].detailed


def test_a_job_that_is_killed_is_told(
    panel: Any,
    fill: Callable[..., Any],
    start: Callable[[], Any],
    pump: Callable[..., None],
    processes: list[Any],
    expected_errors: Callable[[], list[str]],
) -> None:
    fill("adami", epochs=FOR_EVER)
    ended = start()
    processes[-1].kill()
    pump(lambda: ended.ended, 30)
    pump(lambda: panel.ui.messageFrame.visible, 5)
    assert ended.state.value == "failed"
    assert "ended unexpectedly" in panel.ui.messageLabel.text
    assert len(expected_errors()) == 1


def test_methods_that_failed_are_counted_as_methods(
    panel: Any,
    fill: Callable[..., Any],
    run: Callable[[], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SFDA_FAILING", "tent,upl")
    fill("none")
    compare(panel)
    count = len(panel.request().compared)
    assert count > 6
    run()
    assert panel.ui.messageLabel.text.startswith(f"2 of {count} methods failed")
    assert len(panel.results.results.compared) == count - 2


def test_several_volumes_are_run_as_a_cohort(
    jobs_here: None,
    panel: Any,
    head_bundle: Path,
    head_file: Path,
    run: Callable[[], Any],
) -> None:
    import qt
    import slicer
    from SFDASegmenterLib.scene.results import results_in_scene
    from slicer_standin import user

    volumes = [slicer.util.loadVolume(str(head_file)) for _ in range(2)]
    choose_model(panel, head_bundle)
    user.choose(panel.ui.inputModeComboBox, "Volumes")
    for volume in volumes:
        panel.ui.inputVolumesSelector.setCheckState(volume, qt.Qt.Checked)
    choose_method(panel, "adami", epochs="1")
    user.choose(panel.ui.adaptComboBox, "Adaptation: once to all")
    ended = run()
    assert ended.state.value == "done", ended.message
    first, second = results_in_scene()
    assert all(results.adapted_bundle is not None for results in (first, second))
    assert panel.results.results.node is first.node
    user.choose(panel.ui.resultSelector, second.node.GetName())
    assert panel.results.results.node is second.node


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
def test_a_cohort_that_ends_early_shows_what_is_done_and_says_why(
    panel: Any,
    real_jobs: None,
    fill: Callable[..., Any],
    run: Callable[[], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import qt
    import slicer
    from SFDASegmenterLib import worker
    from slicer_standin import user

    small = fill("none")
    noise = np.random.default_rng(0).integers(0, 300, (14, 300, 300)).astype(np.int16)
    large = slicer.util.addVolumeFromArray(noise, name="noise")
    interpreter = tmp_path / "limited"  # whose files may have 1.5 MB, less than those of the noise
    interpreter.write_text(
        f"#!{sys.executable}\nimport os, resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1500000, 1500000))\n"
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
    )
    interpreter.chmod(0o700)
    monkeypatch.setattr(worker, "python", lambda: str(interpreter))
    user.choose(panel.ui.inputModeComboBox, "Volumes")
    for volume in (small, large):
        panel.ui.inputVolumesSelector.setCheckState(volume, qt.Qt.Checked)
    ended = run()
    assert (ended.state.value, ended.status) == ("done", 2)
    assert [results.input for results in ended.results] == [small]
    assert "1 of 2 images are done" in panel.ui.messageLabel.text


def test_a_job_tells_its_progress_until_its_end(recordings: Path) -> None:
    """Judging, restoring and writing take a good part of a run."""
    for method in ("heal", "adami"):
        lines = (recordings / f"{method}.jsonl").read_text(encoding="utf-8").splitlines()
        stages = [line.split('"stage": "', 1)[1].split('"', 1)[0] for line in lines]
        assert "judging" in stages
        assert stages[-1] in ("restoring and writing", "comparing the results")
        assert stages.count("judging") >= 2  # more where it takes longer than a tenth of a second


def test_the_button_can_be_pressed_again_and_again(
    panel: Any, fill: Callable[..., Any], run: Callable[[], Any]
) -> None:
    """Each run has nodes of its own, and the latest is shown."""
    fill("none")
    names = [run().results[0].node.GetName() for _ in range(2)]
    settle()
    assert names[1] == f"{names[0]} 2"
    assert panel.ui.resultSelector.currentNode().GetName() == names[1]


def test_a_loader_of_tests_finds_each_self_test_once(slicer_app: Any) -> None:
    """Slicer's builds load all test classes of the module's file."""
    import unittest

    import SFDASegmenter as module

    def names(suite: unittest.TestSuite) -> list[str]:
        found = []
        for one in suite:
            is_suite = isinstance(one, unittest.TestSuite)
            found += names(one) if is_suite else [one.id().rpartition(".")[2]]
        return found

    loaded = names(unittest.defaultTestLoader.loadTestsFromModule(module))
    tests = [name for name in loaded if name != "runTest"]
    assert sorted(tests) == unittest.defaultTestLoader.getTestCaseNames(module.SFDASegmenterTest)


@pytest.mark.timeout(900)
def test_the_self_test_of_the_module_passes_here_too(slicer_app: Any, scene: Any) -> None:
    import unittest

    from slicer_standin import error_log, modules

    modules.select("SFDASegmenter")
    import SFDASegmenter as module

    names = unittest.defaultTestLoader.getTestCaseNames(module.SFDASegmenterTest)
    suite = unittest.TestSuite(module.SFDASegmenterTest(name) for name in names)
    result = unittest.TestResult()
    suite.run(result)
    assert len(names) >= 6
    assert [text for _, text in (*result.errors, *result.failures)] == []
    assert [reason for _, reason in result.skipped] == [
        "this version of Slicer has no export to DICOM SEG"
    ]
    assert error_log.errors == []
    modules.close(modules.widget("SFDASegmenter"))
