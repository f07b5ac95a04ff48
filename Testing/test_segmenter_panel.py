"""The panel as a user meets it: real clicks, jobs and scenes, in the stand-in for Slicer."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT / "SFDASegmenter" / "Resources" / "Samples"
SLOW_ENOUGH = {"epochs": 500, "patience": 500}  # of AdaMI: it would never end by itself


@pytest.fixture
def panel(slicer_app: Any, scene: Any) -> Iterator[Any]:
    """The panel after the user opened the module; closed as the application closes it."""
    import slicer
    from slicer_standin import modules

    widget = modules.select("SFDASegmenter")
    yield widget.panel
    widget.exit()
    modules.close(widget)
    assert not list(Path(slicer.app.temporaryPath).glob("SFDA-*")), "a run left its files"


@pytest.fixture
def fill(panel: Any, phantom: Callable[..., Any]) -> Callable[..., Any]:
    """Chooses the phantom's volume and bundle, a method and its options, through the widgets."""
    import slicer

    def choose(method: str, **options: Any) -> Any:
        volume = slicer.util.loadVolume(str(phantom().image))
        panel.ui.inputVolumeSelector.setCurrentNode(volume)
        panel.ui.bundlePathEdit.currentPath = str(phantom().bundle)
        choose_method(panel, method, **options)
        return volume

    return choose


def choose_method(panel: Any, method: str, **options: Any) -> None:
    combo = panel.ui.methodComboBox
    combo.currentIndex = combo.findData(method)
    for name, value in options.items():
        set_option(panel, name, value)


def set_option(panel: Any, name: str, value: Any) -> None:
    """As a user does: in the field under Advanced."""
    field = field_of(panel, name)
    if field.inherits("QCheckBox"):
        field.checked = value
    elif field.inherits("QSpinBox"):
        field.value = value
    elif field.inherits("QComboBox"):
        field.currentText = value
    else:
        field.text = str(value)
        field.editingFinished.emit()


def field_of(panel: Any, name: str) -> Any:
    import qt

    fields = [w for w in panel.ui.optionsWidget.findChildren(qt.QWidget)]
    return next(w for w in fields if w.objectName == f"option_{name}")


def start(panel: Any, pump: Callable[..., None]) -> Any:
    """Click, and wait until the run adapts."""
    panel.ui.applyButton.click()
    started = panel._logic.run
    pump(lambda: started.progress.stage == "adapting", 120)
    return started


def run(panel: Any, pump: Callable[..., None]) -> Any:
    panel.ui.applyButton.click()
    assert panel.ui.applyButton.text == "Cancel", panel.ui.messageLabel.text
    pump(lambda: not panel._logic.running, 240)
    return panel._logic.run


