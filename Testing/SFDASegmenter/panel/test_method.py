"""The choice of a method, and what the panel keeps of its options."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from panel_bench import choose_method, choose_model, offered, set_option


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
