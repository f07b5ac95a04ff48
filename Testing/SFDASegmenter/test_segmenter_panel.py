"""The panel before a run, as a user meets it: volume, model, method and options."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bundles import describe, write_bundle
from panel_bench import choose_method, choose_model, choose_volume, offered, set_option, settle
from paths import ROOT

from SFDALib.errors import RequestError


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
        env={**os.environ, "PYTHONPATH": str(ROOT / "Testing" / "helpers")},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    if answer.stdout.startswith("SKIP"):
        pytest.skip(answer.stdout[5:].strip())
    assert "heavy []" in answer.stdout, answer.stdout + answer.stderr


def test_the_button_says_what_is_missing_until_everything_is_chosen(
    panel: Any, head_bundle: Path, head_file: Path
) -> None:
    import slicer

    button = panel.ui.applyButton
    assert (button.enabled, button.toolTip) == (False, "Choose a source model.")
    choose_model(panel, head_bundle)
    assert (button.enabled, button.toolTip) == (False, "Choose a volume.")
    choose_volume(panel, slicer.util.loadVolume(str(head_file)))
    assert button.enabled


def test_the_volume_that_the_user_looks_at_is_chosen_by_itself(panel: Any, head_file: Path) -> None:
    import slicer

    first = slicer.util.loadVolume(str(head_file))
    settle()
    assert panel.ui.inputVolumeSelector.currentNode() is first
    slicer.util.loadVolume(str(head_file))
    settle()
    assert panel.ui.inputVolumeSelector.currentNode() is first, "a choice is kept"


def test_of_several_volumes_the_one_in_the_views_is_chosen(
    slicer_app: Any, scene: Any, recorded_jobs: Path, head_file: Path
) -> None:
    import slicer
    from slicer_standin import modules

    volumes = [slicer.util.loadVolume(str(head_file)) for _ in range(3)]
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        composite.SetBackgroundVolumeID(volumes[1].GetID())
    widget = modules.select("SFDASegmenter")
    assert widget.panel.ui.inputVolumeSelector.currentNode() is volumes[1]
    modules.close(widget)


def test_a_bundle_tells_its_name_labels_and_modality(panel: Any, tmp_path: Path) -> None:
    choose_model(panel, write_bundle(tmp_path / "three", describe(classes=3)))
    label = panel.ui.bundleFactsLabel
    for words in ("Tiny test model", "Brain", "Lesion", "rgb(70,170,250)"):
        assert words in label.text
    label.linkActivated.emit("more")  # the word More
    assert "synthetic head" in label.text
    assert "1 channel, " in label.text
    assert "3 \u00d7 3 mm in plane, slice spacing as is" in label.text


def test_what_is_no_bundle_is_told_in_one_line(panel: Any, tmp_path: Path) -> None:
    choose_model(panel, tmp_path)
    assert "metadata.json" in panel.ui.bundleFactsLabel.text
    assert not panel.ui.applyButton.enabled


def test_a_model_of_nnunet_is_chosen_as_it_lies_there(panel: Any, tmp_path: Path) -> None:
    pytest.importorskip("dynamic_network_architectures", reason="nnU-Net's networks")
    from nnunet_models import SETTINGS, write_model

    model = write_model(tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres", SETTINGS["3d plain"])
    choose_method(panel, "upl")
    choose_model(panel, model)
    tip = panel.ui.bundleFactsLabel.toolTip
    assert "From nnU-Net v2" in tip
    assert "lesion" in tip
    assert panel.ui.applyButton.toolTip == "Choose a volume."


def test_weights_alone_are_described_filled_in_and_made_a_bundle(
    panel: Any,
    real_jobs: None,
    pump: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import qt
    import torch
    from slicer_standin import user

    from SFDALib.networks.build import build_network

    opened = []
    monkeypatch.setattr(
        qt.QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile())
    )
    definition = {
        **{"_target_": "monai.networks.nets.UNet", "spatial_dims": 3, "in_channels": 1},
        **{"out_channels": 2, "channels": [4, 8], "strides": [2]},
    }
    torch.save(build_network(definition).state_dict(), tmp_path / "liver.pt")
    ui, description = panel.ui, tmp_path / "liver.json"
    assert not ui.weightsButton.visible
    choose_model(panel, tmp_path / "liver.pt")
    assert ui.weightsButton.visible
    assert ui.weightsButton.text == "Write a description"
    assert "liver.json" in ui.weightsLabel.text
    assert not ui.applyButton.enabled

    user.click(ui.weightsButton)
    pump(lambda: opened, 240)
    assert opened == [str(description)]
    assert ui.weightsButton.text == "Make a bundle"

    user.click(ui.weightsButton)  # as the template is, it describes another network
    pump(lambda: ui.weightsButton.enabled, 240)
    assert "missing" in ui.messageLabel.text
    assert "liver.pt" in ui.messageLabel.text
    assert not (tmp_path / "liver-bundle").exists()

    filled = {**json.loads(description.read_text()), "network": definition}
    description.write_text(json.dumps(filled))
    user.click(ui.weightsButton)
    pump(lambda: not ui.weightsButton.visible, 240)
    assert ui.bundlePathEdit.currentPath == str(tmp_path / "liver-bundle")
    assert "Liver" in ui.bundleFactsLabel.text
    assert not ui.messageFrame.visible


def test_a_method_that_the_bundle_cannot_serve_is_greyed_with_the_reason(
    panel: Any, head_bundle: Path, tmp_path: Path
) -> None:
    import qt

    bundle = tmp_path / "no-diffusion"
    shutil.copytree(head_bundle, bundle)
    metadata = bundle / "configs" / "metadata.json"
    fields = json.loads(metadata.read_text())
    fields["sfda"]["diffusion"] = None
    metadata.write_text(json.dumps(fields))
    choose_method(panel, "heal")
    choose_model(panel, bundle)
    combo = panel.ui.methodComboBox
    heal = combo.findData("heal")
    assert "diffusion model" in combo.itemData(heal, qt.Qt.ToolTipRole)
    assert not int(combo.model().flags(combo.model().index(heal, 0))) & int(qt.Qt.ItemIsEnabled)
    assert not panel.ui.applyButton.enabled
    assert "diffusion model" in panel.ui.applyButton.toolTip


def test_the_method_that_learns_from_labels_is_greyed_with_or_without_a_model(
    panel: Any, head_bundle: Path
) -> None:
    import qt

    combo = panel.ui.methodComboBox
    few = combo.findData("few-labels")
    for path in ("", head_bundle):
        choose_model(panel, path)
        tip = combo.itemData(few, qt.Qt.ToolTipRole)
        assert "segmentations that you bring" in tip and "command line" in tip
        assert "few-labels" not in [method.name for method in offered(panel)]


def test_the_form_of_options_comes_from_the_registry_with_its_defaults(panel: Any) -> None:
    for method in offered(panel):
        choose_method(panel, method.name)
        for option in method.options:
            field = panel.method.field(option.name)
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


@pytest.mark.parametrize(
    ("method", "option", "text", "value"),
    [
        pytest.param("adami", "epochs", "17", 17, id="number"),
        pytest.param("adami", "learning_rate", "1e-4", 1e-4, id="text and Tab"),
        pytest.param("heal", "sampler", "ddim", "ddim", id="choice"),
        pytest.param("heal", "mirror", "", True, id="tick"),
    ],
)
def test_an_option_is_changed_by_keys_and_clicks_and_its_field_stays(
    panel: Any, fill: Callable[..., Any], method: str, option: str, text: str, value: Any
) -> None:
    from slicer_standin import user

    fill(method)
    user.unfold(panel.ui.advancedSection)
    field = panel.method.field(option)
    set_option(panel, option, text)
    assert panel.request().options == {option: value}
    assert panel.method.field(option) is field, "the field outlives its own event"
    set_option(panel, "overlap", "0.25")
    assert panel.request().options == {option: value, "overlap": 0.25}


def test_every_option_of_every_method_is_changed_without_a_crash(
    panel: Any, fill: Callable[..., Any]
) -> None:
    """Whatever kind of field it has; what a slot or a lost widget raises fails the test."""
    fill("none")
    for method in offered(panel):
        choose_method(panel, method.name)
        for option in method.options:
            set_option(panel, option.name, _another(option))
        assert set(panel.request().options) == {option.name for option in method.options}


def _another(option: Any) -> str:
    """A value that is not the default, as typed; a tick is clicked."""
    if option.kind == "bool":
        return ""
    for text in (*option.choices, "2", "3", "0.3", "0.11", "0.7", "1e-6", "0.1,0.9", "true"):
        with contextlib.suppress(RequestError):
            if option.check(text) != option.default:
                return text
    raise AssertionError(f"no other value for {option.name}")


def test_options_are_kept_by_method_and_reset_to_the_papers(
    panel: Any, fill: Callable[..., Any]
) -> None:
    from slicer_standin import user

    fill("adami", epochs="7", learning_rate="1e-4")
    choose_method(panel, "heal", samples="3")
    choose_method(panel, "adami")
    assert panel.method.field("epochs").value == 7
    assert panel.request().options == {"epochs": 7, "learning_rate": 1e-4}
    user.write(panel.ui.seedSpinBox, "9")
    assert panel.request().seed == 9
    user.click(panel.ui.resetOptionsButton)
    assert panel.request().options == {}
    assert panel.request().seed == 0
    choose_method(panel, "heal")
    assert panel.request().options == {"samples": 3}


def test_an_option_that_makes_no_sense_disables_the_button_and_says_why(
    panel: Any, fill: Callable[..., Any]
) -> None:
    from slicer_standin import user

    fill("adami", learning_rate="fast")
    assert not panel.ui.applyButton.enabled
    assert 'learning_rate: found "fast"' in panel.ui.applyButton.toolTip
    assert panel.method.field("learning_rate").text == "fast", "it can be mended"
    set_option(panel, "learning_rate", "1e-5")
    assert panel.ui.applyButton.enabled
    set_option(panel, "learning_rate", "slow")
    user.click(panel.ui.resetOptionsButton)
    assert panel.ui.applyButton.enabled


def test_an_estimate_is_told_where_it_is_read(
    panel: Any, fill: Callable[..., Any], pump: Callable[..., None]
) -> None:
    fill("none")
    pump(lambda: "about" in panel.ui.estimateLabel.text)
    assert "of memory" in panel.ui.estimateLabel.text
    assert panel.ui.estimateLabel.visible


def test_several_volumes_are_not_compared(panel: Any, head_bundle: Path, head_file: Path) -> None:
    import qt
    import slicer
    from slicer_standin import user

    volumes = [slicer.util.loadVolume(str(head_file)) for _ in range(2)]
    choose_model(panel, head_bundle)
    user.choose(panel.ui.inputModeComboBox, "Volumes")
    for volume in volumes:
        panel.ui.inputVolumesSelector.setCheckState(volume, qt.Qt.Checked)
    user.unfold(panel.ui.advancedSection)
    user.click(panel.ui.compareCheckBox)
    assert "choose one method" in panel.ui.applyButton.toolTip


def test_a_model_of_several_channels_asks_for_a_volume_for_each(
    panel: Any, head_file: Path, head_bundle: Path, tmp_path: Path
) -> None:
    import slicer
    from slicer_standin import user

    volumes = [slicer.util.loadVolume(str(head_file)) for _ in range(3)]
    color = slicer.util.addVolumeFromArray(
        _colored(), name="color", nodeClassName="vtkMRMLVectorVolumeNode"
    )
    choose_model(panel, write_bundle(tmp_path / "channels", describe(channels=3)))
    choose_method(panel, "none")
    choose_volume(panel, volumes[0])
    assert "found 1 channel(s), expected 3" in panel.ui.applyButton.toolTip
    for number, volume in enumerate(volumes[1:]):
        user.choose(_channels(panel)[number], volume.GetName())
    assert panel.ui.applyButton.enabled, panel.ui.applyButton.toolTip
    assert panel.request().images[0].channels == 3
    choose_volume(panel, color)
    assert _channels(panel) == []
    assert panel.ui.applyButton.enabled, panel.ui.applyButton.toolTip
    choose_model(panel, head_bundle)
    choose_volume(panel, volumes[0])
    assert _channels(panel) == []


def _colored() -> Any:
    import numpy as np

    return np.arange(4 * 5 * 6 * 3, dtype=np.float32).reshape(4, 5, 6, 3)


def _channels(panel: Any) -> list[Any]:
    """The boxes of the further channels, from top to bottom."""
    import slicer

    place = panel.ui.channelsWidget
    if not place.visible:
        return []
    settle()
    boxes = [box for box in place.findChildren(slicer.qMRMLNodeComboBox) if box.visible]
    return sorted(boxes, key=lambda box: box.mapTo(place, box.rect.topLeft()).y())


def test_a_closed_panel_leaves_nothing_behind_on_the_parameter_node(
    slicer_app: Any, scene: Any, recorded_jobs: Path
) -> None:
    """The node stays in the scene: what still observed it would be called after its collection."""
    import slicer
    from slicer_standin import modules

    for _ in range(2):
        widget = modules.select("SFDASegmenter")
        widget.exit()
        modules.close(widget)
        del widget
        slicer.app.processEvents()
        gc.collect()
        node = slicer.mrmlScene.GetSingletonNode("SFDASegmenter", "vtkMRMLScriptedModuleNode")
        assert not node.HasObserver("ModifiedEvent")
        node.Modified()


def test_a_module_reloaded_in_sight_is_entered(slicer_app: Any, scene: Any) -> None:
    """The application enters a module only when the user changes to it."""
    import qt
    import slicer

    import SFDASegmenter as module

    class Entered(slicer.qMRMLWidget):
        isEntered = True

    parent = Entered()
    parent.setLayout(qt.QVBoxLayout())
    widget = module.SFDASegmenterWidget(parent)
    widget.setup()
    assert widget.panel.parameters is not None
    assert not widget.panel.ui.inputSequenceSelector.visible
    widget.exit()
    widget.cleanup()