def test_the_panel_opens_without_torch_in_the_application() -> None:
    script = (
        "import sys\n"
        "import slicer_standin\n"
        "why = slicer_standin.missing()\n"
        "if why: print('SKIP', why); sys.exit()\n"
        "slicer_standin.start()\n"
        "from slicer_standin import modules\n"
        f"modules.load_scripted_module({str(ROOT / 'SFDASegmenter' / 'SFDASegmenter.py')!r})\n"
        "modules.widget('SFDASegmenter').enter()\n"
        "heavy = {'torch', 'monai', 'skimage', 'SimpleITK', 'matplotlib'} & set(sys.modules)\n"
        "print('heavy', sorted(heavy))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT / "Testing",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if answer.stdout.startswith("SKIP"):
        pytest.skip(answer.stdout[5:].strip())
    assert "heavy []" in answer.stdout, answer.stdout + answer.stderr


def test_the_button_says_what_is_missing_until_everything_is_chosen(
    panel: Any, phantom: Callable[..., Any]
) -> None:
    import slicer

    button = panel.ui.applyButton
    panel.ui.bundlePathEdit.currentPath = ""
    assert (button.enabled, button.toolTip) == (False, "Choose a source model.")
    panel.ui.bundlePathEdit.currentPath = str(phantom().bundle)
    assert (button.enabled, button.toolTip) == (False, "Choose a volume.")
    volume = slicer.util.loadVolume(str(phantom().image))
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    assert button.enabled


def test_a_bundle_tells_its_name_labels_and_modality(
    panel: Any, phantom: Callable[..., Any]
) -> None:
    panel.ui.bundlePathEdit.currentPath = str(phantom(classes=3).bundle)
    text = panel.ui.bundleFactsLabel.text
    for words in ("Phantom", "synthetic head", "Brain", "Lesion", "rgb(70,170,250)"):
        assert words in text


def test_what_is_no_bundle_is_told_in_one_line(panel: Any, tmp_path: Path) -> None:
    panel.ui.bundlePathEdit.currentPath = str(tmp_path)
    assert "metadata.json" in panel.ui.bundleFactsLabel.text
    assert not panel.ui.applyButton.enabled


def test_a_model_of_nnunet_is_chosen_as_it_lies_there(panel: Any, tmp_path: Path) -> None:
    pytest.importorskip("dynamic_network_architectures", reason="nnU-Net's networks")
    from nnunet_models import SETTINGS, write_model

    model = write_model(tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres", SETTINGS["3d plain"])
    choose_method(panel, "upl")
    panel.ui.bundlePathEdit.currentPath = str(model)
    text = panel.ui.bundleFactsLabel.text
    assert "From nnU-Net v2" in text and "lesion" in text
    assert panel.ui.applyButton.toolTip == "Choose a volume."


def test_weights_alone_are_described_filled_in_and_made_a_bundle(
    panel: Any, pump: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import qt
    import torch

    from SFDALib.networks import catalogue

    opened = []
    monkeypatch.setattr(
        qt.QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile())
    )
    definition = {
        **{"_target_": "monai.networks.nets.UNet", "spatial_dims": 3, "in_channels": 1},
        **{"out_channels": 2, "channels": [4, 8], "strides": [2]},
    }
    torch.save(catalogue.build(definition).state_dict(), tmp_path / "liver.pt")
    ui, description = panel.ui, tmp_path / "liver.json"
    assert not ui.weightsButton.visible
    ui.bundlePathEdit.currentPath = str(tmp_path / "liver.pt")
    assert ui.weightsButton.visible and ui.weightsButton.text == "Write a description"
    assert "liver.json" in ui.weightsLabel.text and not ui.applyButton.enabled

    ui.weightsButton.click()
    pump(lambda: opened, 120)
    assert opened == [str(description)] and ui.weightsButton.text == "Make a bundle"

    ui.weightsButton.click()  # as the template is, it describes another network
    pump(lambda: ui.weightsButton.enabled, 240)
    assert "missing" in ui.messageLabel.text and "liver.pt" in ui.messageLabel.text
    assert not (tmp_path / "liver-bundle").exists()

    filled = {**json.loads(description.read_text()), "network": definition}
    description.write_text(json.dumps(filled))
    ui.weightsButton.click()
    pump(lambda: not ui.weightsButton.visible, 240)
    assert ui.bundlePathEdit.currentPath == str(tmp_path / "liver-bundle")
    assert "Liver" in ui.bundleFactsLabel.text and not ui.messageFrame.visible


def test_a_method_that_the_bundle_cannot_serve_is_greyed_with_the_reason(
    panel: Any, phantom: Callable[..., Any], tmp_path: Path
) -> None:
    import shutil

    import qt

    bundle = tmp_path / "no-diffusion"
    shutil.copytree(phantom().bundle, bundle)
    metadata = bundle / "configs" / "metadata.json"
    fields = json.loads(metadata.read_text())
    fields["sfda"]["diffusion"] = None
    metadata.write_text(json.dumps(fields))
    panel.ui.bundlePathEdit.currentPath = str(bundle)
    combo = panel.ui.methodComboBox
    heal = combo.findData("heal")
    assert "diffusion model" in combo.itemData(heal, qt.Qt.ToolTipRole)
    assert not int(combo.model().flags(combo.model().index(heal, 0))) & int(qt.Qt.ItemIsEnabled)
    combo.currentIndex = heal
    assert not panel.ui.applyButton.enabled
    assert "diffusion model" in panel.ui.applyButton.toolTip


def test_the_form_of_options_comes_from_the_registry_with_its_defaults(panel: Any) -> None:
    from SFDALib import registry

    for method in registry.METHODS.values():
        choose_method(panel, method.name)
        for option in method.options:
            field = field_of(panel, option.name)
            assert option.help in field.toolTip
            shown = (
                field.checked
                if field.inherits("QCheckBox")
                else field.value
                if field.inherits("QSpinBox")
                else field.currentText
                if field.inherits("QComboBox")
                else field.text
            )
            assert option.check(shown) == option.default, (method.name, option.name)


def test_options_are_kept_by_method_and_reset_to_the_papers(
    panel: Any, fill: Callable[..., Any]
) -> None:
    fill("adami", epochs=7, learning_rate="1e-4")
    choose_method(panel, "heal", samples=3)
    choose_method(panel, "adami")
    assert field_of(panel, "epochs").value == 7
    assert panel.request().options == {"epochs": 7, "learning_rate": 1e-4}
    panel.ui.seedSpinBox.value = 9
    panel.ui.resetOptionsButton.click()
    assert panel.request().options == {}
    assert panel.request().seed == 0
    choose_method(panel, "heal")
    assert panel.request().options == {"samples": 3}


def test_an_option_that_makes_no_sense_disables_the_button_and_says_why(
    panel: Any, fill: Callable[..., Any]
) -> None:
    fill("adami", learning_rate="fast")
    assert not panel.ui.applyButton.enabled
    assert 'learning_rate: found "fast"' in panel.ui.applyButton.toolTip
    set_option(panel, "learning_rate", "1e-5")
    assert panel.ui.applyButton.enabled


@pytest.mark.parametrize(
    ("method", "options", "roles"),
    [
        ("none", {}, ()),
        (
            "heal",
            {"samples": 2, "steps": 2},
            ("nig_uncertainty", "denoised", "samples", "browser", "scores"),
        ),
        ("adami", {"epochs": 1}, ("curves",)),
        ("adaent", {"epochs": 1}, ("curves",)),
        ("early-features", {"epochs": 1}, ("curves",)),
    ],
)
def test_a_click_brings_every_result_into_the_scene(
    panel: Any,
    fill: Callable[..., Any],
    pump: Callable[..., None],
    method: str,
    options: dict[str, Any],
    roles: tuple[str, ...],
) -> None:
    volume = fill(method, **options)
    ended = run(panel, pump)
    assert ended.state.value == "done", ended.message
    results = panel.results.results
    assert results.input is volume
    for role in ("source", "entropy", "volumes", "report", *roles):
        assert results.get(role) is not None, role
    assert panel.ui.applyButton.text == "Adapt && Segment"
    assert panel.ui.applyButton.enabled
    assert panel.ui.volumesTable.rowCount == 1
    assert panel.ui.volumesTable.item(0, 0).text() == "Brain"
    assert panel.ui.saveBundleButton.enabled == (method not in ("none", "heal"))
    assert panel.ui.nigCheckBox.enabled == (method == "heal")
    assert not panel.ui.voteCheckBox.enabled, "nothing was compared"
    assert not panel.ui.allRadio.enabled
    assert panel.ui.judgementLabel.text.lower().count("judge:") == (method != "none")


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("heal", {"samples": 2, "steps": 5}),
        ("adami", {"epochs": 2, "learning_rate": "1e-4"}),
        ("early-features", {"epochs": 2, "learning_rate": "2e-5"}),
    ],
)
def test_a_click_on_the_demo_volume_finds_the_brain(
    panel: Any, pump: Callable[..., None], method: str, options: dict[str, Any]
) -> None:
    import slicer

    volume = slicer.util.loadVolume(str(SAMPLES / "patient04_t2w.nii.gz"))
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    panel.input._choose_example()
    choose_method(panel, method, **options)
    ended = run(panel, pump)
    assert ended.state.value == "done", ended.message
    results = panel.results.results
    assert results.node.GetName() == f"patient04_t2w {results.report['title']}"
    (row,) = results.report["volumes"]
    assert 200 < row["source_ml"] < 500  # the source model finds a fifth of this brain
    assert row["result_ml"] > 2 * row["source_ml"]
    entropy = slicer.util.arrayFromVolume(results.get("entropy"))
    assert entropy.dtype == np.float32
    assert entropy.shape == slicer.util.arrayFromVolume(volume).shape


