"""The choice of a method, and what the panel keeps of its options."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from panel_bench import choose_method, choose_model, offered, set_option, settle

from SFDALib.methods import registry


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


def test_plausible_volumes_are_typed_under_advanced_and_the_button_tells_their_faults(
    panel: Any, asked: list[list[str]], fill: Callable[..., Any], pump: Callable[..., None]
) -> None:
    """They go to the run, and to the estimate before it; the scene keeps them."""
    from slicer_standin import user

    fill("adami")
    user.unfold(panel.ui.advancedSection)
    field, button = panel.ui.plausibleVolumesEdit, panel.ui.applyButton
    assert field.placeholderText == "Brain=10-200"
    for text, said in (("Brain=900", "NAME=SMALLEST-LARGEST"), ("Liver=1-2", "Brain (1)")):
        user.write(field, text)
        assert not button.enabled and said in button.toolTip
    user.write(field, "brain=900-2500")
    assert button.enabled
    assert panel.request().volumes == panel.parameters.plausibleVolumes == "brain=900-2500"
    pump(lambda: any("--volumes=brain=900-2500" in words for words in asked))


def test_the_settings_are_custom_once_an_option_is_touched_and_reset_takes_the_chosen_ones_again(
    panel: Any, fill: Callable[..., Any]
) -> None:
    import qt
    from slicer_standin import user

    fill("adami")
    user.unfold(panel.ui.advancedSection)
    settings, epochs = panel.ui.presetComboBox, panel.method.field("epochs")
    (described,) = (one for one in registry.find("adami").options if one.name == "epochs")
    assert (settings.currentText, epochs.value) == ("Recommended", described.recommended)
    assert (panel.request().preset, panel.request().options) == ("recommended", {})
    custom = settings.model().index(settings.findData("custom"), 0)
    assert not int(settings.model().flags(custom)) & int(qt.Qt.ItemIsEnabled)

    set_option(panel, "epochs", "7")
    assert settings.currentText == "Custom"
    assert (panel.request().preset, panel.request().options) == ("recommended", {"epochs": 7})
    user.choose(settings, "Published")
    assert (settings.currentText, epochs.value) == ("Published", described.published)
    assert (panel.request().preset, panel.request().options) == ("published", {})

    set_option(panel, "epochs", "7")
    set_option(panel, "learning_rate", "fast")
    assert settings.currentText == "Custom"
    user.click(panel.ui.resetOptionsButton)
    assert (settings.currentText, epochs.value) == ("Published", described.published)
    assert panel.ui.applyButton.enabled
    set_option(panel, "epochs", "7")
    set_option(panel, "epochs", str(described.published))
    assert settings.currentText == "Published", "touched, and set back"


def test_the_settings_are_those_of_every_method_and_come_back_with_the_scene(
    panel: Any, fill: Callable[..., Any], tmp_path: Path
) -> None:
    import slicer
    from slicer_standin import user

    fill("adami", epochs="7")
    choose_method(panel, "heal")
    assert panel.ui.presetComboBox.currentText == "Recommended"
    user.choose(panel.ui.presetComboBox, "Published")
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear()
    settle()
    assert panel.ui.presetComboBox.currentText == "Recommended"
    slicer.util.loadScene(str(path))
    settle()
    assert (panel.ui.presetComboBox.currentText, panel.request().preset) == (
        "Published",
        "published",
    )
    choose_method(panel, "adami")
    assert panel.ui.presetComboBox.currentText == "Custom"
    assert panel.request().options == {"epochs": 7}
    (rate,) = (one for one in registry.find("adami").options if one.name == "learning_rate")
    assert float(panel.method.field("learning_rate").text) == rate.published


def test_options_are_kept_by_method_and_reset(panel: Any, fill: Callable[..., Any]) -> None:
    from slicer_standin import user

    fill("adami", epochs="7", learning_rate="1e-7")
    choose_method(panel, "heal", samples="9")
    choose_method(panel, "adami")
    assert panel.method.field("epochs").value == 7
    assert panel.request().options == {"epochs": 7, "learning_rate": 1e-7}
    user.write(panel.ui.seedSpinBox, "9")
    assert panel.request().seed == 9
    user.click(panel.ui.resetOptionsButton)
    assert panel.request().options == {}
    assert panel.request().seed == 0
    choose_method(panel, "heal")
    assert panel.request().options == {"samples": 9}


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
