"""Image and source model in the panel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bundles import describe, write_bundle
from panel_bench import choose_method, choose_model, choose_volume, settle


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


def test_how_several_volumes_are_adapted_to_is_chosen_and_automatic_at_first(panel: Any) -> None:
    from slicer_standin import user

    combo = panel.ui.adaptComboBox
    assert not combo.visible, "one volume"
    user.choose(panel.ui.inputModeComboBox, "Volumes")
    assert combo.visible
    assert (combo.currentText, panel.request().adapt) == ("Adaptation: automatic", "auto")
    assert "8 or more single slices" in combo.toolTip
    for title, adapt in (("once to all", "once"), ("one by one", "each"), ("automatic", "auto")):
        user.choose(combo, f"Adaptation: {title}")
        assert panel.request().adapt == panel.parameters.adapt == adapt


@pytest.mark.parametrize(
    # as Slicer writes a bool and as the stand-in does
    ("ticked", "adapt"),
    [("True", "once"), ("true", "once"), ("False", "each"), ("false", "each")],
)
def test_a_scene_of_an_earlier_version_keeps_what_its_tick_said(
    panel: Any, tmp_path: Path, ticked: str, adapt: str
) -> None:
    import slicer
    from slicer_standin import user

    user.choose(panel.ui.inputModeComboBox, "Volumes")
    node = panel.parameters.parameterNode
    node.UnsetParameter("adapt")
    node.SetParameter("adaptOnce", ticked)
    path = tmp_path / "scene.mrb"
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear()
    settle()
    assert panel.parameters.adapt == "auto"
    slicer.util.loadScene(str(path))
    settle()
    assert (panel.parameters.adapt, panel.request().adapt) == (adapt, adapt)
    # it is the past: a choice since then is kept
    user.choose(panel.ui.adaptComboBox, "Adaptation: automatic")
    assert slicer.util.saveScene(str(path))
    slicer.mrmlScene.Clear()
    slicer.util.loadScene(str(path))
    settle()
    assert panel.parameters.adapt == "auto"