def test_overlays_exclude_each_other_and_follow_their_sliders(
    panel: Any, fill: Callable[..., Any], pump: Callable[..., None]
) -> None:
    import slicer

    fill("heal", samples=2, steps=2)
    run(panel, pump)
    ui, results = panel.ui, panel.results.results
    composite = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0]
    ui.entropyCheckBox.checked = True
    assert composite.GetForegroundVolumeID() == results.get("entropy").GetID()
    ui.nigCheckBox.checked = True
    assert not ui.entropyCheckBox.checked
    assert composite.GetForegroundVolumeID() == results.get("nig_uncertainty").GetID()
    ui.nigOpacitySlider.value = 0.25
    assert composite.GetForegroundOpacity() == pytest.approx(0.25)
    ui.nigThresholdSlider.value = 0.4
    display = results.get("nig_uncertainty").GetDisplayNode()
    assert display.GetLowerThreshold() == pytest.approx(0.4)
    ui.sampleCheckBox.checked = True
    assert composite.GetForegroundVolumeID() == results.sample.GetID()
    ui.sampleCheckBox.checked = False
    assert composite.GetForegroundVolumeID() is None


def test_the_sample_slider_browses_and_marks_the_chosen_one(
    panel: Any, fill: Callable[..., Any], pump: Callable[..., None]
) -> None:
    fill("heal", samples=3, steps=2)
    run(panel, pump)
    details = panel.results.results.report["details"]
    chosen = details["chosen_sample"]
    assert panel.ui.sampleSlider.value == chosen
    assert "chosen" in panel.ui.sampleLabel.text
    other = (chosen + 1) % 3
    panel.ui.sampleSlider.value = other
    assert panel.results.results.get("browser").GetSelectedItemNumber() == other
    assert "chosen" not in panel.ui.sampleLabel.text
    assert f"S = {details['samples'][other]['score']:.3f}" in panel.ui.sampleLabel.text


def test_result_source_and_side_by_side_are_switched(
    panel: Any, fill: Callable[..., Any], pump: Callable[..., None]
) -> None:
    fill("none")
    run(panel, pump)
    results = panel.results.results
    result, source = results.node.GetDisplayNode(), results.get("source").GetDisplayNode()
    assert (result.GetVisibility(), source.GetVisibility()) == (1, 0)
    panel.ui.sourceRadio.click()
    assert (result.GetVisibility(), source.GetVisibility()) == (0, 1)
    panel.ui.bothRadio.click()
    assert (result.GetVisibility(), source.GetVisibility()) == (1, 1)
    assert source.GetViewNodeIDs() == ("vtkMRMLSliceNodeSFDASource",)
    panel.ui.resultRadio.click()
    assert (result.GetVisibility(), source.GetVisibility()) == (1, 0)
    assert result.GetNumberOfViewNodeIDs() == 0


def test_cancel_leaves_no_node_no_file_and_no_process(
    panel: Any, fill: Callable[..., Any], pump: Callable[..., None]
) -> None:
    import slicer

    fill("adami", **SLOW_ENOUGH)
    before = slicer.mrmlScene.GetNumberOfNodes()
    ended = start(panel, pump)
    assert panel.ui.progressLabel.text.startswith("Adapting, step")
    panel.ui.applyButton.click()
    assert panel.ui.progressLabel.text == "Cancelling..."
    pump(lambda: ended.ended, 30)
    assert ended.state.value == "cancelled"
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    assert not ended.folder.exists()
    assert ended._worker._process.poll() is not None
    assert panel.ui.applyButton.text == "Adapt && Segment"
    assert not panel.ui.messageFrame.visible, "a cancelled run is no failure"


def test_cancel_while_the_results_are_loaded_takes_them_back(
    panel: Any, fill: Callable[..., Any], pump: Callable[..., None]
) -> None:
    import slicer

    fill("heal", samples=2, steps=2)
    run(panel, pump)  # makes the colour tables, which stay
    before = slicer.mrmlScene.GetNumberOfNodes()
    panel.ui.applyButton.click()
    second = panel._logic.run
    pump(lambda: second.state.value == "placing" and second._placements, 240)
    assert slicer.mrmlScene.GetNumberOfNodes() >= before
    panel.ui.applyButton.click()
    assert second.state.value == "cancelled"
    assert slicer.mrmlScene.GetNumberOfNodes() == before


def test_closing_the_scene_ends_the_run_and_the_panel_starts_anew(
    panel: Any, fill: Callable[..., Any], pump: Callable[..., None]
) -> None:
    import slicer

    fill("adami", **SLOW_ENOUGH)
    ended = start(panel, pump)
    slicer.mrmlScene.Clear()
    assert ended._worker._process.poll() is not None
    assert not ended.folder.exists()
    assert panel.ui.applyButton.text == "Adapt && Segment"
    assert panel.ui.inputVolumeSelector.currentNode() is None


def test_closing_the_module_ends_the_run(
    panel: Any, fill: Callable[..., Any], pump: Callable[..., None]
) -> None:
    fill("adami", **SLOW_ENOUGH)
    ended = start(panel, pump)
    panel.close()
    assert ended._worker._process.poll() is not None
    assert not ended.folder.exists()


def test_the_application_ends_the_run_when_it_quits(
    panel: Any, fill: Callable[..., Any], pump: Callable[..., None]
) -> None:
    import slicer

    fill("adami", **SLOW_ENOUGH)
    ended = start(panel, pump)
    slicer.app.aboutToQuit.emit()
    assert ended._worker._process.poll() is not None
    assert not ended.folder.exists()


def test_a_failure_of_the_job_is_one_line_with_the_rest_at_hand(
    panel: Any, fill: Callable[..., Any], pump: Callable[..., None]
) -> None:
    import slicer
    from slicer_standin import application

    volume = fill("none")
    slicer.util.updateVolumeFromArray(volume, np.full_like(slicer.util.arrayFromVolume(volume), 5))
    before = slicer.mrmlScene.GetNumberOfNodes()
    ended = run(panel, pump)
    assert ended.state.value == "failed"
    assert ended.status == 2
    assert panel.ui.messageFrame.visible
    assert "same value 5 in every voxel" in panel.ui.messageLabel.text
    assert "\n" not in panel.ui.messageLabel.text
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    panel.ui.logButton.click()
    assert "same value 5" in application.dialogs[-1].detailed


def test_a_job_that_is_killed_is_told(
    panel: Any, fill: Callable[..., Any], pump: Callable[..., None]
) -> None:
    fill("adami", **SLOW_ENOUGH)
    ended = start(panel, pump)
    ended._worker._process.kill()
    pump(lambda: ended.ended, 30)
    assert ended.state.value == "failed"
    assert "ended unexpectedly" in panel.ui.messageLabel.text


def test_several_volumes_are_run_as_a_cohort(
    panel: Any, phantom: Callable[..., Any], pump: Callable[..., None]
) -> None:
    import qt
    import slicer
    from SFDASegmenterLib.scene.results import results_in_scene

    volumes = [slicer.util.loadVolume(str(phantom().image)) for _ in range(2)]
    panel.ui.bundlePathEdit.currentPath = str(phantom().bundle)
    panel.ui.inputModeComboBox.currentIndex = panel.ui.inputModeComboBox.findData("several")
    for volume in volumes:
        panel.ui.inputVolumesSelector.setCheckState(volume, qt.Qt.Checked)
    choose_method(panel, "adami", epochs=1)
    panel.ui.adaptOnceCheckBox.checked = True
    ended = run(panel, pump)
    assert ended.state.value == "done", ended.message
    assert len(results_in_scene()) == 2
    assert all(results.adapted_bundle is not None for results in results_in_scene())
    panel.ui.resultSelector.setCurrentNode(results_in_scene()[1].node)
    assert panel.results.results.node is results_in_scene()[1].node


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
def test_a_cohort_that_ends_early_shows_what_is_done_and_says_why(
    panel: Any,
    fill: Callable[..., Any],
    pump: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import qt
    import slicer
    from SFDASegmenterLib import worker

    small = fill("none")
    noise = np.random.default_rng(0).integers(0, 300, (14, 300, 300)).astype(np.int16)
    large = slicer.util.addVolumeFromArray(noise, name="noise")
    interpreter = tmp_path / "python"  # whose files may have 1.5 MB, less than those of the noise
    interpreter.write_text(
        f"#!{sys.executable}\nimport os, resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1500000, 1500000))\n"
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
    )
    interpreter.chmod(0o700)
    monkeypatch.setattr(worker, "python", lambda: str(interpreter))
    panel.ui.inputModeComboBox.currentIndex = panel.ui.inputModeComboBox.findData("several")
    for volume in (small, large):
        panel.ui.inputVolumesSelector.setCheckState(volume, qt.Qt.Checked)
    ended = run(panel, pump)
    assert (ended.state.value, ended.status) == ("done", 2)
    assert [results.input for results in ended.results] == [small]
    assert "1 of 2 images are done" in panel.ui.messageLabel.text


def test_methods_are_compared_beside_each_other_with_what_they_agree_on(
    panel: Any, fill: Callable[..., Any], pump: Callable[..., None]
) -> None:
    import slicer

    fill("heal", samples=2, steps=2)
    choose_method(panel, "adami", epochs=1)
    panel.input.facts["methods"][:] = ["none", "heal", "adami"]  # of all, to be quick
    panel.ui.compareCheckBox.checked = True
    assert set(panel.request().compared) == {"none", "heal", "adami"}
    pump(lambda: "about" in panel.ui.estimateLabel.text)
    assert "of memory" in panel.ui.estimateLabel.text
    ended = run(panel, pump)
    assert ended.state.value == "done", ended.message
    results = panel.results.results
    assert [one.node.GetAttribute("SFDA.Method") for one in results.compared] == [
        *("No adaptation", "HEAL", "AdaMI")
    ]
    assert panel.ui.allRadio.checked
    assert slicer.app.layoutManager().sliceViewNames() == (
        *("SFDAMethod1", "SFDAMethod2", "SFDAMethod3"),
    )
    for number, one in enumerate(results.compared, start=1):
        display = one.own.GetDisplayNode()
        assert display.GetViewNodeIDs() == (f"vtkMRMLSliceNodeSFDAMethod{number}",)
        assert display.GetVisibility()
        assert one.get("vote_entropy") is results.get("vote_entropy")
        assert one.get("consensus_staple") is not None
    panel.ui.voteCheckBox.checked = True
    composite = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0]
    assert composite.GetForegroundVolumeID() == results.get("vote_entropy").GetID()
    assert [path.name for path in results.pictures] == ["overview.png", "comparison.png"]
    panel.ui.resultRadio.click()
    shown = [one for one in results.compared if one.node.GetDisplayNode().GetVisibility()]
    assert [one.node.GetName() for one in shown] == [results.node.GetName()]


def test_several_volumes_are_not_compared(panel: Any, phantom: Callable[..., Any]) -> None:
    import qt
    import slicer

    volumes = [slicer.util.loadVolume(str(phantom().image)) for _ in range(2)]
    panel.ui.bundlePathEdit.currentPath = str(phantom().bundle)
    panel.ui.inputModeComboBox.currentIndex = panel.ui.inputModeComboBox.findData("several")
    for volume in volumes:
        panel.ui.inputVolumesSelector.setCheckState(volume, qt.Qt.Checked)
    panel.ui.compareCheckBox.checked = True
    assert "choose one method" in panel.ui.applyButton.toolTip


def test_a_model_of_several_channels_asks_for_a_volume_for_each(
    panel: Any, phantom: Callable[..., Any]
) -> None:
    import slicer

    panel.ui.bundlePathEdit.currentPath = str(phantom(channels=3).bundle)
    first = slicer.util.loadVolume(str(phantom().image))
    panel.ui.inputVolumeSelector.setCurrentNode(first)
    selectors = panel.input._selectors
    assert len(selectors) == 2
    assert "found 1 channel(s), expected 3" in panel.ui.applyButton.toolTip
    for selector in selectors:
        selector.setCurrentNode(slicer.util.loadVolume(str(phantom().image)))
    assert panel.ui.applyButton.enabled
    assert panel.request().images[0].channels == 3
    panel.ui.inputVolumeSelector.setCurrentNode(
        slicer.util.loadVolume(str(phantom(channels=3).image))
    )
    assert panel.input._selectors == []
    assert panel.ui.applyButton.enabled


def test_a_saved_scene_brings_panel_and_results_back(
    panel: Any, fill: Callable[..., Any], pump: Callable[..., None], tmp_path: Path
) -> None:
    import slicer

    fill("heal", samples=2, steps=2)
    run(panel, pump)
    panel.ui.nigCheckBox.checked = True
    panel.ui.nigOpacitySlider.value = 0.3
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear()
    assert panel.results.results is None
    slicer.util.loadScene(str(path))
    assert panel.request().method == "heal"
    assert panel.request().options == {"samples": 2, "steps": 2}
    assert panel.ui.inputVolumeSelector.currentNode() is not None
    results = panel.results.results
    assert results.node.GetName().endswith("HEAL")
    assert panel.ui.nigCheckBox.checked
    assert panel.ui.nigOpacitySlider.value == pytest.approx(0.3)
    assert panel.ui.volumesTable.rowCount == 1
    composite = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0]
    assert composite.GetForegroundVolumeID() == results.get("nig_uncertainty").GetID()


def test_deleting_the_shown_result_empties_the_section(
    panel: Any, fill: Callable[..., Any], pump: Callable[..., None]
) -> None:
    import slicer

    fill("none")
    run(panel, pump)
    panel.ui.entropyCheckBox.checked = True
    slicer.mrmlScene.RemoveNode(panel.results.results.node)
    assert panel.results.results is None
    assert not panel.ui.reportButton.enabled
    assert panel.ui.volumesTable.rowCount == 0


def test_the_adapted_model_is_saved_as_a_bundle_that_can_be_used(
    panel: Any,
    fill: Callable[..., Any],
    pump: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import qt

    from SFDALib.jobs.inspect import inspect

    fill("adami", epochs=1)
    run(panel, pump)
    monkeypatch.setattr(
        qt.QFileDialog, "getExistingDirectory", staticmethod(lambda *_: str(tmp_path))
    )
    panel.ui.saveBundleButton.click()
    panel.ui.saveBundleButton.click()
    first, second = sorted(tmp_path.iterdir())
    assert second.name == f"{first.name}_2"
    assert "adapted by AdaMI" in inspect(first)["name"]


def test_the_report_shows_method_options_and_warning(
    panel: Any, fill: Callable[..., Any], pump: Callable[..., None]
) -> None:
    import qt

    fill("none")
    run(panel, pump)
    panel.ui.reportButton.click()
    window = panel.results._report_window
    (browser,) = window.findChildren(qt.QTextBrowser)
    text = browser.plainText
    for words in ("No adaptation", "not a medical device", "overlap", "Checksum of the image"):
        assert words in text
    window.close()


def test_plots_are_shown_beside_the_views(
    panel: Any, fill: Callable[..., Any], pump: Callable[..., None]
) -> None:
    import slicer

    fill("adami", epochs=1)
    run(panel, pump)
    panel.ui.plotsButton.click()
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActivePlotChartID() == panel.results.results.get("curves").GetID()


def test_packages_are_asked_for_at_the_click_and_a_refusal_is_respected(
    panel: Any, fill: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from SFDASegmenterLib import dependencies
    from SFDASegmenterLib.dependencies import Missing
    from slicer_standin import application

    fill("none")
    monkeypatch.setattr(dependencies, "missing", lambda: Missing(True, ("monai>=1.5",)))
    application.answers.append(False)
    panel.ui.applyButton.click()
    question = application.dialogs[-1].text
    assert "PyTorch (200 MB" in question
    assert "monai" in question
    assert not panel._logic.running
    assert "Nothing was changed" in panel.ui.messageLabel.text
    assert panel.ui.wheelsButton.visible
    assert "--no-index" in panel.ui.wheelsButton.toolTip


def test_installing_packages_keeps_the_pytorch_that_is_there(
    slicer_app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib.metadata import version

    import slicer
    from SFDASegmenterLib import dependencies
    from SFDASegmenterLib.dependencies import Missing
    from slicer_standin import application

    lacking = [Missing(False, ("monai>=1.5",)), Missing(False, ())]
    monkeypatch.setattr(dependencies, "missing", lambda: lacking.pop(0))
    installed: list[list[str]] = []
    monkeypatch.setattr(slicer.util, "pip_install", installed.append)
    application.answers.append(True)
    dependencies.ensure()
    assert installed == [["monai>=1.5", f"torch=={version('torch')}"]]


def test_leaving_the_module_does_not_stop_a_run(
    panel: Any, fill: Callable[..., Any], pump: Callable[..., None]
) -> None:
    fill("none")
    panel.ui.applyButton.click()
    panel.leave()
    pump(lambda: not panel._logic.running, 120)
    assert panel._logic.run.state.value == "done"
    panel.enter()
    assert panel.results.results is not None


def test_every_control_has_a_tooltip_and_its_turn_in_the_keyboard_order(panel: Any) -> None:
    import qt

    without = []
    for name, widget in vars(panel.ui).items():
        if name.startswith(("_", "qt_")) or not hasattr(widget, "toolTip"):
            continue  # qt_: parts that a widget makes for itself
        interactive = any(
            widget.inherits(kind)
            for kind in ("QAbstractButton", "QComboBox", "QAbstractSpinBox", "QAbstractSlider")
        )
        inside = widget.parent() is not None and widget.parent().inherits("ctkSliderWidget")
        if interactive and not inside and not widget.toolTip:
            without.append(name)
    assert without == []
    assert qt is not None


def test_a_closed_panel_leaves_nothing_behind_on_the_parameter_node(
    slicer_app: Any, scene: Any
) -> None:
    """The node stays in the scene: what still observed it would be called after its collection."""
    import slicer
    from slicer_standin import modules

    for _ in range(2):
        widget = modules.widget("SFDASegmenter")
        widget.enter()
        widget.exit()
        modules.close(widget)
        del widget
        slicer.app.processEvents()
        gc.collect()
        node = slicer.mrmlScene.GetSingletonNode("SFDASegmenter", "vtkMRMLScriptedModuleNode")
        assert not node.HasObserver("ModifiedEvent")
        node.Modified()


@pytest.mark.timeout(900)
def test_the_self_test_of_the_module_passes_here_too(slicer_app: Any, scene: Any) -> None:
    import unittest

    from slicer_standin import modules

    modules.widget("SFDASegmenter")
    import SFDASegmenter as module

    names = unittest.defaultTestLoader.getTestCaseNames(module.SFDASegmenterTest)
    suite = unittest.TestSuite(module.SFDASegmenterTest(name) for name in names)
    result = unittest.TestResult()
    suite.run(result)
    assert len(names) >= 6
    assert [text for _, text in (*result.errors, *result.failures)] == []
    assert result.skipped == []
